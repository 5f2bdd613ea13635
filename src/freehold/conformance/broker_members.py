"""Conformance of brokers: members of a group, leases, take-overs. Imports the broker port."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from freehold.broker import Broker
from freehold.conformance.broker_harness import (
    BrokerHarness,
    collect,
    eventually,
    fetch,
    first_times,
    members_until,
    messages,
    numbers,
    opened,
    pauses,
    publish,
    read,
    subscribe,
)
from freehold.errors import LeaseLost

__all__ = ["BrokerMembersConformance"]

_KEYS = [f"key-{number}" for number in range(12)]


class BrokerMembersConformance:
    """How members share a group's work."""

    async def test_two_members_share_the_partitions(self, harness: BrokerHarness) -> None:
        """Each has partitions of its own, and a partition has one holder."""
        async with opened(harness) as one, opened(harness) as two:
            first, second = await subscribe(one), await subscribe(two)
            number = 0

            async def both_work() -> bool:
                nonlocal number
                seen: dict[int, set[int]] = {0: set(), 1: set()}
                await publish(one, messages(_KEYS, 24, first=number))
                number += 24
                for index, member in enumerate((first, second)):
                    while (batch := await member.fetch(100, 0.1)) is not None:
                        seen[index].add(batch.partition)
                        await batch.ack(len(batch.deliveries))
                return bool(seen[0]) and bool(seen[1]) and not seen[0] & seen[1]

            await eventually(both_work)

    async def test_order_of_a_key_holds_while_members_join_and_leave(self, harness: BrokerHarness) -> None:
        """Over all members, the first deliveries of a key are in order and without gaps."""
        count = 600
        seen: list[str] = []
        # Long leases: a slow machine must not look like a dead member here.
        options = replace(harness.options, lease_seconds=10.0)
        async with opened(harness, options) as broker, asyncio.TaskGroup() as tasks:

            def enough() -> bool:
                return len(set(seen)) == count

            steady = await subscribe(broker)
            tasks.create_task(members_until(steady, seen, enough))
            for turn in range(6):
                await publish(broker, messages(_KEYS, 100, first=turn * 100))
                guest = await subscribe(broker)
                work = tasks.create_task(members_until(guest, seen, enough))
                await eventually(partial(_reached, seen, turn * 100 + 20))
                await guest.close()
                await work
        for key in _KEYS:
            found = numbers(first_times(seen), key)
            assert found == sorted(found)
        assert len(set(seen)) == count

    async def test_a_paused_member_is_replaced_and_its_late_ack_has_no_effect(self, harness: BrokerHarness) -> None:
        """The new holder starts at the last acknowledged message; the paused one cannot move the position."""
        async with opened(harness) as one, opened(harness) as two:
            first = await subscribe(one)
            await publish(one, messages(["key"], 5))
            late = await fetch(first)
            assert [delivery.delivery_count for delivery in late.deliveries] == [1] * len(late.deliveries)
            await harness.pause(first)
            second = await subscribe(two)
            again = await fetch(second, limit=2)
            assert read(again) == ["key:0", "key:1"]
            assert [delivery.delivery_count for delivery in again.deliveries] == [2, 2]
            with pytest.raises(LeaseLost):
                await late.ack(len(late.deliveries))
            await again.ack(1)
            assert await collect(second, 4) == ["key:1", "key:2", "key:3", "key:4"]

    async def test_a_zombie_that_acks_before_anybody_noticed_still_loses_nothing(self, harness: BrokerHarness) -> None:
        """A member that continues before it was replaced keeps its partition; the position moves once."""
        async with opened(harness) as broker:
            first = await subscribe(broker)
            await publish(broker, messages(["key"], 3))
            batch = await fetch(first)
            await harness.pause(first)
            await batch.ack(len(batch.deliveries))
            rest = 3 - len(batch.deliveries)
            second = await subscribe(broker)
            await publish(broker, messages(["key"], 1, first=3))
            assert (await collect(second, rest + 1))[-1] == "key:3"

    async def test_a_live_member_keeps_its_batch_for_longer_than_the_lease(self, harness: BrokerHarness) -> None:
        """Slow work is no reason for a take-over. If the machine is frozen for a whole lease, the test tries again."""
        seconds, kept = harness.options.lease_seconds, False
        async with opened(harness) as one, opened(harness) as two:
            for turn in range(10):
                async with pauses() as paused:
                    kept = await _keeps(one, two, f"conformance.turn-{turn}", 2 * seconds)
                if kept or max(paused) < seconds / 3:
                    break
            assert kept

    async def test_closing_gives_the_partitions_back_at_once(self, harness: BrokerHarness) -> None:
        """Other members do not wait for the lease, which is a minute here. Unacked messages are delivered again."""
        options = replace(harness.options, lease_seconds=60.0)
        async with opened(harness, options) as one, opened(harness, options) as two:
            first = await subscribe(one)
            await publish(one, messages(_KEYS, 24))
            held = await fetch(first, limit=1)
            second = await subscribe(two)
            await first.close()
            await first.close()
            assert len(await collect(second, 24)) == 24
            with pytest.raises(LeaseLost):
                await held.ack(1)

    async def test_a_new_member_gets_its_share_at_once(self, harness: BrokerHarness) -> None:
        """A joining member does not wait for a lease to expire either; a delivered batch is acked first."""
        options = replace(harness.options, lease_seconds=60.0)
        async with opened(harness, options) as one, opened(harness, options) as two:
            first = await subscribe(one)
            await publish(one, messages(_KEYS, 24))
            out = []
            while (batch := await first.fetch(100, 0.3)) is not None:
                out.append(batch)
            second = await subscribe(two)
            for batch in out:
                await batch.ack(0)
            assert (await fetch(second, wait_seconds=30.0)).deliveries

    async def test_what_stops_being_subscribed_to_is_left_to_others(self, harness: BrokerHarness) -> None:
        """Members of a group may read different topics, for example during a rolling upgrade."""
        async with opened(harness) as one, opened(harness) as two:
            both = await subscribe(one)
            other = await subscribe(two, topic="conformance.others")
            await publish(one, [*messages(["key"], 2), *messages(["key"], 2, topic="conformance.others")])
            assert await collect(both, 2) == ["key:0", "key:1"]
            batch = await fetch(other)
            assert (batch.topic, read(batch)[0]) == ("conformance.others", "key:0")
            assert read(batch) == ["key:0", "key:1"][: len(batch.deliveries)]


async def _keeps(one: Broker, two: Broker, topic: str, seconds: float) -> bool:
    """Whether a batch stays with its holder for `seconds`."""
    first = await subscribe(one, topic=topic)
    await publish(one, messages(["key"], 1, topic=topic))
    slow = await fetch(first)
    second = await subscribe(two, topic=topic)
    try:
        taken = await second.fetch(10, seconds)
        await slow.ack(1)
        return taken is None and await second.fetch(10, 0.3) is None
    except LeaseLost:
        return False
    finally:
        await first.close()
        await second.close()


async def _reached(seen: list[str], count: int) -> bool:
    return len(set(seen)) >= count
