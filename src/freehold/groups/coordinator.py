"""The coordinator of a group member: heartbeats and rebalance. Pattern: imports the foundation, leases, its package."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.errors import FreeholdError, Unavailable
from freehold.groups.assignment import AssignedPartition, Assignment
from freehold.groups.log import GroupLog, GroupView, PartitionState, TopicPartition
from freehold.leases.balance import BalancePolicy, LivenessTracker, ObservedLease, Rebalance
from freehold.lifecycle import Runner
from freehold.outages import BROKER
from freehold.tasks import TaskGroup

__all__ = ["GroupCoordinator"]

_REMOVE_AFTER_LEASES = 10.0
_RETRY_SECONDS = 0.5
_SILENT_LEASES = 0.4


class GroupCoordinator(Runner):
    """Sends a heartbeat every third of `lease_seconds`, detects lost partitions, acquires and releases partitions, and
    writes all of it into `holds`.
    """

    needs = BROKER

    def __init__(
        self,
        log: GroupLog,
        holds: Assignment,
        member: str,
        lease_seconds: float,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        super().__init__("group member", clock=clock)
        self._log = log
        self._holds = holds
        self._member = member
        self._lease_seconds = lease_seconds
        self._policy = BalancePolicy(lease_seconds)
        self._on_change = on_change
        self._heartbeats: LivenessTracker[str] = LivenessTracker()
        self._tokens: LivenessTracker[TopicPartition] = LivenessTracker()
        self._checked_at = -math.inf
        self._frozen = False
        self._departing: set[TopicPartition] = set()
        self._others: Mapping[TopicPartition, float] = {}
        self._log_notice = ""
        self._left: list[AssignedPartition] = []

    @property
    def fresh(self) -> bool:
        """Whether the records were read within `lease_seconds`; otherwise other members may have taken over."""
        return self._frozen or self.clock.monotonic() - self._checked_at < self._lease_seconds

    @property
    def notice(self) -> str:
        """What has happened to the log, and what keeps this member from its partitions: a broker that does not accept
        heartbeats, or a silent member, with the time until its partitions are taken over.
        """
        return "; ".join(filter(None, (self._log_notice, self._silence())))

    def _silence(self) -> str:
        now = self.clock.monotonic()
        if not self.fresh and isinstance(self.last_error, FreeholdError):
            seconds = now - self._checked_at
            return f"leases were not checked for {seconds:.0f} s, nothing is delivered: {self.last_error.message}"
        longest = _SILENT_LEASES * self._lease_seconds
        others = {place: now - since for place, since in self._others.items() if self._holds.get(place) is None}
        silent = {place: seconds for place, seconds in others.items() if longest <= seconds < math.inf}
        if not silent:
            return ""
        place, seconds = min(silent.items(), key=lambda each: each[1])
        what = f"{place.topic} partition {place.partition}" if len(silent) == 1 else f"{len(silent)} partitions"
        left = max(0.0, self._lease_seconds - seconds)
        return f"{what} held by a member that sent no heartbeat for {seconds:.0f} s: taken over in {left:.0f} s"

    async def run(self) -> None:
        """Run rounds until stopped; after `Unavailable` the next one comes soon."""
        while not self.stopping:
            try:
                await self.round()
                self.healthy()
                await self.wait(self._lease_seconds / 3)
            except Unavailable as error:
                self.waits_for(self.needs, error, again_seconds=_RETRY_SECONDS)
                await self.wait(min(_RETRY_SECONDS, self._lease_seconds / 3))

    async def round(self) -> None:
        """Send a heartbeat, read the group, decide, acquire and release. Raises `Unavailable`."""
        started = self.clock.monotonic()
        crash_point("groups.before-heartbeat")
        await self._log.heartbeat(self._member)
        crash_point("groups.heartbeat-sent")
        known = self._holds.records
        departing = set(self._departing)
        view = await self._log.observe()
        self._log_notice = view.notice
        now = self.clock.monotonic()
        await self._reconcile(view, known, departing | self._departing)
        self._checked_at = started
        # An owner that is missing among the members may have been overlooked in one read: absence counts as silence.
        looks: dict[str, int | None] = {record.owner: None for record in view.records}
        looks.update((name, member.heartbeat) for name, member in view.members.items())
        since = self._heartbeats.observe(looks, now)
        heard = {name: -math.inf if name in view.gone else at for name, at in since.items()}
        decision = self._decide(view, heard, now)
        records = {record.place: record for record in view.records}
        await self._release([hold for place in decision.release if (hold := self._holds.get(place)) is not None])
        await self._take([records[place] for place in decision.acquire])
        self._keep(decision.release)
        await self._remove_dead({name: since[name] for name in view.members}, now)
        self._on_change()

    async def release_partition(self, hold: AssignedPartition) -> None:
        """Release a partition, and store its delivery count. Raises `Unavailable`."""
        place = hold.record.place
        self._holds.drop(hold)
        self._departing.add(place)
        try:
            await self._log.stop_reading(place)
            crash_point("groups.before-release")
            await self._log.compare_and_set(
                hold.record, owner="", position=hold.record.position, attempts=hold.delivery_count
            )
        finally:
            self._departing.discard(place)
        crash_point("groups.released")
        await self._log.notify_members()

    async def lose(self, hold: AssignedPartition) -> None:
        """Note that another member has the partition. Does nothing for an assignment that has ended already."""
        if not self._holds.has(hold):
            return
        self._holds.drop(hold)
        await self._log.stop_reading(hold.record.place)
        self.wake()

    async def freeze(self) -> None:
        """Stop sending heartbeats, and release nothing."""
        self._frozen = True
        await self.stop(drain_seconds=0.0)

    async def leave(self) -> None:
        """Release all partitions and leave the group. May be called again after `Unavailable`."""
        await self.stop(drain_seconds=1.0)
        for hold in self._holds:
            self._holds.drop(hold)
            self._left.append(hold)
        unconfirmed = any(hold.unconfirmed for hold in self._left)
        records = {each.place: each for each in (await self._log.observe()).records} if unconfirmed else {}
        async with TaskGroup() as saves:
            for hold in list(self._left):
                saves.create_task(self._leave(hold, records))
        crash_point("groups.left")
        await self._log.remove(self._member)
        await self._log.notify_members()

    async def _leave(self, hold: AssignedPartition, records: Mapping[TopicPartition, PartitionState]) -> None:
        """Release one partition. After an unconfirmed change, the record that was read shows whether it was made."""
        record = records.get(hold.record.place, hold.record) if hold.unconfirmed else hold.record
        if record.owner == self._member:
            attempts = hold.delivery_count if record.position == hold.record.position else record.attempts
            hold.unconfirmed = True
            crash_point("groups.before-leave")
            await self._log.compare_and_set(record, owner="", position=record.position, attempts=attempts)
        self._left.remove(hold)

    async def _reconcile(
        self, view: GroupView, known: Mapping[TopicPartition, PartitionState], departing: Collection[TopicPartition]
    ) -> None:
        """Compare the view with the assignment.

        An assigned record that changed during the read is newer than the view, and stays. One of another log is lost:
        its delivered messages cannot be acked.
        """
        for record in view.records:
            hold = self._holds.get(record.place)
            if hold is None:
                # Acquired, or kept, by a change whose confirmation was lost; but not one that is being released now.
                if record.owner == self._member and record.place not in known and record.place not in departing:
                    await self._hold(record)
            elif known.get(record.place) != hold.record or self._is_older(record, hold):
                continue
            elif record.owner != self._member or record.origin != hold.record.origin:
                await self.lose(hold)
            elif hold.unconfirmed and not hold.busy:
                await self._adopt(hold, record)
        await self._lose_missing(view, known)

    async def _adopt(self, hold: AssignedPartition, record: PartitionState) -> None:
        """Continue with the record that an unconfirmed change has left, or has not.

        At the same position this member knows best how often the messages were delivered: a count is stored before the
        delivery, and where its confirmation was lost, nothing was delivered. If it counted each time, a broker that
        loses some confirmations would make a crashing message of a healthy one.
        """
        await self._log.stop_reading(record.place)
        self._holds.drop(hold)
        adopted = await self._hold(record)
        if record.position == hold.record.position:
            adopted.delivery_count, adopted.delivered_to = hold.delivery_count, hold.delivered_to
            adopted.overcounted = record.attempts > hold.delivery_count

    async def _lose_missing(self, view: GroupView, known: Mapping[TopicPartition, PartitionState]) -> None:
        """Lose partitions that no longer exist: the log was created again with fewer partitions."""
        places = {record.place for record in view.records}
        for hold in self._holds:
            if hold.record.place not in places and known.get(hold.record.place) == hold.record:
                await self.lose(hold)

    @staticmethod
    def _is_older(record: PartitionState, hold: AssignedPartition) -> bool:
        """Whether the record that was read is older than the assigned one; False for records of two origins."""
        return record.origin == hold.record.origin and record.token < hold.record.token

    def _decide(self, view: GroupView, since: Mapping[str, float], now: float) -> Rebalance[TopicPartition]:
        """Share each topic among the members that read it: members of different versions may read different topics."""
        moved = self._tokens.observe({record.place: record.token for record in view.records}, now)
        leases: dict[str, list[ObservedLease[TopicPartition]]] = {}
        others: dict[TopicPartition, float] = {}
        for record in view.records:
            # An owner lives if it sends heartbeats or its record changes.
            alive = -math.inf if record.owner in view.gone else max(since[record.owner], moved[record.place])
            if record.owner not in {"", self._member}:
                others[record.place] = alive
            holding = ObservedLease(name=record.place, owner=self._holder(record), since=alive)
            leases.setdefault(record.place.topic, []).append(holding)
        self._others = others
        acquire: list[TopicPartition] = []
        release: list[TopicPartition] = []
        for topic, places in leases.items():
            members = {name: since[name] for name, member in view.members.items() if topic in member.topics}
            decision = self._policy.decide(places, members, self._member, now)
            acquire.extend(decision.acquire)
            release.extend(decision.release)
        return Rebalance(acquire=tuple(acquire), release=tuple(release))

    def _holder(self, record: PartitionState) -> str:
        hold = self._holds.get(record.place)
        if hold is not None:
            return self._member
        return "" if record.owner == self._member else record.owner

    async def _take(self, wanted: Sequence[PartitionState]) -> None:
        await asyncio.gather(*(self._take_one(record) for record in wanted))

    async def _take_one(self, expected: PartitionState) -> None:
        # An owner that did not release may have delivered the messages without a stored count: assume one delivery.
        attempts = max(expected.attempts, 1) if expected.owner else expected.attempts
        crash_point("groups.before-take")
        taken = await self._log.compare_and_set(
            expected, owner=self._member, position=expected.position, attempts=attempts
        )
        crash_point("groups.taken")
        if taken is not None:
            await self._hold(taken)

    async def _hold(self, record: PartitionState) -> AssignedPartition:
        hold = self._holds.add(record)
        await self._log.start_reading(record.place, record.position)
        return hold

    async def _release(self, holds: Sequence[AssignedPartition]) -> None:
        for hold in holds:
            if hold.busy:
                hold.releasing = True
            elif not hold.unconfirmed and self._holds.has(hold):
                await self.release_partition(hold)

    def _keep(self, leaving: Sequence[TopicPartition]) -> None:
        """Keep partitions that shall no longer be released."""
        for hold in self._holds:
            hold.releasing = hold.releasing and hold.record.place in leaving

    async def _remove_dead(self, since: Mapping[str, float], now: float) -> None:
        for member, seen in since.items():
            if member != self._member and now - seen >= _REMOVE_AFTER_LEASES * self._lease_seconds:
                await self._log.remove(member)
