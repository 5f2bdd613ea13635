"""A NATS at its limits, or without its stream: messages wait, and none is rejected for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.adapters.nats import adapter
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.names import Names
from freehold.broker import Broker, BrokerOptions, OutgoingMessage, PublishConfirmed, PublishFailed, PublishOutcome
from freehold.conformance.broker_harness import eventually
from freehold.errors import MessageRejected, OperationTimeout, Unavailable
from freehold.ids import new_id
from freehold_shop.servers import RunningServer

pytestmark = pytest.mark.servers
OPTIONS = BrokerOptions(prefix="limits", partitions=1, connect_timeout_seconds=6.0)


def _restart(server: RunningServer, directory: Path, change: Callable[[str], str]) -> None:
    """Start the server again with another configuration."""
    server.kill()
    configuration = directory / "nats.conf"
    configuration.write_text(change(configuration.read_text()))
    server.start()


def _message(key: str, size: int) -> OutgoingMessage:
    return OutgoingMessage(id=new_id(), topic="orders.events", key=key, document=b"x" * size)


async def _publish(broker: Broker, *messages: OutgoingMessage) -> list[PublishOutcome]:
    """Publish as soon as the driver has its connection again: until then nothing is sent, or nothing is confirmed."""
    found: list[PublishOutcome] = []

    async def done() -> bool:
        try:
            found[:] = await broker.publish(messages, 5.0)
        except Unavailable:
            return False
        return not any(isinstance(each, PublishFailed) and isinstance(each.error, OperationTimeout) for each in found)

    await eventually(done, 20.0)
    return found


def _error(outcome: PublishOutcome) -> Exception:
    assert isinstance(outcome, PublishFailed)
    return outcome.error


@pytest.fixture
def nats_directory(disposable_nats: RunningServer) -> Path:
    return disposable_nats._launch.directory


async def test_a_server_at_its_limit_of_storage_rejects_nothing(
    disposable_nats: RunningServer, nats_directory: Path
) -> None:
    full = re.compile(r"max_file_store: \S+")
    _restart(disposable_nats, nats_directory, lambda text: full.sub("max_file_store: 256KB", text))
    broker = adapter.broker(disposable_nats.url, OPTIONS)
    await broker.open()
    try:
        messages = [_message(f"k{number}", 60_000) for number in range(12)]
        outcomes = await _publish(broker, *messages)
        refused = [_error(each) for each in outcomes if isinstance(each, PublishFailed)]
        assert refused
        assert all(isinstance(each, Unavailable) and "limit" in str(each) for each in refused), refused
        _restart(disposable_nats, nats_directory, lambda text: full.sub("max_file_store: 8GB", text))
        again = [each for each, outcome in zip(messages, outcomes, strict=True) if isinstance(outcome, PublishFailed)]
        assert all(isinstance(each, PublishConfirmed) for each in await _publish(broker, *again))
    finally:
        await broker.close()


async def test_a_stream_at_its_limit_rejects_nothing(disposable_nats: RunningServer) -> None:
    broker, connection = adapter.broker(disposable_nats.url, OPTIONS), NatsConnection(disposable_nats.url, 5.0)
    await broker.open()
    await connection.open()
    try:
        name = Names(OPTIONS.prefix).log
        config = (await connection.ask(f"STREAM.INFO.{name}"))["config"]
        await connection.ask(f"STREAM.UPDATE.{name}", {**config, "max_bytes": 100_000, "discard": "new"})
        outcomes = await _publish(broker, *(_message(f"k{number}", 60_000) for number in range(3)))
        assert isinstance(outcomes[0], PublishConfirmed)
        assert isinstance(_error(outcomes[2]), Unavailable)
        assert "the stream is at its limit" in str(_error(outcomes[2]))
        await connection.ask(f"STREAM.UPDATE.{name}", {**config, "max_msg_size": 1000})
        assert isinstance(_error((await _publish(broker, _message("k", 60_000)))[0]), MessageRejected)
    finally:
        await connection.close()
        await broker.close()


async def test_a_stream_that_is_gone_is_made_again_by_the_message(disposable_nats: RunningServer) -> None:
    broker, connection = adapter.broker(disposable_nats.url, OPTIONS), NatsConnection(disposable_nats.url, 5.0)
    await broker.open()
    await connection.open()
    try:
        await connection.ask(f"STREAM.DELETE.{Names(OPTIONS.prefix).log}")
        assert await _publish(broker, _message("k", 10), _message("k", 10)) == [PublishConfirmed(), PublishConfirmed()]
    finally:
        await connection.close()
        await broker.close()


async def test_a_server_without_jetstream_rejects_nothing(disposable_nats: RunningServer, nats_directory: Path) -> None:
    broker = adapter.broker(disposable_nats.url, OPTIONS)
    await broker.open()
    before = (nats_directory / "nats.conf").read_text()
    try:
        accounts = "\naccounts { plain { users: [ {user: a, password: a} ] } }\nno_auth_user: a\n"
        _restart(disposable_nats, nats_directory, lambda text: text + accounts)

        async def is_told() -> bool:
            try:
                error = _error((await broker.publish([_message("k", 10)], 5.0))[0])
            except Unavailable as whole:
                error = whole
            assert isinstance(error, Unavailable)
            return "JetStream" in str(error)

        await eventually(is_told, 20.0)
        _restart(disposable_nats, nats_directory, lambda _text: before)
        assert isinstance((await _publish(broker, _message("k", 10)))[0], PublishConfirmed)
    finally:
        await broker.close()


async def test_a_server_that_takes_less_rejects_the_large_message_alone(
    disposable_nats: RunningServer, nats_directory: Path
) -> None:
    broker = adapter.broker(disposable_nats.url, OPTIONS)
    await broker.open()
    try:
        _restart(disposable_nats, nats_directory, lambda text: text + "\nmax_payload: 64KB\n")
        small, large = await _publish(broker, _message("small", 10), _message("large", 100_000))
        if isinstance(large, PublishFailed) and isinstance(large.error, Unavailable):
            # The driver learns of the limit with the greeting of the server, which it may not have had yet.
            small, large = await _publish(broker, _message("small", 10), _message("large", 100_000))
        assert isinstance(small, PublishConfirmed)
        assert isinstance(_error(large), MessageRejected)
    finally:
        await broker.close()
