"""How fast the brokers are: `python -m benchmarks.broker [SECONDS]`. Prints one JSON document.

For each broker: messages a second published and consumed in batches of 200 by one process, processor time for each, and
how long a message takes from one process to a waiting one. The NATS server is a real one of its own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from freehold.binding import open_broker
from freehold.broker import Broker, Outgoing, Stored, Subscription
from freehold.ids import new_id
from freehold_shop.servers import ServerUnavailable, start_nats

__all__ = ["main", "measure"]

_BATCH = 200
_DOCUMENT = b"x" * 700
_LATENCY_MESSAGES = 200
_KEYS = 500


def main() -> None:
    """Measure everything within about twenty seconds."""
    if sys.argv[1:2] == ["--wait"]:
        asyncio.run(_wait(sys.argv[2]))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with tempfile.TemporaryDirectory() as directory:
        results = {
            "memory": asyncio.run(measure("memory://", seconds, apart=False)),
            "embedded": asyncio.run(measure(f"embedded:///{directory}/broker.db", seconds)),
            "embedded, synchronous=normal": asyncio.run(
                measure(f"embedded:///{directory}/normal.db?synchronous=normal", seconds)
            ),
        }
        try:
            with start_nats(Path(directory) / "nats") as server:
                results["nats"] = asyncio.run(measure(server.url, seconds))
        except ServerUnavailable as error:
            print(f"NATS is left out: {error}", file=sys.stderr)
    print(json.dumps(results, indent=2))


async def measure(url: str, seconds: float, *, apart: bool = True) -> dict[str, Any]:
    """Figures of one broker; `apart` measures the way to another process as well."""
    broker = open_broker(url)
    await broker.open()
    consumer = await broker.subscribe(Subscription("bench", frozenset({"bench.events"})))
    published = 0

    async def publish() -> int:
        nonlocal published
        outcomes = await broker.publish([_message(published + number) for number in range(_BATCH)], 10.0)
        assert all(isinstance(outcome, Stored) for outcome in outcomes)
        published += _BATCH
        return _BATCH

    async def consume() -> int:
        batch = await consumer.fetch(_BATCH, 0.2)
        if batch is None:
            return 0
        await batch.settle(len(batch.deliveries))
        return len(batch.deliveries)

    result = {"publish": await _rate(publish, seconds), "consume": await _rate(consume, seconds)}
    await broker.close()
    if apart:
        result["latency_ms"] = await _latency(url)
    return result


def _message(number: int) -> Outgoing:
    return Outgoing(id=new_id(), topic="bench.events", key=f"key-{number % _KEYS}", document=_DOCUMENT)


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
    """Publish one by one to another process that waits; the monotonic clock is the machine's."""
    waiter = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.broker", "--wait", url, stdout=asyncio.subprocess.PIPE
    )
    assert waiter.stdout is not None
    broker = open_broker(url)
    await broker.open()
    await asyncio.wait_for(waiter.stdout.readline(), 20.0)
    for _ in range(_LATENCY_MESSAGES):
        stamp = str(time.monotonic_ns()).encode()
        await broker.publish([Outgoing(id=new_id(), topic="bench.waiting", key="key", document=stamp)], 10.0)
        await asyncio.sleep(0.01)
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
        await batch.settle(len(batch.deliveries))
    delays.sort()
    found = {f"p{share}": round(delays[len(delays) * share // 100], 2) for share in (50, 99)}
    print(json.dumps(found), flush=True)
    await broker.close()


if __name__ == "__main__":
    main()
