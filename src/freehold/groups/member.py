"""A member of a consumer group: the `freehold.broker.Consumer` of all brokers with a log.

Pattern: imports the foundation, the broker port and its own package. The rules are those of the broker port. Deliveries
are counted without a write for each batch:

1. The first delivery is not stored.
2. When a partition is taken over from an owner that did not release it, one delivery is assumed.
3. From then on, until the position moves, each delivery is stored before it happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from freehold.broker import Delivery
from freehold.clock import Clock
from freehold.crash_points import crash_point
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
    """Deliveries of one partition; acked once."""

    topic: str
    partition: int
    deliveries: Sequence[Delivery]
    _numbers: Sequence[int] = field(repr=False)
    _hold: AssignedPartition = field(repr=False)
    _member: GroupMember = field(repr=False)
    _acked: bool = False

    async def ack(self, count: int, *, counted: bool = True) -> None:
        """Acknowledge the first `count` deliveries; see `freehold.broker.Batch`."""
        if self._acked or not 0 <= count <= len(self._numbers):
            raise BrokerError(
                f"a batch of {len(self._numbers)} acked with {count}",
                hint="ack each batch once, with 0 to its length",
            )
        self._acked = True
        crash_point("groups.before-acknowledge")
        await self._member.ack(self._hold, self._numbers, count, counted=counted)
        crash_point("groups.acknowledged")


class GroupMember:
    """Has a fair share of the group's partitions, and delivers the messages behind their positions."""

    def __init__(self, log: GroupLog, lease_seconds: float, clock: Clock) -> None:
        self.id = str(new_id())
        self._log = log
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._holds = Assignment()
        self._coordinator = GroupCoordinator(log, self._holds, self.id, lease_seconds, clock, self._assignment_changed)
        self._news = asyncio.Event()
        self._stale = True
        self._refreshed_at = -math.inf
        self._closed = False
        log.listen(self._messages_came, self._coordinator.wake)

    @property
    def notice(self) -> str:
        """A notice for the operator; see `freehold.broker.Noticing`."""
        return self._coordinator.notice

    async def join(self) -> None:
        """Become a member and acquire a first share. Raises `Unavailable`."""
        try:
            await self._log.join(self.id)
            crash_point("groups.joined")
            await self._coordinator.round()
        except BaseException:
            await self._log.close()
            raise
        await self._log.notify_members()
        await self._coordinator.start()

    async def fetch(self, limit: int, wait_seconds: float) -> LogBatch | None:
        """Return the next batch; see `freehold.broker.Consumer`."""
        deadline = self._clock.monotonic() + wait_seconds
        while not self._closed:
            self._check_coordinator()
            self._news.clear()
            # A process that was frozen must read the records before it delivers anything.
            hold = self._holds.next_ready(self._log) if self._coordinator.fresh else None
            if hold is not None:
                batch = await self._deliver(hold, limit)
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
        """Move the position behind the first `count` messages of a batch, and allow the next delivery of the partition.

        Raises `LeaseLost`, `Unavailable`.
        """
        if not self._holds.has(hold):
            raise LeaseLost("another member has taken the partition over", hint="its messages are delivered there")
        try:
            if not counted:
                hold.delivery_count -= 1  # the release of the partition stores it
                hold.overcounted = True
            if count:
                position = numbers[count - 1]
                rest = hold.delivery_count if count < len(numbers) else 0
                await self._save(hold, position=position, attempts=0, delivery_count=rest)
            if hold.releasing and self._holds.has(hold):
                await self._coordinator.release_partition(hold)
        finally:
            hold.busy = False
            self._news.set()

    async def pause(self) -> None:
        """Stop sending heartbeats, like a frozen process: for tests, and to show a take-over."""
        await self._coordinator.freeze()

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
        """Release all partitions. Where a stored count is too high, retry for some time while the broker is away."""
        overcounted = any(hold.overcounted for hold in self._holds)
        while True:
            try:
                await self._coordinator.leave()
            except* Unavailable:
                pass  # the leases expire by themselves
            else:
                return
            if not overcounted:
                return
            await asyncio.sleep(_LEAVE_SECONDS)  # nothing signals here that the broker is back

    def _check_coordinator(self) -> None:
        """Raise `BrokerError` where the coordinator has ended: the member would wait for ever without an error."""
        if self._coordinator.state in {RunnerState.FAILING, RunnerState.ENDED}:
            raise BrokerError(
                "the member's coordinator has ended, so it cannot keep its leases", hint="subscribe again"
            ) from self._coordinator.last_error

    async def _deliver(self, hold: AssignedPartition, limit: int) -> LogBatch | None:
        hold.busy = True
        delivered = False
        try:
            place = hold.record.place
            entries = [
                entry
                for entry in await self._log.read(place, hold.record.position, limit)
                if entry.number <= hold.limit
            ]
            if not entries:
                return None
            if hold.record.attempts and not await self._count(hold):
                return None
            if not self._holds.has(hold):
                return None
            hold.delivery_count += 1
            hold.delivered_to = entries[-1].number
            crash_point("groups.before-delivery")
            delivered = True
            return self._batch(place, hold, entries)
        finally:
            if not delivered:
                hold.busy = False

    def _batch(self, place: TopicPartition, hold: AssignedPartition, entries: Sequence[Entry]) -> LogBatch:
        return LogBatch(
            topic=place.topic,
            partition=place.partition,
            deliveries=[
                Delivery(
                    document=entry.document,
                    delivery_count=hold.delivery_count,
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
            await self._save(
                hold,
                position=hold.record.position,
                attempts=hold.delivery_count + 1,
                delivery_count=hold.delivery_count,
            )
        except LeaseLost:
            return False
        return True

    async def _save(self, hold: AssignedPartition, *, position: int, attempts: int, delivery_count: int) -> None:
        hold.unconfirmed = True
        try:
            crash_point("groups.before-save")
            saved = await self._log.compare_and_set(hold.record, owner=self.id, position=position, attempts=attempts)
        except Unavailable:
            self._coordinator.wake()
            raise
        if saved is None:
            await self._coordinator.lose(hold)
            raise LeaseLost("another member has taken the partition over", hint="its messages are delivered there")
        crash_point("groups.saved")
        hold.record = saved
        hold.unconfirmed = False
        hold.delivery_count = delivery_count
        hold.overcounted = False
        if not delivery_count:
            hold.delivered_to = math.inf

    async def _refresh(self) -> None:
        self._refreshed_at = asyncio.get_running_loop().time()
        try:
            await self._log.refresh()
        except BaseException:
            self._stale = True
            raise

    async def _idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            # Many tasks fetch at the same time, and one refresh is enough for all of them.
            self._stale = self._stale or asyncio.get_running_loop().time() - self._refreshed_at >= _POLL_SECONDS

    def _messages_came(self) -> None:
        self._stale = True
        self._news.set()

    def _assignment_changed(self) -> None:
        self._news.set()
