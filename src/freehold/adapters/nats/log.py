"""The log and the groups' records in JetStream. Adapter: imports the groups pattern and its package."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Final, TypeVar

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.errors import STREAM_NOT_FOUND, WRONG_LAST_SEQUENCE, ApiError, StreamGone, as_outage
from freehold.adapters.nats.follow import PartitionReader
from freehold.adapters.nats.group_records import GroupRecords
from freehold.adapters.nats.identity import LogIdentity
from freehold.adapters.nats.log_stream import LogStream
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.publisher import Publication, Publisher
from freehold.adapters.nats.streams import ensure_stream
from freehold.broker import Subscription
from freehold.errors import BrokerError, FreeholdError, Unavailable
from freehold.groups.log import Entry, GroupView, Member, PartitionState, TopicPartition

__all__ = ["NatsLog", "read_record"]

_log = logging.getLogger("freehold.nats")
T = TypeVar("T")
_LOOKS: Final = 5
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"


def read_record(place: TopicPartition, data: bytes, number: int, origin: str = "") -> PartitionState:
    """Read a place's record; its token is its number in the bucket."""
    value = json.loads(data)
    return PartitionState(place, value["owner"], number, value["position"], value["attempts"], origin)


class NatsLog:
    """The log as one member sees it; see `freehold.groups.log.GroupLog`.

    The origin of a record is the log of its position and the bucket of its number, both as the server says that they
    were made. A change keeps the log that the record was seen with, so that no position is ever taken for one of a log
    that came later.
    """

    def __init__(
        self,
        connection: NatsConnection,
        publisher: Publisher,
        follower: PartitionReader,
        stream: LogStream,
        names: Names,
        *,
        subscription: Subscription,
        timeout_seconds: float,
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._follower = follower
        self._stream = stream
        self._names = names
        self._group = subscription.group
        self._topics = sorted(subscription.topics)
        self._latest = subscription.start == "latest"
        self._timeout_seconds = timeout_seconds
        self._records = GroupRecords(connection, names, subscription.group, timeout_seconds)
        self._member = ""
        self._bucket_made_at = ""
        self._unverified = False
        self._known: dict[TopicPartition, tuple[str, int]] = {}
        self._stored_at: dict[TopicPartition, tuple[int, int]] = {}
        self._wakes: Any = None
        self._on_messages: Callable[[], None] = lambda: None
        self._on_group: Callable[[], None] = lambda: None

    def listen(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        """Note whom to call."""
        self._on_messages, self._on_group = on_messages, on_group

    async def join(self, member: str) -> None:
        """Make what is missing, send a heartbeat, and listen."""
        await self._with_repair(self._make_all)
        await self.heartbeat(member)
        if not self._member:
            self._member = member
            self._follower.open(self._on_messages, self._on_group)
            self._wakes = await self._connection.subscribe(self._names.wake(self._group), self._woken)
            # Not `on_reconnected`: see `LogStream`.
            self._connection.on_broken.append(self._distrust)

    async def _with_repair(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call, and once more where a stream had vanished and was made again."""
        try:
            return await call()
        except StreamGone:
            await self._stream.repair()
            await self._make_bucket()
            return await call()

    async def _make_bucket(self) -> Mapping[str, Any]:
        """Make the stream of the group's records where it is missing, and return its state. Raises `Unavailable`."""
        self._unverified, known = False, False  # a break while we ask sets it again
        try:
            bucket, _ = await ensure_stream(self._connection, self._names.bucket_config(self._group))
            known = True
        except ApiError as error:
            raise as_outage(error, "NATS does not make the stream of a group's records") from error
        finally:
            self._unverified = self._unverified or not known
        before, self._bucket_made_at = self._bucket_made_at, str(bucket["created"])
        if before not in {"", self._bucket_made_at}:
            name = self._names.bucket(self._group)
            _log.warning("group %s: NATS has lost the records %s of %s: made again", self._group, name, before)
        return bucket

    async def _make_all(self) -> None:
        await self._make_bucket()
        identity = await self._stream.look()
        await self._make_records(self._places(identity), identity)

    async def _make_records(self, places: Iterable[TopicPartition], identity: LogIdentity) -> None:
        first = [
            Publication(
                self._names.place(self._group, place),
                _encode("", self._start(place, identity), 0, identity.made_at),
                {_EXPECTED: "0"},
            )
            for place in sorted(places)
        ]
        self._records.forget()
        for result in await self._publisher.publish(first, self._timeout_seconds):
            if isinstance(result, FreeholdError) and not _is_conflict(result):
                raise result

    def _start(self, place: TopicPartition, identity: LogIdentity) -> int:
        """The position of a missing record: where it was last seen, in the same log. A log that is newer than the group
        is read from its beginning.
        """
        made_at, position = self._known.get(place, ("", 0))
        if made_at == identity.made_at and position <= identity.last:
            return position
        return identity.last if self._latest and not self._known else 0

    async def _verify(self) -> None:
        """After the connection broke, check the streams before a record is stored: servers before 2.10 do not report,
        through the import of an account, that no stream takes it. The log comes first: where there is room for one
        stream only, it is the one that keeps the messages. Raises `Unavailable`.
        """
        if self._unverified:
            await self._stream.verify()
            await self._make_bucket()

    async def heartbeat(self, member: str) -> None:
        """Send a heartbeat."""
        await self._verify()
        heartbeat = Publication(self._names.member(self._group, member), encode({"topics": self._topics}))
        saved = await self._with_repair(lambda: self._publisher.publish_one(heartbeat, self._timeout_seconds))
        self._records.wrote(int(saved["seq"]), heartbeat.subject, heartbeat.payload)

    async def remove(self, member: str) -> None:
        """Remove a member."""
        subject = self._names.member(self._group, member)
        try:
            await self._connection.ask(f"STREAM.PURGE.{self._names.bucket(self._group)}", {"filter": subject})
        except ApiError as error:
            if error.number != STREAM_NOT_FOUND:
                raise as_outage(error, "NATS does not forget a member") from error

    async def observe(self) -> GroupView:
        """Read records and heartbeats. Records of a log that is gone begin again first, and missing ones are made."""
        for _ in range(_LOOKS):
            view = await self._with_repair(self._look)
            if view is not None:
                return view
        raise Unavailable(f"the records of group {self._group} change all the time", hint="it is looked at again soon")

    async def _look(self) -> GroupView | None:
        """Read once; None where something had to be made: then it has to be read again."""
        bucket = await self._make_bucket()
        bucket_made_at = self._bucket_made_at
        found = await self._records.read(bucket)
        # Read after the records: no position among them was saved later than this.
        identity = await self._stream.look()
        wanted = self._places(identity)
        origin = f"{identity.made_at} {bucket_made_at}"
        records: list[PartitionState] = []
        members: dict[str, Member] = {}
        stale: list[tuple[TopicPartition, int]] = []
        stored_at: dict[TopicPartition, tuple[int, int]] = {}
        rewound = self._follower.rewound
        for number, subject, data in found:
            member = self._names.read_member(self._group, subject)
            place = self._names.read_place(self._group, subject)
            if member is not None:
                members[member] = Member(number, frozenset(json.loads(data)["topics"]))
            elif place is not None and place in wanted:
                record = read_record(place, data, number, origin)
                records.append(record)
                if not identity.knows(data) or (place in rewound and record.owner == self._member):
                    stale.append((place, number))
                stored_at[place] = record.position, json.loads(data).get("stored_at", 0)
        missing = wanted - {record.place for record in records}
        if stale or missing:
            if stale:
                await self._reset_records(stale, identity.made_at)
            await self._make_records(missing, identity)
            return None
        self._follower.log = identity
        for place, known in stored_at.items():
            # A position that was stored while this was read is later.
            self._stored_at[place] = max(known, self._stored_at.get(place, known), key=itemgetter(1))
        self._known = {record.place: (identity.made_at, record.position) for record in records}
        return GroupView(sorted(records, key=lambda record: record.place), members)

    def _places(self, identity: LogIdentity) -> frozenset[TopicPartition]:
        partitions = range(identity.layout.partitions)
        return frozenset(
            TopicPartition(self._names.dotted(topic), number) for topic in self._topics for number in partitions
        )

    async def _reset_records(self, stale: Sequence[tuple[TopicPartition, int]], made_at: str) -> None:
        """Reset positions that were numbers of another log: in this one they would skip messages."""
        resets = [
            Publication(self._names.place(self._group, place), _encode("", 0, 0, made_at), {_EXPECTED: str(number)})
            for place, number in stale
        ]
        self._records.forget()
        for result in await self._publisher.publish(resets, self._timeout_seconds):
            if isinstance(result, Unavailable):
                raise result
            if isinstance(result, FreeholdError) and not _is_conflict(result):
                raise Unavailable("NATS did not take a group's record", hint=result.message) from result
        _log.warning(
            "group %s: the stream %s was made again or rewound: %d partitions are read again from the earliest message",
            self._group,
            self._names.log,
            len(stale),
        )

    async def compare_and_set(
        self, expected: PartitionState, *, owner: str, position: int, attempts: int
    ) -> PartitionState | None:
        """Change a record that is still as expected."""
        await self._verify()
        stored_at = self._when(expected.place, position)
        change = Publication(
            self._names.place(self._group, expected.place),
            _encode(owner, position, attempts, expected.origin.partition(" ")[0], stored_at),
            {_EXPECTED: str(expected.token)},
        )
        try:
            saved = await self._publisher.publish_one(change, self._timeout_seconds)
        except ApiError as error:
            if _is_conflict(error):
                return None
            raise Unavailable("NATS did not take a group's record", hint=error.message) from error
        self._records.wrote(int(saved["seq"]), change.subject, change.payload)
        self._stored_at[expected.place] = position, stored_at
        return replace(expected, owner=owner, token=int(saved["seq"]), position=position, attempts=attempts)

    def _when(self, place: TopicPartition, position: int) -> int:
        """When the message at a position was stored. The next reader sees by it whether the log is the same."""
        known, stored_at = self._stored_at.get(place, (0, 0))
        return stored_at if known == position and stored_at else self._follower.stored_at(place, position)

    async def notify_members(self) -> None:
        """Wake the other members of the group."""
        with contextlib.suppress(Unavailable):
            await self._connection.publish(self._names.wake(self._group), self._member.encode())

    async def start_reading(self, place: TopicPartition, after: int) -> None:
        """Watch a place."""
        await self._follower.start_reading(place, after, self._when(place, after))

    async def stop_reading(self, place: TopicPartition) -> None:
        """Stop watching a place."""
        await self._follower.stop_reading(place)

    def has_messages(self, place: TopicPartition, after: int) -> bool:
        """Whether there are messages after a position."""
        return self._follower.has_messages(place, after)

    async def refresh(self) -> None:
        """Repair what broke; messages arrive by themselves. Raises `BrokerError` if only another connection helps."""
        if self._connection.ended:
            raise BrokerError("NATS closed the connection for good", hint="subscribe again")
        await self._with_repair(self._follower.repair)

    async def read(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        """Read the messages after a position."""
        return await self._follower.read(place, after, limit)

    async def close(self) -> None:
        """Stop listening."""
        await self._follower.close()
        if self._wakes is not None:
            self._connection.on_broken.remove(self._distrust)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self._timeout_seconds):
                    await self._wakes.unsubscribe()

    def _distrust(self) -> None:
        self._unverified = True
        self._records.forget()

    async def _woken(self, message: Msg) -> None:
        if message.data != self._member.encode():
            self._on_group()


def _encode(owner: str, position: int, attempts: int, made_at: str, stored_at: int = 0) -> bytes:
    record = {"owner": owner, "position": position, "attempts": attempts, "log": made_at, "stored_at": stored_at}
    return encode(record)


def _is_conflict(result: Mapping[str, Any] | FreeholdError) -> bool:
    return isinstance(result, ApiError) and result.number == WRONG_LAST_SEQUENCE
