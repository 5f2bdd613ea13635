"""The pending writes of a transaction: collected, not written yet. Imports the foundation, the ports, its package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from freehold.broker import OutgoingMessage
from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.eventstore.append import PendingAppends

__all__ = ["Companion", "PendingWrites", "Remembers"]


@runtime_checkable
class Remembers(Protocol):
    """A companion's object whose state a savepoint can restore."""

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state."""


@dataclass(slots=True)
class Companion:
    """The pending writes of one pattern in this transaction: an object of the pattern, and the function to write it."""

    value: Any
    writer: Callable[[Any], Awaitable[None]]
    is_left: Callable[[Any], bool] | None = None
    written: bool = False
    lasting: bool = False

    @property
    def left(self) -> bool:
        """Whether something is not written: by the pattern's function, or without one, whether it was never written."""
        return self.is_left(self.value) if self.is_left is not None else not self.written

    async def write(self) -> None:
        """Write the pattern's object."""
        self.written = True
        await self.writer(self.value)

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state, as far as the pattern's object can be restored."""
        written, restore = self.written, self.value.remember() if isinstance(self.value, Remembers) else None

        def restored() -> None:
            self.written = written
            if restore is not None:
                restore()

        return restored


@dataclass(slots=True)
class PendingWrites:
    """The pending writes of one transaction, over all messages that are handled in it, and what it has written.

    reached    the positions of its own events, as far as they are written, without those in `told`.
    told       positions of messages, with their topic, which are added to `reached` when it is read.
    appended   whether events were written; `sent` and `delayed`: whether messages without and with a due time were.
    last       whether nothing but the commit follows the write in progress.
    """

    appends: PendingAppends = field(default_factory=PendingAppends)
    messages: list[OutgoingMessage] = field(default_factory=list)
    scheduled: list[tuple[OutgoingMessage, str, float]] = field(default_factory=list)
    companions: dict[object, Companion] = field(default_factory=dict)
    after_commit: set[Callable[[], None]] = field(default_factory=set)
    reached: ConsistencyToken = EMPTY_TOKEN
    told: list[tuple[str, Sequence[OutgoingMessage], Sequence[int]]] = field(default_factory=list)
    appended: bool = False
    sent: bool = False
    delayed: bool = False
    last: bool = False

    @property
    def left(self) -> bool:
        """Whether something is not written."""
        return bool(
            self.messages
            or self.appends
            or self.scheduled
            or any(companion.left for companion in self.companions.values())
        )

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state, for a savepoint. What was collected before the savepoint
        and written inside it becomes pending again, since the savepoint's rollback deletes it from the database.
        """
        appends, messages, scheduled = self.appends.remember(), tuple(self.messages), tuple(self.scheduled)
        reached, told, wakes = self.reached, tuple(self.told), frozenset(self.after_commit)
        companions = [(key, companion, companion.remember()) for key, companion in self.companions.items()]

        def restore() -> None:
            appends()
            self.messages[:], self.scheduled[:] = messages, scheduled
            self.reached, self.after_commit = reached, set(wakes)
            self.told[:] = told
            lasting = {key: companion for key, companion in self.companions.items() if companion.lasting}
            self.companions = lasting | {key: companion for key, companion, _ in companions}
            for _, _, restored in companions:
                restored()

        return restore

    def unschedule(self, message_id: UUID) -> bool:
        """Remove a pending message with a due time; False where there is none with this id."""
        before = len(self.scheduled)
        self.scheduled[:] = [entry for entry in self.scheduled if entry[0].id != message_id]
        return len(self.scheduled) != before
