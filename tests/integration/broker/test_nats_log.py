"""The stream of messages is deleted and made again, or loses its end, while the groups' positions stay."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator

import pytest

from freehold.adapters.nats import adapter
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.names import Names
from freehold.broker import Broker, BrokerOptions, OutgoingMessage, PublishConfirmed, PublishFailed
from freehold.conformance.broker_harness import collect, eventually, messages, publish, subscribe
from freehold.errors import LeaseLost, MessageRejected, Unavailable
from freehold.ids import new_id

pytestmark = pytest.mark.servers


@pytest.fixture
def options(nats_prefix: str) -> BrokerOptions:
    return BrokerOptions(prefix=nats_prefix, partitions=2, lease_seconds=1.5, connect_timeout_seconds=6.0)


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[NatsConnection]:
    connection = NatsConnection(nats_url, 3.0)
    await connection.open()
    yield connection
    await connection.close()


def _broker(url: str, options: BrokerOptions) -> Broker:
    return adapter.broker(url, options)


async def test_a_group_that_comes_back_to_a_new_stream_skips_nothing(
    nats_url: str, options: BrokerOptions, connection: NatsConnection, caplog: pytest.LogCaptureFixture
) -> None:
    before = _broker(nats_url, options)
    await before.open()
    await publish(before, messages(["old"], 20))
    assert len(await collect(await subscribe(before), 20)) == 20
    await before.close()
    await connection.ask(f"STREAM.DELETE.{Names(options.prefix).log}")
    after = _broker(nats_url, options)
    await after.open()
    await publish(after, messages(["new"], 10))
    findings = {finding.subject: finding for finding in await after.run_checks()}
    assert not findings["broker log"].ok
    (lag,) = await after.lag("readers")
    assert lag.pending == 10
    with caplog.at_level(logging.WARNING, "freehold.nats"):
        assert await collect(await subscribe(after), 10) == [f"new:{n}" for n in range(10)]
    assert "made again" in caplog.text
    findings = {finding.subject: finding for finding in await after.run_checks()}
    assert findings["broker log"].ok
    await after.close()


async def test_a_member_at_work_follows_a_new_stream_from_its_beginning(
    nats_url: str, options: BrokerOptions, connection: NatsConnection
) -> None:
    broker = _broker(nats_url, options)
    await broker.open()
    consumer = await subscribe(broker)
    await publish(broker, messages(["old"], 20))
    assert len(await collect(consumer, 20)) == 20
    await connection.ask(f"STREAM.DELETE.{Names(options.prefix).log}")
    with pytest.raises(Unavailable):
        await consumer.fetch(10, 5.0)
    other = _broker(nats_url, options)
    await other.open()
    await publish(other, messages(["new"], 40))
    seen: list[str] = []

    async def all_came() -> bool:
        try:
            batch = await consumer.fetch(7, 0.5)
            if batch is not None:
                seen.extend(delivery.document.decode() for delivery in batch.deliveries)
                await batch.ack(len(batch.deliveries))
        except (Unavailable, LeaseLost):
            return False
        return len(set(seen)) == 40

    await eventually(all_came, 30.0)
    assert list(dict.fromkeys(seen)) == [f"new:{n}" for n in range(40)]
    await broker.close()
    await other.close()


async def test_positions_behind_the_end_of_the_stream_begin_anew(
    nats_url: str, options: BrokerOptions, connection: NatsConnection
) -> None:
    """The server lost power, and the end of the log with it: its numbers are given again."""
    names = Names(options.prefix)
    broker = _broker(nats_url, options)
    await broker.open()
    await publish(broker, messages(["old"], 5))
    consumer = await subscribe(broker)
    assert len(await collect(consumer, 5)) == 5
    await consumer.close()
    info = await connection.ask(f"STREAM.INFO.{names.log}")
    for partition in range(2):
        subject = f"{names.group('readers')}.place.conformance.events.{partition}"
        record = {"owner": "", "position": 1000, "attempts": 0, "log": info["created"]}
        await connection.request(subject, json.dumps(record).encode())
    assert len(await collect(await subscribe(broker), 5)) == 5
    await broker.close()


async def test_a_topic_that_no_subject_carries_is_refused_alone(nats_url: str, options: BrokerOptions) -> None:
    broker = _broker(nats_url, options)
    await broker.open()
    outcomes = await broker.publish(
        [OutgoingMessage(new_id(), "not a > topic", "k", b"{}"), OutgoingMessage(new_id(), "a.events", "k", b"{}")], 5.0
    )
    assert isinstance(outcomes[0], PublishFailed)
    assert isinstance(outcomes[0].error, MessageRejected)
    assert outcomes[1] == PublishConfirmed()
    await broker.close()


async def test_what_it_has_already_is_said_to_be_a_duplicate(nats_url: str, options: BrokerOptions) -> None:
    """Whoever publishes again, with more to say, must know that the first document stayed."""
    broker = _broker(nats_url, options)
    await broker.open()
    first, other = OutgoingMessage(new_id(), "a.events", "k", b"1"), OutgoingMessage(new_id(), "a.events", "k", b"3")
    assert await broker.publish([first], 5.0) == [PublishConfirmed()]
    again = OutgoingMessage(first.id, first.topic, first.key, b"2")
    assert await broker.publish([again, other], 5.0) == [PublishConfirmed(duplicate=True), PublishConfirmed()]
    await broker.close()
