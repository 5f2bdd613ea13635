"""The log and the groups' records in JetStream. Adapter: imports the leases pattern and its package."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.errors import WRONG_LAST_SEQUENCE, ApiError
from freehold.adapters.nats.follow import Follower
from freehold.adapters.nats.identity import read_identity
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.publisher import Publication, Publisher
from freehold.adapters.nats.snapshot import snapshot
from freehold.broker import Subscription
from freehold.errors import BrokerError, FreeholdError, Unavailable
from freehold.leases.log import Entry, GroupView, Member, Place, PlaceRecord

__all__ = ["NatsLog", "read_record"]

_log = logging.getLogger("freehold.nats")
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"


def read_record(place: Place, message: Msg, number: int) -> PlaceRecord:
    """Read a place's record; its token is its number in the bucket."""
    value = json.loads(message.data)
    return PlaceRecord(
        place=place, owner=value["owner"], token=number, position=value["position"], attempts=value["attempts"]
    )


class NatsLog:
    """The log as one member sees it; see `freehold.leases.log.GroupLog`."""

    def __init__(
        self,
        connection: NatsConnection,
        publisher: Publisher,
        follower: Follower,
        names: Names,
        *,
        subscription: Subscription,
        places: Sequence[Place],
        timeout_seconds: float,
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._follower = follower
        self._names = names
        self._group = subscription.group
        self._topics = sorted(subscription.topics)
        self._latest = subscription.start == "latest"
        self._places = frozenset(places)
        self._timeout_seconds = timeout_seconds
        self._member = ""
        self._made_at = ""
        self._wakes: Any = None
        self._on_messages: Callable[[], None] = lambda: None
        self._on_group: Callable[[], None] = lambda: None

    def listen(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        """Note whom to call."""
        self._on_messages, self._on_group = on_messages, on_group

    async def join(self, member: str) -> None:
        """Make what is missing, beat, and listen."""
        await self._make_records(self._places)
        await self.beat(member)
        if not self._member:
            self._member = member
            await self._follower.open(self._on_messages)
            self._wakes = await self._connection.subscribe(self._names.wake(self._group), self._woken)

    async def _make_records(self, places: Iterable[Place]) -> None:
        identity = await read_identity(self._connection, self._names)
        record = _encode("", identity.last if self._latest else 0, 0, identity.made_at)
        first = [
            Publication(self._names.place(self._group, place), record, {_EXPECTED: "0"}) for place in sorted(places)
        ]
        for result in await self._publisher.publish(first, self._timeout_seconds):
            if isinstance(result, FreeholdError) and not _is_conflict(result):
                raise result

    async def beat(self, member: str) -> None:
        """Give a sign of life."""
        beat = Publication(self._names.member(self._group, member), encode({"topics": self._topics}))
        await self._publisher.publish_one(beat, self._timeout_seconds)

    async def forget(self, member: str) -> None:
        """Remove a member."""
        subject = self._names.member(self._group, member)
        await self._connection.ask(f"STREAM.PURGE.{self._names.bucket}", {"filter": subject})

    async def observe(self) -> GroupView:
        """Read records and beats. Records of a log that is gone are begun anew first."""
        subject = f"{self._names.group(self._group)}.>"
        records: list[PlaceRecord] = []
        members: dict[str, Member] = {}
        stale: list[tuple[Place, int]] = []
        found = await snapshot(self._connection, self._names.bucket, subject, self._timeout_seconds)
        # Read after the records: no position among them was saved later than this.
        identity = await read_identity(self._connection, self._names)
        for number, message in found:
            member = self._names.read_member(self._group, message.subject)
            place = self._names.read_place(self._group, message.subject)
            if member is not None:
                members[member] = Member(number, frozenset(json.loads(message.data)["topics"]))
            elif place in self._places:
                records.append(read_record(place, message, number))
                if not identity.knows(message):
                    stale.append((place, number))
        if stale:
            await self._begin_anew(stale, identity.made_at)
            return await self.observe()
        # Not before every record is one of this log: what is settled just now must not carry an old number over.
        self._made_at = self._follower.made_at = identity.made_at
        missing = self._places - {record.place for record in records}
        if missing:
            # Somebody emptied the bucket: without records the group would stand still.
            await self._make_records(missing)
        return GroupView(sorted(records, key=lambda record: record.place), members)

    async def _begin_anew(self, stale: Sequence[tuple[Place, int]], made_at: str) -> None:
        """Forget positions that were numbers of another log: in this one they would pass over what nobody has seen."""
        resets = [
            Publication(self._names.place(self._group, place), _encode("", 0, 0, made_at), {_EXPECTED: str(number)})
            for place, number in stale
        ]
        for result in await self._publisher.publish(resets, self._timeout_seconds):
            if isinstance(result, FreeholdError) and not _is_conflict(result):
                raise Unavailable("NATS did not take a group's record", hint=result.message) from result
        _log.warning(
            "group %s: the stream %s was made anew or rewound: %d partitions are read again from the earliest message",
            self._group,
            self._names.log,
            len(stale),
        )

    async def save(self, seen: PlaceRecord, *, owner: str, position: int, attempts: int) -> PlaceRecord | None:
        """Change a record that is still as seen."""
        change = Publication(
            self._names.place(self._group, seen.place),
            _encode(owner, position, attempts, self._made_at),
            {_EXPECTED: str(seen.token)},
        )
        try:
            saved = await self._publisher.publish_one(change, self._timeout_seconds)
        except ApiError as error:
            if _is_conflict(error):
                return None
            raise Unavailable("NATS did not take a group's record", hint=error.message) from error
        return PlaceRecord(place=seen.place, owner=owner, token=int(saved["seq"]), position=position, attempts=attempts)

    async def announce(self) -> None:
        """Wake the other members of the group."""
        with contextlib.suppress(Unavailable):
            await self._connection.publish(self._names.wake(self._group), self._member.encode())

    async def follow(self, place: Place, after: int) -> None:
        """Watch a place."""
        await self._follower.follow(place, after)

    async def unfollow(self, place: Place) -> None:
        """Stop watching a place."""
        await self._follower.unfollow(place)

    def has_news(self, place: Place, after: int) -> bool:
        """Whether something lies behind a position."""
        return self._follower.has_news(place, after)

    async def refresh(self) -> None:
        """Mend what broke; news come by themselves. Raises `BrokerError` where only another connection helps."""
        if self._connection.ended:
            raise BrokerError("NATS closed the connection for good", hint="subscribe again")
        await self._follower.mend()

    async def read(self, place: Place, after: int, limit: int) -> Sequence[Entry]:
        """Read what follows a position."""
        return await self._follower.read(place, after, limit)

    async def close(self) -> None:
        """Stop listening."""
        await self._follower.close()
        if self._wakes is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self._timeout_seconds):
                    await self._wakes.unsubscribe()

    async def _woken(self, message: Msg) -> None:
        if message.data != self._member.encode():
            self._on_group()


def _encode(owner: str, position: int, attempts: int, made_at: str) -> bytes:
    return encode({"owner": owner, "position": position, "attempts": attempts, "log": made_at})


def _is_conflict(result: Mapping[str, Any] | FreeholdError) -> bool:
    return isinstance(result, ApiError) and result.number == WRONG_LAST_SEQUENCE
