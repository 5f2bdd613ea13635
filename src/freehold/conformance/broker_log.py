"""Conformance of brokers: the identity of the log that positions belong to. Imports the broker port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

from freehold.broker import Broker, Consumer, OutgoingMessage, PublishConfirmed, PublishFailed
from freehold.conformance.broker_harness import (
    BrokerHarness,
    collect,
    confirmed,
    eventually,
    fetch,
    first_times,
    members_until,
    messages,
    numbers,
    opened,
    publish,
    subscribe,
    wiped,
)
from freehold.errors import LeaseLost, LogReplaced, Unavailable

__all__ = ["BrokerLogConformance"]

_KEYS = [f"key-{number}" for number in range(6)]
_HEAL_SECONDS = 20.0
"""It takes about one second on an idle machine; members read the records every second or two."""


class BrokerLogConformance:
    """What every broker must do when its log is replaced."""

    async def test_the_log_keeps_its_identity_for_all_who_open_it(self, harness: BrokerHarness) -> None:
        """Positions under this identity are right as long as it stays."""
        async with opened(harness) as one, opened(harness) as two:
            identity = await one.log_identity()
            assert identity
            await publish(two, messages(["key"], 1))
            assert await two.log_identity() == identity
        if harness.features.durable:
            async with opened(harness) as again:
                assert await again.log_identity() == identity

    async def test_a_log_that_goes_on_holds_its_marks(self, harness: BrokerHarness) -> None:
        """For all brokers that open it; later messages do not change that."""
        async with opened(harness) as one, opened(harness) as two:
            first = await one.log_mark()
            await publish(one, messages(["key"], 3))
            second = await two.log_mark()
            await publish(two, messages(["key"], 1, first=3))
            assert [await each.log_holds(mark) for mark in (first, second) for each in (one, two)] == [True] * 4
            assert (second != first) == harness.features.durable

    async def test_the_identity_of_the_log_is_unavailable_in_an_outage(self, harness: BrokerHarness) -> None:
        """A log that cannot be reached is not taken for a lost one; afterwards it has the same identity."""
        async with opened(harness) as broker:
            identity = await broker.log_identity()
            await harness.interrupt()
            try:
                (outcome,) = await asyncio.gather(broker.log_identity(), return_exceptions=True)
            finally:
                await harness.restore()
            # A file that is locked against writes can still be read.
            assert isinstance(outcome, Unavailable) or outcome == identity

            async def same() -> bool:
                try:
                    return await broker.log_identity() == identity
                except Unavailable:
                    return False

            await eventually(same)

    async def test_after_each_of_three_wipes_all_groups_go_on_in_order(self, harness: BrokerHarness) -> None:
        """Under load, with several members and groups: nothing is restarted, and all groups get the messages that are
        published later.
        """
        wipes = wiped(harness)
        async with opened(harness) as out, opened(harness) as one, opened(harness) as two, asyncio.TaskGroup() as tasks:
            load, over, mark = _Load(out), asyncio.Event(), 0
            seen: dict[str, list[str]] = {"first": [], "second": []}
            for group, broker in [(group, broker) for group in seen for broker in (one, two)]:
                tasks.create_task(members_until(await subscribe(broker, group), seen[group], over.is_set))
            relaying = tasks.create_task(load.run())
            for _ in range(3):
                await _all_reach(seen, load.begun + 60)
                await wipes.wipe()
                mark = load.begun
                await asyncio.wait_for(_all_reach(seen, mark + 60), _HEAL_SECONDS)
            load.over = True
            await relaying
            for documents in seen.values():
                await eventually(partial(_has_all, documents, mark, load.begun))
            over.set()
        for documents in seen.values():
            for key in _KEYS:
                found = numbers(first_times(documents), key)
                assert found == sorted(found)

    async def test_a_wiped_log_has_another_identity_and_its_positions_pass_over_nothing(
        self, harness: BrokerHarness
    ) -> None:
        """The new log gives the same numbers again; the group starts at its beginning."""
        wipes = wiped(harness)
        async with opened(harness) as broker:
            identity, consumer = await broker.log_identity(), await subscribe(broker)
            await publish(broker, messages(["old"], 20))
            assert len(await collect(consumer, 20)) == 20
            await wipes.wipe()
            await _published(broker, messages(["new"], 10))
            assert await broker.log_identity() != identity
            seen: list[str] = []
            await asyncio.wait_for(members_until(consumer, seen, lambda: len(set(seen)) == 10), _HEAL_SECONDS)
            assert first_times(seen) == [f"new:{number}" for number in range(10)]

    async def test_what_is_meant_for_a_wiped_log_is_not_stored_in_the_next(self, harness: BrokerHarness) -> None:
        """The publisher gets an error that the log was replaced, also where it is the first to notice the wipe."""
        wipes = wiped(harness)
        async with opened(harness) as broker, opened(harness) as other:
            identity = await broker.log_identity()
            first = await broker.publish(messages(["key"], 3), 5.0, log=identity)
            assert first == [PublishConfirmed()] * 3
            for group, publisher in (("first", broker), ("second", other)):
                await wipes.wipe()
                await eventually(partial(_told_of_another_log, publisher, identity), _HEAL_SECONDS)
                identity = await publisher.log_identity()
                consumer = await subscribe(publisher, group)
                await _published(publisher, messages(["new"], 3), log=identity)
                assert await _come(consumer, 3) == [f"new:{number}" for number in range(3)]

    async def test_a_batch_of_a_wiped_log_acknowledges_nothing_of_the_next(self, harness: BrokerHarness) -> None:
        """It was delivered before the wipe and is acked after it, when the next log has as many messages again."""
        wipes = wiped(harness)
        async with opened(harness) as broker:
            consumer = await subscribe(broker)
            await publish(broker, messages(["key"], 5))
            old = await fetch(consumer)
            await wipes.wipe()
            await _published(broker, messages(["key"], 5, first=100))
            with contextlib.suppress(LeaseLost, Unavailable):
                await old.ack(len(old.deliveries))
            seen: list[str] = []
            await asyncio.wait_for(members_until(consumer, seen, lambda: len(set(seen)) == 5), _HEAL_SECONDS)
            assert first_times(seen) == [f"key:{number}" for number in range(100, 105)]

    async def test_a_group_that_began_at_the_latest_is_at_the_beginning_of_a_log_that_follows_a_wipe(
        self, harness: BrokerHarness
    ) -> None:
        """The group existed before the first message of the new log."""
        wipes = wiped(harness)
        async with opened(harness) as broker, opened(harness) as other:
            await publish(broker, messages(["key"], 3))
            consumer = await subscribe(broker, start="latest")
            await wipes.wipe()
            await _published(other, messages(["key"], 3, first=100))
            seen: list[str] = []
            await asyncio.wait_for(members_until(consumer, seen, lambda: len(set(seen)) == 3), _HEAL_SECONDS)
            assert first_times(seen) == ["key:100", "key:101", "key:102"]


class _Load:
    """Publishes like a relay: in order, and again from the first message that was not confirmed. `begun` counts the
    tried ones.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.begun = 0
        self.over = False

    async def run(self) -> None:
        """Publish until `over`, and until the last message is confirmed."""
        pending: list[OutgoingMessage] = []
        while pending or not self.over:
            if not self.over and len(pending) < 20:
                pending.extend(messages(_KEYS, 20, first=self.begun))
                self.begun += 20
            stored = await confirmed(self._broker, pending, 1.0)
            pending = [message for message, done in zip(pending, stored, strict=True) if not done]
            await asyncio.sleep(0.02)  # the pace of the load, not a wait for something


async def _come(consumer: Consumer, count: int) -> list[str]:
    """Fetch until `count` different documents came; returns them without duplicates."""
    seen: list[str] = []
    await asyncio.wait_for(members_until(consumer, seen, lambda: len(set(seen)) == count), _HEAL_SECONDS)
    return first_times(seen)


async def _told_of_another_log(broker: Broker, identity: str) -> bool:
    """Try to publish into the former log: nothing is confirmed, whatever the error is."""
    try:
        outcomes = await broker.publish(messages(["old"], 3, first=100), 2.0, log=identity)
    except LogReplaced:
        return True
    except Unavailable:
        return False
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, PublishFailed)]
    assert len(errors) == len(outcomes)
    return any(isinstance(error, LogReplaced) for error in errors)


async def _published(broker: Broker, outgoing: Sequence[OutgoingMessage], log: str = "") -> None:
    """Publish until all is confirmed."""
    left = list(outgoing)

    async def done() -> bool:
        stored = await confirmed(broker, left, 2.0, log)
        left[:] = [message for message, kept in zip(left, stored, strict=True) if not kept]
        return not left

    await eventually(done, _HEAL_SECONDS)


async def _all_reach(seen: dict[str, list[str]], number: int) -> None:
    """Wait until each group has seen this number."""
    for documents in seen.values():
        await eventually(partial(_reached, documents, number))


async def _reached(documents: list[str], number: int) -> bool:
    return any(int(document.rpartition(":")[2]) >= number for document in documents[-100:])


async def _has_all(documents: list[str], first: int, end: int) -> bool:
    return {int(each.rpartition(":")[2]) for each in documents} >= set(range(first, end))
