from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from freehold.adapters.embedded import adapter
from freehold.adapters.files.marks import Paths
from freehold.broker import Broker, BrokerFeatures, BrokerOptions, Consumer
from freehold.conformance.broker import BrokerConformance
from freehold.conformance.broker_harness import BrokerHarness
from freehold.groups.member import GroupMember


class _Harness:
    """A file; an outage is somebody who holds its lock."""

    options = BrokerOptions(prefix="t", partitions=4, lease_seconds=1.5, connect_timeout_seconds=6.0)

    def __init__(self, directory: Path) -> None:
        self._path = directory / "broker.db"
        self._blocker: sqlite3.Connection | None = None

    @property
    def url(self) -> str:
        return f"embedded:///{self._path}"

    @property
    def features(self) -> BrokerFeatures:
        return adapter.broker(self.url, self.options).features

    def broker(self, options: BrokerOptions | None = None) -> Broker:
        return adapter.broker(self.url, options or self.options)

    async def pause(self, consumer: Consumer) -> None:
        assert isinstance(consumer, GroupMember)
        await consumer.pause()

    async def interrupt(self) -> None:
        self._blocker = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
        self._blocker.execute("BEGIN IMMEDIATE")

    async def restore(self) -> None:
        if self._blocker is not None:
            self._blocker.close()

    async def wipe(self) -> None:
        for each in Paths.of(self._path):
            each.unlink(missing_ok=True)


class TestEmbedded(BrokerConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> BrokerHarness:
        return _Harness(tmp_path)
