"""What a transaction collects, and how it is written. Imports the foundation, the ports and its package.

One round trip of each kind right before the commit, events first: that keeps the time short during which the
transactions of a stream or key wait for each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from freehold.broker import Outgoing
from freehold.consistency.token import NOTHING, Token, outbox_lane
from freehold.errors import DeclarationError
from freehold.eventstore.staging import StagedAppends
from freehold.eventstore.store import RecordedEvent
from freehold.ids import stable_hash

if TYPE_CHECKING:
    from freehold.transaction.post import Post
    from freehold.transaction.unit import Transaction

__all__ = ["Staged"]


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
    companions: dict[object, tuple[Any, Callable[[Any], Awaitable[None]]]] = field(default_factory=dict)

    async def flush(self, tx: Transaction, post: Post) -> None:
        """Write what was collected so far: companions, events, messages, schedules."""
        for companion, write in tuple(self.companions.values()):
            await write(companion)
        if self.appends:
            await self._flush_events(tx, post)
        if self.outbox:
            messages, self.outbox[:] = tuple(self.outbox), []
            positions = await post.outbox.stage(tx.unit, messages)
            self._reach_lanes(post, messages, positions)
            self.staged_any = True
        if self.scheduled:
            scheduled, self.scheduled[:] = tuple(self.scheduled), []
            for message, name, delay_seconds in scheduled:
                await post.schedule.add(tx.unit, message, name, delay_seconds)
            self.scheduled_any = True

    async def _flush_events(self, tx: Transaction, post: Post) -> None:
        appends = self.appends.take()
        appended = await tx.events.append(tx.unit, appends)
        self.appended_any = True
        head = max(position for each in appended for position in each.positions)
        self.reached = self.reached.reached(post.service, head)
        if post.after_append is not None:
            now = post.clock.now()
            recorded = [
                RecordedEvent(position, batch.stream, where.version - len(batch.events) + number, now, event)
                for batch, where in zip(appends, appended, strict=True)
                for number, (event, position) in enumerate(zip(batch.events, where.positions, strict=True), 1)
            ]
            await post.after_append(tx, sorted(recorded, key=lambda each: each.position))
            late = self.appends.take()
            if late:
                raise DeclarationError(
                    f"an append to '{late[0].stream}' came while the transaction's events were written",
                    hint="append where it is decided, not in what follows from the events",
                )

    def _reach_lanes(self, post: Post, messages: Sequence[Outgoing], positions: Sequence[int]) -> None:
        """Note where this service's events stand; what goes to one service alone is nobody's to wait for."""
        topic = f"{post.service}.events"
        partitions = post.outbox.partitions
        lanes: dict[str, int] = {}
        for message, position in zip(messages, positions, strict=True):
            if message.topic == topic:
                lane = outbox_lane(post.service, stable_hash(message.key) % partitions)
                lanes[lane] = max(position, lanes.get(lane, 0))
        if lanes:
            self.reached = self.reached.merged(Token(lanes))

    def wake(self, post: Post) -> None:
        """Wake whoever waits for what was written, once the commit has happened."""
        if self.appended_any:
            post.on_appended()
        if self.staged_any:
            post.on_staged()
        if self.scheduled_any:
            post.on_scheduled()
        for wake in self.after_commit:
            wake()
