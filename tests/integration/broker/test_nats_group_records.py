"""A member reads the records of its group only where it does not know all changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.group_records import GroupRecords
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.publisher import Publication, Publisher
from freehold.adapters.nats.streams import ensure_stream

pytestmark = pytest.mark.servers
_SECONDS = 5.0


class _Group:
    """A bucket, and a member's knowledge of it."""

    def __init__(self, connection: NatsConnection, publisher: Publisher, prefix: str) -> None:
        self.names = Names(prefix)
        self.records = GroupRecords(connection, self.names, "readers", _SECONDS)
        self._connection = connection
        self._publisher = publisher

    async def made(self) -> None:
        await ensure_stream(self._connection, self.names.bucket_config("readers"))

    async def deleted(self) -> None:
        await self._connection.ask(f"STREAM.DELETE.{self.names.bucket('readers')}")

    async def others_write(self, name: str, data: bytes) -> int:
        subject = f"{self.names.group('readers')}.{name}"
        return int((await self._publisher.publish_one(Publication(subject, data), _SECONDS))["seq"])

    async def writes(self, name: str, data: bytes) -> None:
        number = await self.others_write(name, data)
        self.records.wrote(number, f"{self.names.group('readers')}.{name}", data)

    async def purged(self, name: str) -> None:
        subject = f"{self.names.group('readers')}.{name}"
        await self._connection.ask(f"STREAM.PURGE.{self.names.bucket('readers')}", {"filter": subject})

    async def read(self) -> Mapping[str, bytes]:
        state: Mapping[str, Any] = await self._connection.ask(f"STREAM.INFO.{self.names.bucket('readers')}")
        start = len(self.names.group("readers")) + 1
        return {each.subject[start:]: each.data for each in await self.records.read(state)}


@pytest.fixture
async def group(nats_url: str, nats_prefix: str) -> AsyncIterator[_Group]:
    connection = NatsConnection(nats_url, 3.0)
    await connection.open()
    publisher = Publisher(connection)
    await publisher.open()
    group = _Group(connection, publisher, nats_prefix)
    await group.made()
    yield group
    await connection.close()


async def test_changes_of_its_own_are_known_without_a_read(group: _Group) -> None:
    await group.others_write("member.a", b"1")
    assert await group.read() == {"member.a": b"1"}
    for value in (b"2", b"3"):
        await group.writes("member.b", value)
        assert await group.read() == {"member.a": b"1", "member.b": value}
    assert group.records.whole_reads == 1


async def test_a_change_of_another_member_is_seen(group: _Group) -> None:
    await group.writes("member.a", b"1")
    await group.read()
    await group.others_write("member.b", b"1")
    await group.writes("member.a", b"2")
    assert await group.read() == {"member.a": b"2", "member.b": b"1"}
    await group.others_write("member.b", b"2")
    assert await group.read() == {"member.a": b"2", "member.b": b"2"}


async def test_a_record_that_was_purged_is_missed(group: _Group) -> None:
    await group.others_write("member.b", b"1")
    await group.writes("member.a", b"1")
    await group.read()
    await group.purged("member.b")
    assert await group.read() == {"member.a": b"1"}


async def test_nothing_is_taken_from_a_bucket_that_was_made_again(group: _Group) -> None:
    for value in (b"1", b"2", b"3"):
        await group.writes("member.a", value)
    assert await group.read() == {"member.a": b"3"}
    await group.writes("member.a", b"4")
    await group.deleted()
    await group.made()
    for value in (b"5", b"6", b"7", b"8"):
        await group.others_write("member.b", value)
    assert await group.read() == {"member.b": b"8"}


async def test_everything_is_read_after_a_break_of_the_connection(group: _Group) -> None:
    await group.writes("member.a", b"1")
    await group.read()
    group.records.forget()
    await group.read()
    assert group.records.whole_reads == 2
