"""A member of a consumer group over a log: `freehold.broker.Consumer`, once for all brokers that keep a log.

Pattern: imports the foundation, the broker port and its own package. The rules are those of the broker port; here is
how the attempts are counted without a write for each batch: a first delivering is not written. When a holder died, one
is presumed; from then on, until the position moves, each is written before it happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from freehold.broker import Delivery
from freehold.clock import Clock
from freehold.errors import BrokerError, LeaseLost, Unavailable
from freehold.groups.assignment import AssignedPartition, Assignment
from freehold.groups.coordinator import GroupCoordinator
from freehold.groups.log import Entry, GroupLog, TopicPartition
from freehold.ids import new_id
from freehold.lifecycle import RunnerState

__all__ = ["GroupMember", "LogBatch"]

_POLL_SECONDS = 0.5
_CLOSE_SECONDS = 5.0
_LEAVE_SECONDS = 0.2


@dataclass(slots=True)
class LogBatch:
    """Deliveries of one place; acked once."""

    topic: str
    partition: int
    deliveries: Sequence[Delivery]
    _numbers: Sequence[int] = field(repr=False)
    _hold: AssignedPartition = field(repr=False)
    _member: GroupMember = field(repr=False)
    _acked: bool = False

    async def ack(self, count: int, *, counted: bool = True) -> None:
        """Acknowledge a prefix; see `freehold.broker.Batch`."""
        if self._acked or not 0 <= count <= len(self._numbers):
            raise BrokerError(
                f"a batch of {len(self._numbers)} acked with {count}",
                hint="ack each batch once, with 0 to its length",
            )
        self._acked = True
        await self._member.ack(self._hold, self._numbers, count, counted=counted)


class GroupMember:
    """Holds a fair share of the group's places and delivers what follows their positions."""

    def __init__(self, log: GroupLog, lease_seconds: float, clock: Clock) -> None:
        self.id = str(new_id())
        self._log = log
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._holds = Assignment()
        self._keeper = GroupCoordinator(log, self._holds, self.id, lease_seconds, clock, self._news_came)
        self._news = asyncio.Event()
        self._stale = True
        self._refreshed_at = -math.inf
        self._closed = False
        log.listen(self._messages_came, self._keeper.wake)

    @property
    def notice(self) -> str:
        """As `freehold.broker.Noticing` says."""
        return self._keeper.notice

    async def join(self) -> None:
        """Become a member and take a first share. Raises `Unavailable`."""
        try:
            await self._log.join(self.id)
            await self._keeper.round()
        except BaseException:
            await self._log.close()
            raise
        await self._log.notify_members()
        await self._keeper.start()

    async def fetch(self, limit: int, wait_seconds: float) -> LogBatch | None:
        """Return the next batch; see `freehold.broker.Consumer`."""
        deadline = self._clock.monotonic() + wait_seconds
        while not self._closed:
            self._check_keeper()
            self._news.clear()
            # A process that was frozen must look at the leases before it delivers anything.
            hold = self._holds.next_ready(self._log) if self._keeper.fresh else None
            if hold is not None:
                batch = await self._hand_out(hold, limit)
                if batch is not None:
                    return batch
            elif self._stale:
                self._stale = False
                await self._refresh()
            else:
                remaining = deadline - self._clock.monotonic()
                if remaining <= 0:
                    return None
                await self._idle(min(remaining, _POLL_SECONDS))
        raise BrokerError("the consumer is closed", hint="subscribe again")

    async def ack(self, hold: AssignedPartition, numbers: Sequence[int], count: int, *, counted: bool = True) -> None:
        """Move the position past a prefix of a batch and let the place be delivered again."""
        if not self._holds.has(hold):
            raise LeaseLost("the partition was taken over by another member", hint="its messages come again there")
        try:
            if not counted:
                hold.tries -= 1  # by which it is written where it is released
                hold.owed = True
            if count:
                position = numbers[count - 1]
                rest = hold.tries if count < len(numbers) else 0
                await self._save(hold, position=position, attempts=0, tries=rest)
            if hold.leaving and self._holds.has(hold):
                await self._keeper.release_partition(hold)
        finally:
            hold.busy = False
            self._news.set()

    async def pause(self) -> None:
        """Give no more heartbeats, as a frozen process does: for tests and for showing a take-over."""
        await self._keeper.freeze()

    async def close(self) -> None:
        """Leave the group at once; see `freehold.broker.Consumer`."""
        if self._closed:
            return
        self._closed = True
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._leave()
        await self._log.close()

    async def _leave(self) -> None:
        """Release everything. A count that is too high is not left behind while the broker may be back in time."""
        owed = any(hold.owed for hold in self._holds)
        while True:
            try:
                await self._keeper.leave()
            except* Unavailable:
                pass  # what is held runs out by itself
            else:
                return
            if not owed:
                return
            await asyncio.sleep(_LEAVE_SECONDS)  # a broker that is back wakes nobody here

    def _check_keeper(self) -> None:
        """Without its keeper a member has nothing to deliver, for good, and looks like one that has nothing to do."""
        if self._keeper.state in {RunnerState.FAILING, RunnerState.ENDED}:
            raise BrokerError(
                "the leases of the group's member cannot be kept", hint="subscribe again"
            ) from self._keeper.last_error

    async def _hand_out(self, hold: AssignedPartition, limit: int) -> LogBatch | None:
        hold.busy = True
        handed = False
        try:
            place = hold.record.place
            entries = [
                entry for entry in await self._log.read(place, hold.record.position, limit) if entry.number <= hold.span
            ]
            if not entries:
                return None
            if hold.record.attempts and not await self._count(hold):
                return None
            if not self._holds.has(hold):
                return None
            hold.tries += 1
            hold.tried_to = entries[-1].number
            handed = True
            return self._batch(place, hold, entries)
        finally:
            if not handed:
                hold.busy = False

    def _batch(self, place: TopicPartition, hold: AssignedPartition, entries: Sequence[Entry]) -> LogBatch:
        return LogBatch(
            topic=place.topic,
            partition=place.partition,
            deliveries=[
                Delivery(
                    document=entry.document,
                    delivery_count=hold.tries,
                    location=f"{place.topic}/{place.partition}/{entry.number}",
                )
                for entry in entries
            ],
            _numbers=[entry.number for entry in entries],
            _hold=hold,
            _member=self,
        )

    async def _count(self, hold: AssignedPartition) -> bool:
        try:
            await self._save(hold, position=hold.record.position, attempts=hold.tries + 1, tries=hold.tries)
        except LeaseLost:
            return False
        return True

    async def _save(self, hold: AssignedPartition, *, position: int, attempts: int, tries: int) -> None:
        hold.unsure = True
        try:
            saved = await self._log.compare_and_set(hold.record, owner=self.id, position=position, attempts=attempts)
        except Unavailable:
            self._keeper.wake()
            raise
        if saved is None:
            await self._keeper.lose(hold)
            raise LeaseLost("the partition was taken over by another member", hint="its messages come again there")
        hold.record = saved
        hold.unsure = False
        hold.tries = tries
        hold.owed = False
        if not tries:
            hold.tried_to = math.inf

    async def _refresh(self) -> None:
        self._refreshed_at = asyncio.get_running_loop().time()
        try:
            await self._log.refresh()
        except BaseException:
            self._stale = True
            raise

    async def _idle(self, seconds: float) -> None:
        waiter = asyncio.ensure_future(self._news.wait())
        done, _ = await asyncio.wait({waiter}, timeout=seconds)
        if not done:
            waiter.cancel()
            # Many tasks fetch at once, and one look is enough for all of them.
            self._stale = self._stale or asyncio.get_running_loop().time() - self._refreshed_at >= _POLL_SECONDS

    def _messages_came(self) -> None:
        self._stale = True
        self._news.set()

    def _news_came(self) -> None:
        self._news.set()
