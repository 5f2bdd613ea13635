"""What keeps a broker from taking messages is told by a probe, by its reason; the log does not move for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.health.conditions import CONDITIONS, grow, small_disk

from freehold.adapters.nats import adapter
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.names import Names
from freehold.broker import Broker, BrokerOptions, OutgoingMessage
from freehold.errors import Unavailable
from freehold.ids import new_id
from freehold.runtime.adapters import open_broker
from freehold_shop.servers import RunningServer


@pytest.fixture
async def nats(nats_url: str, nats_prefix: str) -> AsyncIterator[tuple[Broker, NatsConnection, str]]:
    broker = adapter.broker(nats_url, BrokerOptions(prefix=nats_prefix, partitions=1))
    connection = NatsConnection(nats_url, 5.0)
    await broker.open()
    await connection.open()
    yield broker, connection, Names(nats_prefix).log
    await connection.close()
    await broker.close()


def _message(size: int = 10) -> OutgoingMessage:
    return OutgoingMessage(id=new_id(), topic="orders.events", key="k", document=b"x" * size)


@pytest.mark.servers
async def test_the_log_does_not_move_for_a_probe(nats: tuple[Broker, NatsConnection, str]) -> None:
    broker, connection, log = nats
    await broker.publish([_message()], 5.0)
    before = (await connection.ask(f"STREAM.INFO.{log}"))["state"]
    for _ in range(3):
        await broker.probe("orders", 5.0)
    after = (await connection.ask(f"STREAM.INFO.{log}"))["state"]
    assert (after["last_seq"], after["messages"]) == (before["last_seq"], before["messages"]) == (1, 1)


@pytest.mark.servers
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_msgs": 1, "discard": "new"}, "at its limit: max_msgs is 1"),
        ({"max_bytes": 600, "discard": "new"}, "at its limit: max_bytes is 600"),
        ({"sealed": True}, "sealed"),
    ],
)
async def test_a_stream_that_takes_no_message(
    nats: tuple[Broker, NatsConnection, str], change: dict[str, Any], reason: str
) -> None:
    broker, connection, log = nats
    await broker.publish([_message()], 5.0)
    config = (await connection.ask(f"STREAM.INFO.{log}"))["config"]
    await connection.ask(f"STREAM.UPDATE.{log}", {**config, **change})
    with pytest.raises(Unavailable, match=reason):
        await broker.probe("orders", 5.0)
    if "max_msgs" in change:
        findings = {each.subject: each for each in await broker.run_checks()}
        assert not findings["broker limits"].ok
        assert "messages of the stream: 1 of 1" in findings["broker limits"].detail


@pytest.mark.servers
async def test_a_stream_that_is_gone(nats: tuple[Broker, NatsConnection, str], nats_prefix: str) -> None:
    """It is made again by whoever misses it, and takes messages then."""
    broker, connection, log = nats
    await broker.probe("orders", 5.0)
    for name in (Names(nats_prefix).bucket("orders"), log):
        await connection.ask(f"STREAM.DELETE.{name}")
        await broker.probe("orders", 5.0)
        await connection.ask(f"STREAM.INFO.{name}")


@pytest.mark.servers
async def test_a_server_at_its_limit_of_storage(disposable_nats: RunningServer) -> None:
    """The record that is written replaces the one before it, and is refused all the same."""
    broker = adapter.broker(disposable_nats.url, BrokerOptions(prefix="full", partitions=1, connect_timeout_seconds=6))
    await broker.open()
    try:
        await broker.publish([_message(60_000) for _ in range(8)], 5.0)
        await broker.probe("orders", 5.0)
        configuration = disposable_nats.directory / "nats.conf"
        disposable_nats.kill()
        lines = configuration.read_text().splitlines()
        full = ["max_file_store: 256KB" if "max_file_store" in line else line for line in lines]
        configuration.write_text("\n".join(full))
        disposable_nats.start()
        reason = ""
        async with asyncio.timeout(60):
            while "limit" not in reason and "resources" not in reason:
                try:
                    await broker.probe("orders", 5.0)
                except Unavailable as error:
                    reason = error.message
                await asyncio.sleep(0.1)
    finally:
        await broker.close()


@pytest.mark.parametrize("name", [name for name, (engine, *_) in CONDITIONS.items() if engine == "sqlite"])
async def test_a_file_of_the_embedded_broker_that_is_held(tmp_path: Path, name: str) -> None:
    _, condition, _ = CONDITIONS[name]
    broker = open_broker(f"embedded:///{tmp_path}/broker.db", {"connect_timeout_seconds": 2.0})
    await broker.open()
    await broker.probe("orders", 2.0)
    with condition(f"sqlite:///{tmp_path}/broker.db"), pytest.raises(Unavailable, match="locked by another process"):
        await broker.probe("orders", 0.5)
    await broker.probe("orders", 2.0)
    await broker.close()


@pytest.mark.parametrize("name", [name for name, (engine, *_) in CONDITIONS.items() if engine == "disk"])
async def test_the_disk_of_the_embedded_broker(tmp_path: Path, name: str) -> None:
    _, condition, reason = CONDITIONS[name]
    with small_disk(tmp_path / "disk") as place:
        broker = open_broker(f"embedded:///{place}/broker.db")
        await broker.open()
        grow(f"sqlite:///{place}/broker.db")
        await broker.probe("orders", 2.0)
        with condition(f"sqlite:///{place}/broker.db"), pytest.raises(Unavailable, match=reason):
            await broker.probe("orders", 2.0)
        await broker.probe("orders", 2.0)
        await broker.close()


def test_a_process_that_has_died_is_known_to_be_gone(tmp_path: Path) -> None:
    """The embedded broker proves it: nobody has to wait to see that no sign comes."""
    url = f"embedded:///{tmp_path}/broker.db"
    code = (
        "import asyncio, os\n"
        "from freehold.runtime.adapters import open_broker\n"
        "from freehold.broker import Subscription\n"
        "async def main():\n"
        f"    broker = open_broker('{url}')\n"
        "    await broker.open()\n"
        "    await broker.subscribe(Subscription('readers', frozenset({'a.events'})))\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    async def look() -> tuple[set[str], set[str]]:
        broker = open_broker(url)
        await broker.open()
        state = await broker.group_state("readers")
        await broker.close()
        return set(state.heartbeats), set(state.gone)

    members, gone = asyncio.run(look())
    assert members == gone != set()
