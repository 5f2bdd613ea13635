"""The speed of the brokers: messages of 700 bytes a second, published and consumed in batches of 200 by one process,
processor time for each, and the latency from one process to another that waits.

By hand: for the embedded broker, a durable INSERT of the batch and a SELECT of the next one with sqlite3; for NATS, the
driver's own `publish`, with 200 confirmations in progress, and a pull consumer that acknowledges each message. Neither
keeps the order of keys over several consumers, nor delivers a message again when its consumer crashes.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from benchmarks.byhand import SqliteByHand
from benchmarks.figures import Figure

from freehold import new_id
from freehold.broker import Broker, OutgoingMessage, PublishConfirmed, Subscription
from freehold.runtime import open_broker

__all__ = ["figures"]

_BATCH = 200
_DOCUMENT = b"x" * 700
_LATENCY_MESSAGES = 200
_KEYS = 500


async def _measure(url: str, seconds: float, *, apart: bool = True) -> dict[str, Any]:
    """Figures of one broker; `apart` also measures the latency to another process."""
    broker = open_broker(url)
    await broker.open()
    consumer = await broker.subscribe(Subscription("bench", frozenset({"bench.events"})))
    published = 0

    async def publish() -> int:
        nonlocal published
        outcomes = await broker.publish([_message(published + number) for number in range(_BATCH)], 10.0)
        assert all(isinstance(outcome, PublishConfirmed) for outcome in outcomes)
        published += _BATCH
        return _BATCH

    async def consume() -> int:
        batch = await consumer.fetch(_BATCH, 0.2)
        if batch is None:
            return 0
        await batch.ack(len(batch.deliveries))
        return len(batch.deliveries)

    result = {"publish": await _rate(publish, seconds), "consume": await _rate(consume, seconds)}
    await broker.close()
    if apart:
        result["latency_ms"] = await _latency(url)
    return result


async def _in_sqlite(path: str, seconds: float) -> dict[str, Any]:
    """The same work with a table."""
    async with SqliteByHand(path) as sqlite:
        await sqlite.save("CREATE TABLE message (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, document BLOB)", [()])
        consumed = 0

        async def publish() -> int:
            rows = [(f"key-{number % _KEYS}", _DOCUMENT) for number in range(_BATCH)]
            await sqlite.save("INSERT INTO message (key, document) VALUES (?, ?)", rows)
            return _BATCH

        async def consume() -> int:
            nonlocal consumed
            after, select = consumed, "SELECT * FROM message WHERE seq > ? ORDER BY seq LIMIT ?"
            rows = await sqlite.work(lambda connection: connection.execute(select, (after, _BATCH)).fetchall())
            consumed += len(rows)
            return len(rows)

        return {"publish": await _rate(publish, seconds), "consume": await _rate(consume, seconds)}


async def _on_nats(url: str, seconds: float) -> dict[str, Any]:
    """The same work with the driver alone."""
    import nats
    from nats.errors import TimeoutError as NothingLeft

    client = await nats.connect(url)
    stream = client.jetstream(publish_async_max_pending=_BATCH)
    await stream.add_stream(name="by-hand", subjects=["by-hand.*"])
    subscription = await stream.pull_subscribe("by-hand.*", "by-hand")

    async def publish() -> int:
        published = [await stream.publish_async(f"by-hand.{number % 8}", _DOCUMENT) for number in range(_BATCH)]
        await asyncio.gather(*published)
        return _BATCH

    async def consume() -> int:
        try:
            messages = await subscription.fetch(_BATCH, timeout=0.5)
        except NothingLeft:
            return 0
        for message in messages:
            await message.ack()
        return len(messages)

    found = {"publish": await _rate(publish, seconds), "consume": await _rate(consume, seconds)}
    await client.close()
    return found


async def figures(url: str, seconds: float) -> AsyncIterator[Figure]:
    """Figures of one broker, beside the work by hand on its technology, if it has one."""
    by_hand: dict[str, Any] = {}
    if url.startswith("embedded:"):
        by_hand = await _in_sqlite(url.removeprefix("embedded:///") + ".by-hand", seconds)
    elif url.startswith("nats:"):
        by_hand = await _on_nats(url, seconds)
    found = await _measure(url, seconds, apart=not url.startswith("memory:"))
    for what in ("publish", "consume"):
        hand = by_hand.get(what, {})
        rate, cost = "messages_per_second", "processor_microseconds_per_message"
        yield Figure(f"{what}, messages", found[what][rate], "/s", hand.get(rate))
        yield Figure(f"{what}, processor time a message", found[what][cost], "µs", hand.get(cost))
    for share, milliseconds in found.get("latency_ms", {}).items():
        yield Figure(f"one message to another process, {share}", milliseconds, "ms")


def _message(number: int) -> OutgoingMessage:
    return OutgoingMessage(id=new_id(), topic="bench.events", key=f"key-{number % _KEYS}", document=_DOCUMENT)


async def _rate(work: Callable[[], Awaitable[int]], seconds: float) -> dict[str, float]:
    """Repeat until the time is over or there is nothing left."""
    count, begun, used = 0, time.monotonic(), _processor_seconds()
    elapsed = 0.0
    while elapsed < seconds:
        done = await work()
        if not done:
            break
        count += done
        elapsed = time.monotonic() - begun
    used = _processor_seconds() - used
    return {
        "messages_per_second": round(count / elapsed),
        "processor_microseconds_per_message": round(used / count * 1e6, 1),
    }


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _latency(url: str) -> dict[str, float]:
    """Publish one by one to another process that waits; both processes read the machine's monotonic clock."""
    waiter = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.broker", "--wait", url, stdout=asyncio.subprocess.PIPE
    )
    assert waiter.stdout is not None
    broker = open_broker(url)
    await broker.open()
    await asyncio.wait_for(waiter.stdout.readline(), 20.0)
    for _ in range(_LATENCY_MESSAGES):
        stamp = str(time.monotonic_ns()).encode()
        await broker.publish([OutgoingMessage(id=new_id(), topic="bench.waiting", key="key", document=stamp)], 10.0)
        await asyncio.sleep(0.01)  # the other process is to wait for each message: the rate is no part of the latency
    found: dict[str, float] = json.loads(await asyncio.wait_for(waiter.stdout.readline(), 20.0))
    await waiter.wait()
    await broker.close()
    return found


async def _wait(url: str) -> None:
    broker: Broker = open_broker(url)
    await broker.open()
    consumer = await broker.subscribe(Subscription("waiting", frozenset({"bench.waiting"}), start="latest"))
    print("ready", flush=True)
    delays: list[float] = []
    while len(delays) < _LATENCY_MESSAGES:
        batch = await consumer.fetch(_BATCH, 10.0)
        assert batch is not None
        now = time.monotonic_ns()
        delays.extend((now - int(delivery.document)) / 1e6 for delivery in batch.deliveries)
        await batch.ack(len(batch.deliveries))
    delays.sort()
    found = {f"p{share}": round(delays[len(delays) * share // 100], 2) for share in (50, 99)}
    print(json.dumps(found), flush=True)
    await broker.close()


if __name__ == "__main__":
    asyncio.run(_wait(sys.argv[2]))
