"""The broker kept in memory: the reference for the others, and for tests of services. One process, nothing durable.

Adapter: imports the broker port and the leases pattern.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from freehold.broker import (
    BrokerFeatures,
    BrokerOptions,
    Outgoing,
    PublishFailed,
    PublishOutcome,
    Stored,
    Subscription,
    TopicLag,
)
from freehold.clock import Clock
from freehold.database import Finding
from freehold.errors import MessageRejected, Unavailable
from freehold.ids import stable_hash
from freehold.leases.log import Entry, GroupView, Member, Place, PlaceRecord
from freehold.leases.member import GroupMember

__all__ = ["MemoryBroker"]

_MESSAGE_BYTES_MAX: Final = 1_048_576


@dataclass(slots=True)
class _Line:
    """One partition: entries, and when each was stored."""

    entries: list[tuple[Entry, float]] = field(default_factory=list)
    last: int = 0


@dataclass(slots=True)
class _Group:
    records: dict[Place, PlaceRecord] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    logs: list[_MemoryLog] = field(default_factory=list)


class MemoryBroker:
    """See `freehold.broker.Broker`. `interrupt` makes it unreachable, as an outage does, until `restore`."""

    def __init__(self, options: BrokerOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._lines: dict[Place, _Line] = {}
        self._groups: dict[str, _Group] = {}
        self._members: list[GroupMember] = []
        self._reachable = True

    @property
    def features(self) -> BrokerFeatures:
        """What it guarantees."""
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
        """How many partitions a topic has."""
        return self._options.partitions

    async def open(self) -> None:
        """Nothing to connect to, but for an interruption."""
        self.check()

    async def close(self) -> None:
        """Close all consumers; the messages stay for as long as the object does."""
        members, self._members = self._members, []
        for member in members:
            await member.close()

    def interrupt(self) -> None:
        """Be unreachable from now on."""
        self._reachable = False

    def restore(self) -> None:
        """End an `interrupt`."""
        self._reachable = True

    def check(self) -> None:
        """Raise `Unavailable` during an interruption."""
        if not self._reachable:
            raise Unavailable("the memory broker is interrupted", hint="call restore()")

    async def ping(self, timeout_seconds: float) -> None:
        """Return unless interrupted."""
        self.check()

    async def publish(self, messages: Sequence[Outgoing], timeout_seconds: float) -> Sequence[PublishOutcome]:
        """Store messages in memory."""
        self.check()
        failed: set[tuple[str, str]] = set()
        outcomes = [self._store(message, failed) for message in messages]
        for group in self._groups.values():
            for log in group.logs:
                log.on_messages()
        # Others get their turn, as with a broker that is far away.
        await asyncio.sleep(0)
        return outcomes

    async def subscribe(self, subscription: Subscription) -> GroupMember:
        """Join a group."""
        self.check()
        member = GroupMember(_MemoryLog(self, subscription), self._options.lease_seconds, self._clock)
        await member.join()
        self._members.append(member)
        return member

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """What the group still has before it."""
        self.check()
        pending: dict[str, int] = {}
        oldest: dict[str, float] = {}
        now = self._clock.monotonic()
        for place, record in self.group(group).records.items():
            ages = [now - at for entry, at in self.line(place).entries if entry.number > record.position]
            pending[place.topic] = pending.get(place.topic, 0) + len(ages)
            oldest[place.topic] = max([oldest.get(place.topic, 0.0), *ages])
        return [
            TopicLag(group=group, topic=topic, pending=count, oldest_seconds=oldest[topic])
            for topic, count in sorted(pending.items())
        ]

    async def examine(self) -> list[Finding]:
        """Say that nothing is durable."""
        return [
            Finding("broker", ok=True, detail="messages are kept in memory and end with the process"),
        ]

    def group(self, name: str) -> _Group:
        """The state of a group."""
        return self._groups.setdefault(name, _Group())

    def line(self, place: Place) -> _Line:
        """The entries of a place that are within retention."""
        line = self._lines.setdefault(place, _Line())
        oldest = self._clock.monotonic() - self._options.retention_seconds
        expired = 0
        while expired < len(line.entries) and line.entries[expired][1] < oldest:
            expired += 1
        del line.entries[:expired]
        return line

    def places(self, topics: frozenset[str]) -> Sequence[Place]:
        """Every place of some topics."""
        return [Place(topic, number) for topic in sorted(topics) for number in range(self._options.partitions)]

    def _store(self, message: Outgoing, failed: set[tuple[str, str]]) -> PublishOutcome:
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
        line = self.line(Place(message.topic, stable_hash(message.key) % self._options.partitions))
        line.last += 1
        line.entries.append((Entry(line.last, message.document), self._clock.monotonic()))
        return Stored()


class _MemoryLog:
    """The log of a memory broker as one member sees it; see `freehold.leases.log.GroupLog`."""

    def __init__(self, broker: MemoryBroker, subscription: Subscription) -> None:
        self._broker = broker
        self._subscription = subscription
        self._group = broker.group(subscription.group)
        self.on_messages: Callable[[], None] = lambda: None
        self.on_group: Callable[[], None] = lambda: None

    def listen(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        self.on_messages, self.on_group = on_messages, on_group
        self._group.logs.append(self)

    async def join(self, member: str) -> None:
        self._broker.check()
        latest = self._subscription.start == "latest"
        for place in self._broker.places(self._subscription.topics):
            position = self._broker.line(place).last if latest else 0
            record = PlaceRecord(place=place, owner="", token=1, position=position, attempts=0)
            self._group.records.setdefault(place, record)
        await self.beat(member)

    async def beat(self, member: str) -> None:
        self._broker.check()
        before = self._group.members.get(member)
        beat = before.beat + 1 if before is not None else 1
        self._group.members[member] = Member(beat, self._subscription.topics)

    async def forget(self, member: str) -> None:
        self._group.members.pop(member, None)

    async def observe(self) -> GroupView:
        self._broker.check()
        places = self._broker.places(self._subscription.topics)
        return GroupView([self._group.records[place] for place in places], dict(self._group.members))

    async def save(self, seen: PlaceRecord, *, owner: str, position: int, attempts: int) -> PlaceRecord | None:
        self._broker.check()
        if self._group.records[seen.place].token != seen.token:
            return None
        saved = replace(seen, owner=owner, token=seen.token + 1, position=position, attempts=attempts)
        self._group.records[seen.place] = saved
        return saved

    async def announce(self) -> None:
        for log in self._group.logs:
            if log is not self:
                log.on_group()

    async def follow(self, place: Place, after: int) -> None:
        pass

    async def unfollow(self, place: Place) -> None:
        pass

    def has_news(self, place: Place, after: int) -> bool:
        return self._broker.line(place).last > after and bool(self._next(place, after, 1))

    async def refresh(self) -> None:
        self._broker.check()

    async def read(self, place: Place, after: int, limit: int) -> Sequence[Entry]:
        self._broker.check()
        return self._next(place, after, limit)

    async def close(self) -> None:
        if self in self._group.logs:
            self._group.logs.remove(self)

    def _next(self, place: Place, after: int, limit: int) -> Sequence[Entry]:
        line = self._broker.line(place)
        if not line.entries:
            return []
        start = max(0, after - line.entries[0][0].number + 1)
        return [entry for entry, _ in line.entries[start : start + limit]]
