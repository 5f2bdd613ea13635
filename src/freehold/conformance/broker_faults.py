"""Conformance of brokers: outages, and killed or frozen processes. Imports the broker port."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold.broker import Batch, Broker
from freehold.conformance.broker_harness import (
    BrokerHarness,
    collect,
    confirmed,
    eventually,
    fetch,
    members_until,
    messages,
    needs,
    numbers,
    opened,
    publish,
    read,
    subscribe,
)
from freehold.conformance.broker_worker import Worker
from freehold.errors import LeaseLost, Unavailable

__all__ = ["BrokerFaultsConformance"]

_KEYS = [f"key-{number}" for number in range(6)]


class BrokerFaultsConformance:
    """What every broker must do in outages and after crashes."""

    async def test_an_outage_is_told_in_bounded_time_and_passes(self, harness: BrokerHarness) -> None:
        """Publishers get `Unavailable`; afterwards publishers and consumers continue by themselves."""
        async with opened(harness) as broker:
            consumer = await subscribe(broker)
            await publish(broker, messages(["before"], 3))
            assert len(await collect(consumer, 3)) == 3
            async with _outage(harness):
                begun = time.monotonic()
                assert await confirmed(broker, messages(["during"], 2), 1.0) == [False, False]
                assert time.monotonic() - begun < 30.0
            await eventually(lambda: _answers(broker))
            await publish(broker, messages(["after"], 3))
            seen: list[str] = []
            await asyncio.wait_for(members_until(consumer, seen, lambda: "after:2" in seen), 60.0)
            assert numbers(list(dict.fromkeys(seen)), "after") == [0, 1, 2]

    async def test_what_counts_for_no_attempt_is_told_to_a_broker_that_comes_back(self, harness: BrokerHarness) -> None:
        """A member that leaves during an outage waits a few seconds for the broker, where it must correct a count."""
        async with opened(harness) as broker:
            await publish(broker, messages(["key"], 1))
            consumer = await subscribe(broker)
            await (await fetch(consumer)).ack(0, counted=False)
            async with _outage(harness):
                leaving = asyncio.create_task(consumer.close())
                await asyncio.wait({leaving}, timeout=0.2)
                assert not leaving.done()
            await leaving
            again = await fetch(await subscribe(broker), wait_seconds=30.0)
            assert [delivery.delivery_count for delivery in again.deliveries] == [1]

    async def test_what_was_confirmed_before_and_during_an_outage_is_kept_in_order(
        self, harness: BrokerHarness
    ) -> None:
        """A publisher that repeats what was not confirmed, as the relay does, loses and reorders nothing."""
        needs(harness, "durable")
        async with opened(harness) as broker, asyncio.TaskGroup() as tasks:
            total = 300
            seen: list[str] = []
            consumer = await subscribe(broker)
            tasks.create_task(members_until(consumer, seen, lambda: len(set(seen)) == total))
            away, refused = asyncio.Event(), asyncio.Event()
            publishing = tasks.create_task(_relay(broker, total, away, refused))
            await eventually(lambda: _reached(seen, 30))
            async with _outage(harness):
                away.set()
                await asyncio.wait_for(refused.wait(), 60.0)
            await asyncio.wait_for(publishing, 60.0)
            await eventually(lambda: _reached(seen, total), 60.0)
        for key in _KEYS:
            found = numbers(list(dict.fromkeys(seen)), key)
            assert found == sorted(found)

    async def test_confirmed_messages_outlive_everything(self, harness: BrokerHarness) -> None:
        """After a publishing process was killed and the broker was closed, all messages are there at the next open."""
        needs(harness, "several_processes")
        async with opened(harness):
            pass
        async with Worker.start(harness, "publish", 50) as worker:
            assert await worker.line() == "published 50"
            worker.signal(signal.SIGKILL)
        async with opened(harness) as broker:
            assert len(await collect(await subscribe(broker), 50)) == 50

    async def test_a_message_that_kills_its_consumer_is_recognised(self, harness: BrokerHarness) -> None:
        """SIGKILL with a batch in hand, several times: the delivery count rises until a process survives."""
        needs(harness, "several_processes")
        async with opened(harness) as broker:
            await publish(broker, messages(["poison"], 1))
            attempts = []
            for _ in range(3):
                async with Worker.start(harness, "consume", 1) as worker:
                    attempts.append(int((await worker.line()).removeprefix("fetched ")))
                    worker.signal(signal.SIGKILL)
            survivor = await fetch(await subscribe(broker), wait_seconds=30.0)
            attempts.append(survivor.deliveries[0].delivery_count)
            assert attempts == [1, 2, 3, 4]
            await survivor.ack(1)

    async def test_a_frozen_process_is_replaced_and_its_late_ack_is_refused(self, harness: BrokerHarness) -> None:
        """SIGSTOP for longer than the lease, then SIGCONT."""
        needs(harness, "several_processes")
        async with opened(harness) as broker:
            await publish(broker, messages(["key"], 3))
            async with Worker.start(harness, "consume", 3) as worker:
                assert (await worker.line()).startswith("fetched")
                await eventually(lambda: _frozen(worker, broker))
                consumer = await subscribe(broker)
                held = await fetch(consumer, limit=2, wait_seconds=30.0)
                assert read(held)[0] == "key:0"
                worker.signal(signal.SIGCONT)
                worker.say("ack")
                assert await worker.line() == "lost"
                first = await _acked(held)
            assert await collect(consumer, 3 - first) == [f"key:{number}" for number in range(first, 3)]


@asynccontextmanager
async def _outage(harness: BrokerHarness) -> AsyncIterator[None]:
    await harness.interrupt()
    try:
        yield
    finally:
        await harness.restore()


async def _frozen(worker: Worker, broker: Broker) -> bool:
    """Freeze a worker, but not in the middle of a write: that would lock an engine with one file."""
    worker.signal(signal.SIGSTOP)
    (written,) = await confirmed(broker, messages(["other"], 1, topic="conformance.others"), 1.0)
    if not written:
        worker.signal(signal.SIGCONT)
    return written


async def _acked(batch: Batch) -> int:
    """Ack one delivery; returns 0 where this process itself was paused for a lease and lost the partition again."""
    try:
        await batch.ack(1)
    except LeaseLost:
        return 0
    return 1


async def _answers(broker: Broker) -> bool:
    try:
        await broker.ping(1.0)
    except Unavailable:
        return False
    return True


async def _reached(seen: list[str], count: int) -> bool:
    return len(set(seen)) >= count


async def _relay(broker: Broker, total: int, away: asyncio.Event, refused: asyncio.Event) -> None:
    """Publish in order, half before the outage; repeat from the first message that was not confirmed."""
    pending = list(messages(_KEYS, total))
    while pending:
        if len(pending) <= total // 2:
            await away.wait()
        batch = pending[:20]
        stored = await confirmed(broker, batch, 1.0)
        if away.is_set() and not all(stored):
            refused.set()
        pending = [message for message, done in zip(batch, stored, strict=True) if not done] + pending[20:]
        await asyncio.sleep(0.02)
