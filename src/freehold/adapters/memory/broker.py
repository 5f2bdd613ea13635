"""The broker in memory, for tests and as a reference for the other brokers. One process, nothing durable.

Adapter: imports the broker port and the groups pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from freehold.adapters.memory.network import DIRECT, PUBLISH, SAVE, Network
from freehold.broker import (
    BrokerFeatures,
    BrokerOptions,
    GroupPlace,
    GroupState,
    OutgoingMessage,
    PublishConfirmed,
    PublishFailed,
    PublishOutcome,
    Subscription,
    TopicLag,
)
from freehold.clock import Clock
from freehold.database import CheckResult
from freehold.errors import LogReplaced, MessageRejected, Unavailable
from freehold.groups.log import Entry, GroupView, Member, PartitionState, TopicPartition
from freehold.groups.member import GroupMember
from freehold.ids import new_id, stable_hash

__all__ = ["MemoryBroker"]

_MESSAGE_BYTES_MAX: Final = 1_048_576
_CONFIRMED: Final = PublishConfirmed()


@dataclass(slots=True)
class _Line:
    """One partition: number, document and time of each message, and the last number.

    Tuples of plain values: the garbage collector does not visit them again and again, however many there are.
    """

    entries: list[tuple[int, bytes, float]] = field(default_factory=list)
    last: int = 0


@dataclass(slots=True)
class _Group:
    records: dict[TopicPartition, PartitionState] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    logs: list[_MemoryLog] = field(default_factory=list)


@dataclass(slots=True)
class _Server:
    """What all clients of one broker share."""

    lines: dict[TopicPartition, _Line] = field(default_factory=dict)
    groups: dict[str, _Group] = field(default_factory=dict)
    log_id: str = field(default_factory=lambda: str(new_id()))


class MemoryBroker:
    """A `freehold.broker.Broker` in memory. `interrupt` makes it unreachable, like an outage, until `restore`.

    network  what is between this client and the messages; a simulation replaces it.
    """

    def __init__(self, options: BrokerOptions, clock: Clock, server: _Server | None = None) -> None:
        self._options = options
        self._clock = clock
        self._server = server or _Server()
        self._members: list[GroupMember] = []
        self._reachable = True
        self.network: Network = DIRECT

    @property
    def log_id(self) -> str:
        """The identity of the log; another one after a `wipe`."""
        return self._server.log_id

    def client(self, clock: Clock) -> MemoryBroker:
        """Another client of the same broker, as in another process."""
        return MemoryBroker(self._options, clock, self._server)

    @property
    def features(self) -> BrokerFeatures:
        """The features of the broker."""
        return BrokerFeatures(
            technology="memory",
            emulation=True,
            durable=False,
            several_processes=False,
            confirm_survives="nothing",
            message_bytes_max=_MESSAGE_BYTES_MAX,
            redelivery_horizon_seconds=self._options.retention_seconds,
        )

    @property
    def partitions(self) -> int:
        """The number of partitions of a topic."""
        return self._options.partitions

    async def open(self) -> None:
        """Raise `Unavailable` during an interruption; there is nothing to connect to."""
        self.check()

    async def close(self) -> None:
        """Close all consumers; the messages stay as long as the object exists."""
        members, self._members = self._members, []
        for member in members:
            await member.close()

    def interrupt(self) -> None:
        """Make the broker unreachable."""
        self._reachable = False

    def restore(self) -> None:
        """End an `interrupt`."""
        self._reachable = True

    def wipe(self) -> None:
        """Lose all messages, positions and members, like a broker that starts again with an empty disk."""
        self._server.log_id = str(new_id())
        self._server.lines.clear()
        for group in self._server.groups.values():
            group.records.clear()
            group.members.clear()
            for log in group.logs:
                log.on_group()

    def check(self) -> None:
        """Raise `Unavailable` during an interruption."""
        if not self._reachable:
            raise Unavailable("the memory broker is interrupted", hint="call restore()")

    async def reach(self, request: str) -> None:
        """Wait until a request has reached the broker. Raises `Unavailable`."""
        self.check()
        await self.network.send(request)

    async def ping(self, timeout_seconds: float) -> None:
        """Return unless interrupted."""
        await self.reach("ping")

    async def probe(self, name: str, timeout_seconds: float) -> None:
        """Return unless interrupted."""
        await self.reach("probe")

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        """Store messages in memory."""
        await self.reach(PUBLISH)
        if log not in {"", self.log_id}:
            raise LogReplaced("the memory broker was wiped", hint="read its log identity again")
        lines: dict[tuple[str, str], _Line] = {}
        failed: set[tuple[str, str]] = set()
        now = self._clock.monotonic()
        outcomes = [self._store(message, lines, failed, now) for message in messages]
        for group in self._server.groups.values():
            for reader in group.logs:
                reader.on_messages()
        await self.network.answer(PUBLISH)
        return outcomes

    async def subscribe(self, subscription: Subscription) -> GroupMember:
        """Join a group."""
        await self.reach("subscribe")
        member = GroupMember(_MemoryLog(self, subscription), self._options.lease_seconds, self._clock)
        await member.join()
        self._members.append(member)
        return member

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """How many messages the group has not read, and their age, by topic."""
        await self.reach("lag")
        pending: dict[str, int] = {}
        oldest: dict[str, float] = {}
        now = self._clock.monotonic()
        for place, record in self.group(group).records.items():
            ages = [now - at for number, _, at in self.line(place).entries if number > record.position]
            pending[place.topic] = pending.get(place.topic, 0) + len(ages)
            oldest[place.topic] = max([oldest.get(place.topic, 0.0), *ages])
        return [
            TopicLag(group=group, topic=topic, pending=count, oldest_seconds=oldest[topic])
            for topic, count in sorted(pending.items())
        ]

    async def log_identity(self) -> str:
        """The id of this object: the messages end with it."""
        await self.reach("log_identity")
        return self.log_id

    async def log_mark(self) -> str:
        """Always empty: the log cannot be restored from an older copy."""
        await self.reach("log_mark")
        return ""

    async def log_holds(self, mark: str) -> bool:
        """Always True: the log cannot be restored from an older copy."""
        await self.reach("log_holds")
        return True

    async def group_state(self, group: str) -> GroupState:
        """The partitions of a group with their owners and positions, and its members."""
        await self.reach("group_state")
        found = self.group(group)
        places = [
            GroupPlace(place.topic, place.partition, record.owner, record.position)
            for place, record in sorted(found.records.items())
        ]
        return GroupState(places, {name: member.heartbeat for name, member in found.members.items()})

    async def run_checks(self) -> list[CheckResult]:
        """One result, which says that nothing is durable."""
        return [
            CheckResult("broker", ok=True, detail="messages are kept in memory and end with the process"),
        ]

    def group(self, name: str) -> _Group:
        """The state of a group."""
        return self._server.groups.setdefault(name, _Group())

    def line(self, place: TopicPartition) -> _Line:
        """A partition; entries beyond the retention are deleted first."""
        line = self._server.lines.get(place)
        if line is None:
            line = self._server.lines[place] = _Line()
        oldest = self._clock.monotonic() - self._options.retention_seconds
        expired = 0
        while expired < len(line.entries) and line.entries[expired][2] < oldest:
            expired += 1
        del line.entries[:expired]
        return line

    def places(self, topics: frozenset[str]) -> Sequence[TopicPartition]:
        """All partitions of some topics."""
        return [TopicPartition(topic, number) for topic in sorted(topics) for number in range(self._options.partitions)]

    def _store(
        self,
        message: OutgoingMessage,
        lines: dict[tuple[str, str], _Line],
        failed: set[tuple[str, str]],
        now: float,
    ) -> PublishOutcome:
        """Store a message; `lines` has the partitions of the keys that the call has met."""
        key = (message.topic, message.key)
        if key in failed:
            return PublishFailed(Unavailable("a message before it with the same key was not stored"))
        if len(message.document) > _MESSAGE_BYTES_MAX:
            failed.add(key)
            return PublishFailed(
                MessageRejected(
                    f"message {message.id} is larger than {_MESSAGE_BYTES_MAX} bytes", hint="make it smaller"
                )
            )
        line = lines.get(key)
        if line is None:
            place = TopicPartition(message.topic, stable_hash(message.key) % self._options.partitions)
            line = lines[key] = self.line(place)
        line.last += 1
        line.entries.append((line.last, message.document, now))
        return _CONFIRMED


class _MemoryLog:
    """A `freehold.groups.log.GroupLog` on the memory broker, for one member."""

    def __init__(self, broker: MemoryBroker, subscription: Subscription) -> None:
        self._broker = broker
        self._subscription = subscription
        self._group = broker.group(subscription.group)
        self._followed: dict[TopicPartition, str] = {}
        self.on_messages: Callable[[], None] = lambda: None
        self.on_group: Callable[[], None] = lambda: None

    def listen(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        self.on_messages, self.on_group = on_messages, on_group
        self._group.logs.append(self)

    async def join(self, member: str) -> None:
        await self._broker.reach("join")
        self._make_records(latest=self._subscription.start == "latest")
        await self.heartbeat(member)

    def _make_records(self, *, latest: bool = False) -> None:
        for place in self._broker.places(self._subscription.topics):
            position = self._broker.line(place).last if latest else 0
            record = PartitionState(
                place=place, owner="", token=1, position=position, attempts=0, origin=self._broker.log_id
            )
            self._group.records.setdefault(place, record)

    async def heartbeat(self, member: str) -> None:
        await self._broker.reach("heartbeat")
        before = self._group.members.get(member)
        heartbeat = before.heartbeat + 1 if before is not None else 1
        self._group.members[member] = Member(heartbeat, self._subscription.topics)

    async def remove(self, member: str) -> None:
        self._group.members.pop(member, None)

    async def observe(self) -> GroupView:
        await self._broker.reach("observe")
        self._make_records()
        places = self._broker.places(self._subscription.topics)
        return GroupView([self._group.records[place] for place in places], dict(self._group.members))

    async def compare_and_set(
        self, expected: PartitionState, *, owner: str, position: int, attempts: int
    ) -> PartitionState | None:
        await self._broker.reach(SAVE)
        record = self._group.records.get(expected.place)
        if record is None or (record.token, record.origin) != (expected.token, expected.origin):
            return None
        saved = replace(expected, owner=owner, token=expected.token + 1, position=position, attempts=attempts)
        self._group.records[expected.place] = saved
        await self._broker.network.answer(SAVE)
        return saved

    async def notify_members(self) -> None:
        for log in self._group.logs:
            if log is not self:
                log.on_group()

    async def start_reading(self, place: TopicPartition, after: int) -> None:
        self._followed[place] = self._broker.log_id

    async def stop_reading(self, place: TopicPartition) -> None:
        self._followed.pop(place, None)

    def has_messages(self, place: TopicPartition, after: int) -> bool:
        # A position from before a `wipe` would skip messages of the new log.
        known = self._followed.get(place) == self._broker.log_id
        return known and self._broker.line(place).last > after and bool(self._next(place, after, 1))

    async def refresh(self) -> None:
        await self._broker.reach("refresh")

    async def read(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        await self._broker.reach("read")
        return self._next(place, after, limit)

    async def close(self) -> None:
        if self in self._group.logs:
            self._group.logs.remove(self)

    def _next(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        line = self._broker.line(place)
        if not line.entries:
            return []
        start = max(0, after - line.entries[0][0] + 1)
        return [Entry(number, document) for number, document, _ in line.entries[start : start + limit]]
