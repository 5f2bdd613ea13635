from __future__ import annotations

import pytest

from freehold.adapters.memory.broker import MemoryBroker
from freehold.broker import Broker, BrokerFeatures, BrokerOptions, Consumer
from freehold.clock import SystemClock
from freehold.conformance.broker import BrokerConformance
from freehold.conformance.broker_harness import BrokerHarness
from freehold.groups.member import GroupMember


class _Harness:
    """Memory is one process's: equal options give the same broker."""

    options = BrokerOptions(prefix="t", partitions=4, lease_seconds=1.5)
    url = "memory://"

    def __init__(self) -> None:
        self._brokers: dict[str, MemoryBroker] = {}

    @property
    def features(self) -> BrokerFeatures:
        return MemoryBroker(self.options, SystemClock()).features

    def broker(self, options: BrokerOptions | None = None) -> Broker:
        wanted = options or self.options
        return self._brokers.setdefault(repr(wanted), MemoryBroker(wanted, SystemClock()))

    async def pause(self, consumer: Consumer) -> None:
        assert isinstance(consumer, GroupMember)
        await consumer.pause()

    async def interrupt(self) -> None:
        for broker in self._brokers.values():
            broker.interrupt()

    async def restore(self) -> None:
        for broker in self._brokers.values():
            broker.restore()

    async def wipe(self) -> None:
        for broker in self._brokers.values():
            broker.wipe()


class TestMemory(BrokerConformance):
    @pytest.fixture
    def harness(self) -> BrokerHarness:
        return _Harness()
