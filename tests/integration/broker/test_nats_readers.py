"""What a group has in NATS is known by its names: its stream of records, and one consumer for each place it reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from freehold.adapters.nats import adapter, follow
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import ApiError
from freehold.adapters.nats.follow import PartitionReader
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.publisher import Publication, Publisher
from freehold.broker import Broker, BrokerOptions
from freehold.conformance.broker_harness import collect, messages, numbers, publish, subscribe
from freehold.errors import Unavailable
from freehold.groups.log import TopicPartition

pytestmark = pytest.mark.servers
PLACES = [TopicPartition("conformance.events", number) for number in range(2)]


@pytest.fixture
def names(nats_prefix: str) -> Names:
    return Names(nats_prefix)


@pytest.fixture
async def broker(nats_url: str, nats_prefix: str) -> AsyncIterator[Broker]:
    broker = adapter.broker(nats_url, BrokerOptions(prefix=nats_prefix, partitions=2, connect_timeout_seconds=6.0))
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[NatsConnection]:
    connection = NatsConnection(nats_url, 3.0)
    await connection.open()
    yield connection
    await connection.close()


async def test_a_group_has_nothing_but_what_is_named_after_it(
    broker: Broker, connection: NatsConnection, names: Names
) -> None:
    await publish(broker, messages(["k"], 5))
    await subscribe(broker)
    await broker.lag("readers")
    listed = await connection.ask(f"CONSUMER.NAMES.{names.log}")
    assert set(listed["consumers"]) <= {
        *(names.reader("readers", place) for place in PLACES),
        *(names.counter("readers", place) for place in PLACES),
    }
    streams = (await connection.ask("STREAM.NAMES"))["streams"]
    assert {each for each in streams if names.prefix in each} == {names.log, names.bucket("readers")}


@pytest.mark.parametrize("made_again", [False, True])
async def test_a_consumer_that_is_taken_away_is_made_anew_and_nothing_is_missed(
    broker: Broker, connection: NatsConnection, names: Names, monkeypatch: pytest.MonkeyPatch, *, made_again: bool
) -> None:
    monkeypatch.setattr(follow, "_EXPIRES_SECONDS", 600.0)  # it is noticed before a read is over
    consumer = await subscribe(broker)
    for begun in range(0, 60, 20):
        await publish(broker, messages(["a", "b"], 20, first=begun))
        for place in PLACES:
            name = names.reader("readers", place)
            with_place = {"name": name, "ack_policy": "none", "filter_subject": names.layout(2).message(place)}
            with contextlib.suppress(ApiError):  # not made again yet: what was sent by then is enough
                await connection.ask(f"CONSUMER.DELETE.{names.log}.{name}")
            if made_again:
                config = {"stream_name": names.log, "config": {**with_place, "mem_storage": True, "num_replicas": 1}}
                await connection.ask(f"CONSUMER.CREATE.{names.log}.{name}.{names.layout(2).message(place)}", config)
        async with asyncio.timeout(60.0):
            seen = await collect(consumer, 20)
        assert numbers(seen, "a") == list(range(begun, begun + 20, 2))
        assert numbers(seen, "b") == list(range(begun + 1, begun + 20, 2))


async def test_two_members_that_read_one_place_by_turns_miss_nothing(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen member that wakes takes the consumer back until it has seen that its lease is gone."""
    monkeypatch.setattr(follow, "_EXPIRES_SECONDS", 600.0)  # as above
    one, other = await subscribe(broker), await subscribe(broker)
    follower: PartitionReader = vars(one)["_log"]._follower
    for place in PLACES:
        await follower.start_reading(place, 0)
    await publish(broker, messages([f"k{number}" for number in range(10)], 50))
    seen: list[str] = []
    async with asyncio.timeout(60.0):
        while len(set(seen)) < 50:
            for member in (one, other):
                if (batch := await member.fetch(10, 0.1)) is not None:
                    seen += [each.document.decode() for each in batch.deliveries]
                    await batch.ack(len(batch.deliveries))
    assert all(list(dict.fromkeys(numbers(seen, f"k{n}"))) == list(range(n, 50, 10)) for n in range(10))


async def test_a_record_cannot_take_the_others_with_it(
    broker: Broker, connection: NatsConnection, names: Names
) -> None:
    """With roll-ups a single publication would empty the stream."""
    await subscribe(broker)
    publisher = Publisher(connection)
    await publisher.open()
    rollup = Publication(names.place("readers", PLACES[0]), b"{}", {"Nats-Rollup": "all"})
    with pytest.raises((ApiError, Unavailable)):
        await publisher.publish_one(rollup, 5.0)


async def test_a_place_is_asked_for_on_when_the_time_is_over_while_all_that_came_is_in_hand(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read behind it that would ask, and nobody else asks."""
    monkeypatch.setattr(follow, "_EXPIRES_SECONDS", 2.0)
    consumer = await subscribe(broker)
    await publish(broker, messages(["a"], 100))
    follower: PartitionReader = vars(consumer)["_log"]._follower
    async with asyncio.timeout(60.0):
        reading = await _holding(follower, 100)
        batch = await consumer.fetch(100, 5.0)
        assert batch is not None
        assert len(batch.deliveries) == 100
        await _over(reading)
    await batch.ack(100)
    await publish(broker, messages(["a"], 1, first=100))
    async with asyncio.timeout(60.0):
        assert numbers(await collect(consumer, 1), "a") == [100]


async def _holding(follower: PartitionReader, count: int) -> follow._Follow:
    while True:
        for each in follower._follows.values():
            if len(each.entries) == count:
                return each
        await asyncio.sleep(0.01)  # what comes wakes the consumer alone


async def _over(reading: follow._Follow) -> None:
    asked_at = reading.asked_at
    while True:
        if not reading.credit or reading.asked_at != asked_at:
            return
        await asyncio.sleep(0.01)  # the server tells the reader alone
