"""What a transaction collects, and how it is written. Imports the foundation, the ports and its package.

One round trip of each kind right before the commit, events first: that keeps the time short during which the
transactions of a stream or key wait for each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from freehold.broker import Outgoing
from freehold.consistency.token import NOTHING, Token, outbox_lane
from freehold.context import ServiceContext
from freehold.database import UnitOfWork
from freehold.errors import DeclarationError
from freehold.eventstore.append import StagedAppends
from freehold.eventstore.store import APPENDED, Append, Appended, EventStore, RecordedEvent
from freehold.ids import stable_hash
from freehold.outbox.store import OUTBOX, STAGED
from freehold.schedule.store import SCHEDULE, SCHEDULED

__all__ = ["AppendedEvents", "Companion", "Remembers", "Staged"]


@runtime_checkable
class Remembers(Protocol):
    """A companion's object that a savepoint can take back to what it was."""

    def remember(self) -> Callable[[], None]:
        """Return what brings back the state of now."""


@dataclass(slots=True)
class Companion:
    """What a pattern has collected for this transaction, and how it is written."""

    value: Any
    writer: Callable[[Any], Awaitable[None]]
    is_left: Callable[[Any], bool] | None = None
    written: bool = False
    lasting: bool = False

    @property
    def left(self) -> bool:
        """Whether something is not written: what the pattern says, or else whether it was never written."""
        return self.is_left(self.value) if self.is_left is not None else not self.written

    async def write(self) -> None:
        """Write it."""
        self.written = True
        await self.writer(self.value)

    def remember(self) -> Callable[[], None]:
        """Return what brings back the state of now, where the pattern's object can be brought back."""
        written, restore = self.written, self.value.remember() if isinstance(self.value, Remembers) else None

        def restored() -> None:
            self.written = written
            if restore is not None:
                restore()

        return restored


@dataclass(frozen=True, slots=True)
class AppendedEvents:
    """Events that a transaction has written, and where they stand."""

    appends: Sequence[Append]
    appended: Sequence[Appended]

    def recorded(self, now: datetime) -> Sequence[RecordedEvent]:
        """The events as they would be read, in the order of their positions."""
        found = [
            RecordedEvent(position, batch.stream, where.version - len(batch.events) + number, now, event)
            for batch, where in zip(self.appends, self.appended, strict=True)
            for number, (event, position) in enumerate(zip(batch.events, where.positions, strict=True), 1)
        ]
        return sorted(found, key=lambda each: each.position)


@dataclass(slots=True)
class Staged:
    """Everything that one transaction has collected, over all messages that are handled in it."""

    appends: StagedAppends = field(default_factory=StagedAppends)
    outbox: list[Outgoing] = field(default_factory=list)
    scheduled: list[tuple[Outgoing, str, float]] = field(default_factory=list)
    reached: Token = NOTHING
    appended_any: bool = False
    staged_any: bool = False
    scheduled_any: bool = False
    after_commit: set[Callable[[], None]] = field(default_factory=set)
    companions: dict[object, Companion] = field(default_factory=dict)

    @property
    def left(self) -> bool:
        """Whether something was collected that is not written."""
        return bool(
            self.outbox
            or self.appends
            or self.scheduled
            or any(companion.left for companion in self.companions.values())
        )

    def remember(self) -> Callable[[], None]:
        """Return what brings back the state of now, for a savepoint: also what was collected before it and written
        inside it, which the savepoint takes out of the database again.
        """
        appends, outbox, scheduled = self.appends.remember(), tuple(self.outbox), tuple(self.scheduled)
        reached, wakes = self.reached, frozenset(self.after_commit)
        companions = [(key, companion, companion.remember()) for key, companion in self.companions.items()]

        def restore() -> None:
            appends()
            self.outbox[:], self.scheduled[:] = outbox, scheduled
            self.reached, self.after_commit = reached, set(wakes)
            lasting = {key: companion for key, companion in self.companions.items() if companion.lasting}
            self.companions = lasting | {key: companion for key, companion, _ in companions}
            for _, _, restored in companions:
                restored()

        return restore

    async def write_companions(self, unit: UnitOfWork) -> None:
        """Write what others collected for this transaction: the unit's own writers, then the patterns' companions."""
        for writer in tuple(unit.life.writers):
            await writer.write()
        for companion in tuple(self.companions.values()):
            await companion.write()

    async def write_events(self, unit: UnitOfWork, events: EventStore, service: str) -> AppendedEvents:
        """Append the events that were collected; returns them with their positions."""
        appends = self.appends.take()
        appended = await events.append(unit, appends)
        self.appended_any = True
        head = max(position for each in appended for position in each.positions)
        self.reached = self.reached.reached(service, head)
        return AppendedEvents(appends, appended)

    def check_no_late_appends(self) -> None:
        """Raise `DeclarationError` where something was appended while the events were written."""
        late = self.appends.take()
        if late:
            raise DeclarationError(
                f"an append to '{late[0].stream}' came while the transaction's events were written",
                hint="append where it is decided, not in what follows from the events",
            )

    async def write_messages(self, unit: UnitOfWork, context: ServiceContext) -> None:
        """Write the messages that were collected, and those that have a due time."""
        if self.outbox:
            messages, self.outbox[:] = tuple(self.outbox), []
            positions = await context.stores[OUTBOX].stage(unit, messages)
            self._reach_lanes(context, messages, positions)
            self.staged_any = True
        if self.scheduled:
            scheduled, self.scheduled[:] = tuple(self.scheduled), []
            for message, name, delay_seconds in scheduled:
                await context.stores[SCHEDULE].add(unit, message, name, delay_seconds)
            self.scheduled_any = True

    def _reach_lanes(self, context: ServiceContext, messages: Sequence[Outgoing], positions: Sequence[int]) -> None:
        """Note where this service's events stand; what goes to one service alone is nobody's to wait for."""
        topic = f"{context.service}.events"
        partitions = context.stores[OUTBOX].partitions
        lanes: dict[str, int] = {}
        for message, position in zip(messages, positions, strict=True):
            if message.topic == topic:
                lane = outbox_lane(context.service, stable_hash(message.key) % partitions)
                lanes[lane] = max(position, lanes.get(lane, 0))
        if lanes:
            self.reached = self.reached.merged(Token(lanes))

    def wake(self, context: ServiceContext) -> None:
        """Wake whoever waits for what was written, once the commit has happened."""
        if self.appended_any:
            context.emit(APPENDED)
        if self.staged_any:
            context.emit(STAGED)
        if self.scheduled_any:
            context.emit(SCHEDULED)
        for wake in self.after_commit:
            wake()
