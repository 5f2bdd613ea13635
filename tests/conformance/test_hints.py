from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from freehold.adapters.files.datagrams import socket_directory
from freehold.broker import Broker, BrokerOptions
from freehold.conformance.hints import HintChannelConformance, HintHarness
from freehold.hints import HintChannel, Hinting
from freehold.runtime.adapters import open_broker, open_stores
from freehold.sql import SQL
from freehold_shop.servers import RunningServer


def _channel(carrier: object, service: str) -> HintChannel:
    assert isinstance(carrier, Hinting)
    found = carrier.hint_channel(service)
    assert found is not None
    return found


class _OfDatabase:
    """The harness of a database; nothing of the database is opened for a hint."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def address(self) -> Sequence[str]:
        return [self.url]

    async def channel(self, service: str = "orders") -> HintChannel:
        return _channel(open_stores(self.url).database, service)


class _OnPostgres(_OfDatabase):
    async def sever(self) -> None:
        stores = open_stores(self.url)
        await stores.database.open()
        async with stores[SQL].direct() as sql:
            await sql.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await stores.database.close()


class _OnSqlite(_OfDatabase):
    async def sever(self) -> None:
        shutil.rmtree(socket_directory(Path(self.url.removeprefix("sqlite:///")), ".hint"))


class _OfBroker:
    """The harness of a broker: each channel has a broker of its own, as in another process."""

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.url = url
        self.options = options
        self.brokers: list[Broker] = []

    @property
    def address(self) -> Sequence[str]:
        return [self.url, json.dumps(asdict(self.options))]

    async def channel(self, service: str = "orders") -> HintChannel:
        broker = open_broker(self.url, self.options)
        await broker.open()
        self.brokers.append(broker)
        return _channel(broker, service)

    async def close(self) -> None:
        await asyncio.gather(*(broker.close() for broker in self.brokers))


class _OnNats(_OfBroker):
    def __init__(self, server: RunningServer, options: BrokerOptions) -> None:
        super().__init__(server.url, options)
        self.server = server

    async def sever(self) -> None:
        self.server.kill()
        self.server.start()


class _OnEmbedded(_OfBroker):
    async def sever(self) -> None:
        shutil.rmtree(socket_directory(Path(self.url.removeprefix("embedded:///")), ".hint"))


class TestHintsOnSqlite(HintChannelConformance):
    @pytest.fixture
    def hints(self, tmp_path: Path) -> HintHarness:
        return _OnSqlite(f"sqlite:///{tmp_path}/orders.db")


@pytest.mark.servers
class TestHintsOnPostgres(HintChannelConformance):
    @pytest.fixture
    def hints(self, postgres_url: str) -> HintHarness:
        return _OnPostgres(postgres_url)


class TestHintsOnEmbedded(HintChannelConformance):
    @pytest.fixture
    async def hints(self, tmp_path: Path) -> AsyncIterator[HintHarness]:
        harness = _OnEmbedded(f"embedded:///{tmp_path}/broker.db", BrokerOptions(prefix="t"))
        async with AsyncExitStack() as closing:
            closing.push_async_callback(harness.close)
            yield harness


@pytest.mark.servers
class TestHintsOnNats(HintChannelConformance):
    @pytest.fixture
    async def hints(self, nats_prefix: str, request: pytest.FixtureRequest) -> AsyncIterator[HintHarness]:
        breaks = "lost" in request.function.__name__
        server = request.getfixturevalue("disposable_nats" if breaks else "nats_server")
        harness = _OnNats(server, BrokerOptions(prefix=nats_prefix))
        async with AsyncExitStack() as closing:
            closing.push_async_callback(harness.close)
            yield harness


@pytest.mark.servers
async def test_a_database_behind_a_pooling_proxy_has_no_channel(pgbouncer_url: str) -> None:
    """LISTEN belongs to a session, and such a proxy shares sessions: the hints go by the broker."""
    database = open_stores(f"{pgbouncer_url}?statement_cache_size=0").database
    assert isinstance(database, Hinting)
    assert database.hint_channel("orders") is None


@pytest.mark.servers
@pytest.mark.empty_database
async def test_services_with_schemas_of_one_database_do_not_hear_each_other(postgres_url: str) -> None:
    heard: list[str] = []
    heard_two = asyncio.Event()

    def hear(text: str) -> None:
        heard.append(text)
        if text == "two":
            heard_two.set()

    one = await _channel(open_stores(f"{postgres_url}?schema=one").database, "orders").open(lambda _: None)
    two = await _channel(open_stores(f"{postgres_url}?schema=two").database, "orders").open(hear)
    try:
        await one.send("one")
        await two.send("two")
        await asyncio.wait_for(heard_two.wait(), 60)
        assert heard == ["two"]
    finally:
        await one.close()
        await two.close()
