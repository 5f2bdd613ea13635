"""A process that consumes from embedded brokers.

Each line that it reads names a URL and a file; what it is handed there is written into the file, after a line that says
that it is ready.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from freehold.adapters.embedded import adapter
from freehold.broker import BrokerOptions, Subscription
from freehold.conformance.broker_harness import TOPIC, read
from freehold.errors import LeaseLost, Unavailable

OPTIONS = BrokerOptions(partitions=4, lease_seconds=1.5, connect_timeout_seconds=3.0)


async def main() -> None:
    """Work on what is asked for until it is killed; one broker at a time."""
    working: asyncio.Task[None] | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        if working is not None:
            working.cancel()
            await asyncio.wait({working})
        url, output = line.split()
        working = asyncio.create_task(work(url, Path(output)))


async def work(url: str, output: Path) -> None:
    """Be a member of the group `readers`."""
    broker = adapter.broker(url, OPTIONS)
    await broker.open()
    consumer = await broker.subscribe(Subscription("readers", frozenset({TOPIC})))
    with output.open("w", buffering=1) as handed:
        handed.write("ready\n")
        while True:
            try:
                batch = await consumer.fetch(10, 1.0)
                if batch is not None:
                    # Handled before it is acknowledged, as everybody does.
                    handed.write("".join(f"{document}\n" for document in read(batch)))
                    await batch.ack(len(batch.deliveries))
            except (LeaseLost, Unavailable):
                await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main())
