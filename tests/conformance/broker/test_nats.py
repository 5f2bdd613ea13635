from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest

from freehold.adapters.nats import adapter
from freehold.broker import Broker, BrokerFeatures, BrokerOptions, Consumer
from freehold.conformance.broker import BrokerConformance
from freehold.conformance.broker_harness import BrokerHarness
from freehold.groups.member import GroupMember
from freehold_shop.servers import RunningServer


class _Harness:
    """A real server; an outage kills it. Only tests that ask for an outage get a server of their own."""

    def __init__(self, prefix: str, server: RunningServer) -> None:
        self.options = BrokerOptions(prefix=prefix, partitions=4, lease_seconds=1.5, connect_timeout_seconds=6.0)
        self._server = server

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def features(self) -> BrokerFeatures:
        return adapter.broker(self.url, self.options).features

    def broker(self, options: BrokerOptions | None = None) -> Broker:
        return adapter.broker(self.url, options or replace(self.options))

    async def pause(self, consumer: Consumer) -> None:
        assert isinstance(consumer, GroupMember)
        await consumer.pause()

    async def interrupt(self) -> None:
        self._server.kill()

    async def restore(self) -> None:
        self._server.start()


@pytest.mark.servers
class _WipedHarness(_Harness):
    """It loses its store as well."""

    async def wipe(self) -> None:
        self._server.kill()
        shutil.rmtree(self._server.directory / "jetstream")
        self._server.start()


class TestNats(BrokerConformance):
    @pytest.fixture
    def harness(self, nats_prefix: str, request: pytest.FixtureRequest) -> BrokerHarness:
        name = request.function.__name__
        breaks = "outage" in name or "wipe" in name
        server: Any = request.getfixturevalue("disposable_nats" if breaks else "nats_server")
        return (_WipedHarness if breaks else _Harness)(nats_prefix, server)
