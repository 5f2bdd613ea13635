"""Conformance of brokers: probes and the state of a group. Imports the broker port."""

from __future__ import annotations

import asyncio
import time

import pytest

from freehold.broker import Subscription
from freehold.conformance.broker_harness import (
    TOPIC,
    BrokerHarness,
    collect,
    eventually,
    messages,
    opened,
    publish,
    subscribe,
)
from freehold.errors import Unavailable

__all__ = ["BrokerProbeConformance"]

_KEYS = [f"key-{number}" for number in range(6)]


class BrokerProbeConformance:
    """What `probe` and `group_state` must do."""

    async def test_a_probe_is_seen_by_no_consumer(self, harness: BrokerHarness) -> None:
        """And it uses no additional space, however many run at the same time."""
        async with opened(harness) as one, opened(harness) as two:
            consumer = await subscribe(one, "orders")
            follower = await one.subscribe(
                Subscription(group="others", topics=frozenset({"orders.probe", "orders.events"}))
            )
            for _ in range(3):
                await asyncio.gather(one.probe("orders", 10.0), two.probe("orders", 10.0), two.probe("other", 10.0))
            await publish(one, messages(_KEYS, 6))
            assert len(await collect(consumer, 6)) == 6
            assert await follower.fetch(10, 0.2) is None
            assert [(each.topic, each.pending) for each in await one.lag("orders")] == [(TOPIC, 0)]

    async def test_a_probe_tells_of_an_outage_in_time(self, harness: BrokerHarness) -> None:
        """And of its end."""
        async with opened(harness) as broker:
            await broker.probe("orders", 10.0)
            await harness.interrupt()
            begun = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                await broker.probe("orders", 1.0)
            assert time.monotonic() - begun < 5.0
            assert caught.value.message
            await harness.restore()

            async def taken() -> bool:
                try:
                    await broker.probe("orders", 5.0)
                except Unavailable:
                    return False
                return True

            await eventually(taken)

    async def test_a_group_is_seen_without_joining_it(self, harness: BrokerHarness) -> None:
        """The owners and positions of its partitions, and the heartbeats of its members."""
        async with opened(harness) as one, opened(harness) as two:
            before = await two.group_state("readers")
            assert (list(before.places), before.heartbeats) == ([], {})
            consumer = await subscribe(one)
            first = await two.group_state("readers")
            assert {place.topic for place in first.places} == {TOPIC}
            assert {place.partition for place in first.places} == set(range(two.partitions))
            (member,) = first.heartbeats
            assert {place.holder for place in first.places} == {member}
            await publish(one, messages(_KEYS, 12))
            await collect(consumer, 12)

            async def beats_and_moves() -> bool:
                now = await two.group_state("readers")
                moved = sum(each.position for each in now.places) > sum(each.position for each in first.places)
                return moved and now.heartbeats[member] != first.heartbeats[member]

            await eventually(beats_and_moves)
            await consumer.close()
            left = await two.group_state("readers")
            assert (left.heartbeats, {place.holder for place in left.places}) == ({}, {""})

    async def test_a_member_that_stands_still_gives_no_signs(self, harness: BrokerHarness) -> None:
        """It keeps its partitions until another member takes them over."""
        async with opened(harness) as one, opened(harness) as two:
            consumer = await subscribe(one)
            await harness.pause(consumer)
            first = await two.group_state("readers")
            await asyncio.sleep(harness.options.lease_seconds)  # the test is that nothing happens in this time
            later = await two.group_state("readers")
            assert later.heartbeats == first.heartbeats
            assert {place.holder for place in later.places} == set(first.heartbeats)
