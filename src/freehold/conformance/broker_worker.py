"""A process that publishes or consumes for the broker's conformance suite, and its control by a test. Run as `python -m
freehold.conformance.broker_worker`; imports the composition root like any program.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from signal import SIGKILL, Signals

from freehold.broker import Broker, BrokerOptions
from freehold.conformance.broker_harness import BrokerHarness, fetch, messages, publish, subscribe
from freehold.errors import LeaseLost
from freehold.runtime.adapters import open_broker

__all__ = ["Worker", "main"]

_LINE_SECONDS = 60.0


class Worker:
    """A process that a test controls; killed at the end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def start(cls, harness: BrokerHarness, role: str, count: int) -> AsyncIterator[Worker]:
        """Start a worker that publishes or consumes `count` messages on the harness's system."""
        task = {"url": harness.url, "options": asdict(harness.options), "role": role, "count": count}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "freehold.conformance.broker_worker",
            json.dumps(task),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield cls(process)
        finally:
            if process.returncode is None:
                process.send_signal(SIGKILL)
            await process.wait()

    async def line(self) -> str:
        """Return the next line of the worker's output."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _LINE_SECONDS)
        assert line, "the worker ended"
        return line.decode().strip()

    def say(self, word: str) -> None:
        """Send a line to the worker."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    def signal(self, number: Signals) -> None:
        """Send a signal."""
        os.kill(self._process.pid, number)


def main() -> None:
    """Publish or consume, as the first argument says."""
    task = json.loads(sys.argv[1])
    asyncio.run(_work(task["url"], BrokerOptions(**task["options"]), task["role"], task["count"]))


async def _work(url: str, options: BrokerOptions, role: str, count: int) -> None:
    broker = open_broker(url, options)
    await broker.open()
    if role == "publish":
        await publish(broker, messages(["key"], count))
        await _tell(f"published {count}")
        await _told()
    else:
        await _consume(broker, count)
    await broker.close()


async def _consume(broker: Broker, count: int) -> None:
    consumer = await subscribe(broker)
    batch = await fetch(consumer, count)
    await _tell(f"fetched {batch.deliveries[0].delivery_count}")
    await _told()
    try:
        await batch.ack(len(batch.deliveries))
    except LeaseLost:
        await _tell("lost")
    else:
        await _tell("acked")
    await _told()


async def _tell(line: str) -> None:
    await asyncio.to_thread(lambda: (sys.stdout.write(f"{line}\n"), sys.stdout.flush()))


async def _told() -> None:
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    main()
