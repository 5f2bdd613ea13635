"""From the commit that publishes an event to the handler of another service, at a given rate. Imports the parts.

variant  `together`: publisher and reader are one process. `apart`: `instances` processes of each.

The publishers begin a transaction at fixed times, whatever the ones before are doing, 16 at once at most. Figures:
the time from the commit to the handler in milliseconds, at the median and higher; how many a second were reached; the
processor time of Freehold's processes and of the servers for each message. It fails unless each message was handled
once.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from benchmarks.cases.conditions import CheckFailed, Conditions, expect, given, percentile, print_figures
from benchmarks.cases.processor import cpu_seconds

__all__ = ["measure"]

_WARM_UP_MESSAGES = 60
_WARM_UP_RATE = 60.0
_MESSAGES_MIN = 40
_MESSAGES_MAX = 2500
_START_SECONDS_MAX = 60.0
_HANDLED_SECONDS_MAX = 60.0


class _Part:
    """A process of the case: it reads commands on standard input, and tells what it has done on standard output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.begun: dict[int, float] = {}
        self.committed: dict[int, float] = {}
        self.handled: list[tuple[int, float]] = []
        self.ready = asyncio.Event()
        self.progress = asyncio.Event()

    async def listen(self) -> None:
        """Take what it tells, until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            word, *rest = line.decode().split()
            if word == "committed":
                self.begun[int(rest[0])], self.committed[int(rest[0])] = float(rest[1]), float(rest[2])
            elif word == "handled":
                self.handled.append((int(rest[0]), float(rest[1])))
            elif word == "ready":
                self.ready.set()
        self.ready.set()

    def send(self, count: int, rate_per_second: float, first: int, every: int) -> None:
        """Have it publish the numbers from `first` on, `every` apart."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count} {rate_per_second} {first} {every}\n".encode())


@asynccontextmanager
async def _part(role: str, conditions: Conditions) -> AsyncIterator[_Part]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.cases.hop_part",
        replace(conditions, variant=role).to_json(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    part = _Part(process)
    listening = asyncio.create_task(part.listen())
    try:
        yield part
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(_START_SECONDS_MAX):
            expect(await process.wait(), 0, f"exit code of a {role}")
            await listening
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        listening.cancel()


async def measure(conditions: Conditions) -> dict[str, float]:
    """Start the parts, warm them up, and measure."""
    roles = ["both"] if conditions.variant == "together" else ["reader", "publisher"] * conditions.instances
    async with AsyncExitStack() as stack:
        parts = [await stack.enter_async_context(_part(role, conditions)) for role in roles]
        publishers = [part for role, part in zip(roles, parts, strict=True) if role != "reader"]
        async with asyncio.timeout(_START_SECONDS_MAX):
            await asyncio.gather(*(part.ready.wait() for part in parts))
        await _send(publishers, parts, _WARM_UP_MESSAGES, _WARM_UP_RATE, 0)
        if not conditions.rates_per_second:
            count = max(20, int(conditions.rate_per_second * conditions.seconds))
            return await _figures(conditions, parts, publishers, _WARM_UP_MESSAGES, count)
        found, first = {}, _WARM_UP_MESSAGES
        for rate in conditions.rates_per_second:
            count = min(_MESSAGES_MAX, max(_MESSAGES_MIN, int(rate * conditions.seconds)))
            at_rate = replace(conditions, rate_per_second=rate)
            figures = await _figures(at_rate, parts, publishers, first, count)
            found.update({f"{name}@{rate:g}": value for name, value in figures.items()})
            first += count
        return found


async def _figures(
    conditions: Conditions, parts: Sequence[_Part], publishers: Sequence[_Part], first: int, count: int
) -> dict[str, float]:
    pids = [part.process.pid for part in parts]
    client, servers, began = cpu_seconds(pids), cpu_seconds(conditions.pids), time.monotonic()
    await _send(publishers, parts, count, conditions.rate_per_second, first)
    client, servers = cpu_seconds(pids) - client, cpu_seconds(conditions.pids) - servers
    measured = range(first, first + count)
    handled = [each for part in parts for each in part.handled if each[0] in measured]
    expect(sorted(number for number, _ in handled), list(measured), "messages handled")
    committed = {number: at for part in parts for number, at in part.committed.items()}
    begun = {number: at for part in parts for number, at in part.begun.items()}
    delays = [max(0.0, at - committed[number]) * 1000 for number, at in handled]
    return {
        **{f"p{share}_ms": percentile(delays, share / 100) for share in (50, 75, 95, 99)},
        "max_ms": max(delays),
        "begin_p50_ms": percentile([(at - begun[number]) * 1000 for number, at in handled], 0.5),
        "per_second": count / (max(at for _, at in handled) - began),
        "client_cpu_ms": client * 1000 / count,
        "server_cpu_ms": servers * 1000 / count,
        "cpu_ms": (client + servers) * 1000 / count,
    }


async def _send(
    publishers: Sequence[_Part], parts: Sequence[_Part], count: int, rate_per_second: float, first: int
) -> None:
    """Have the publishers share so many messages, and wait until all are handled."""
    every = len(publishers)
    for number, part in enumerate(publishers):
        part.send(len(range(number, count, every)), rate_per_second / every, first + number, every)
    end = time.monotonic() + count / rate_per_second + _HANDLED_SECONDS_MAX
    while min(_number(parts, "handled"), _number(parts, "committed")) < first + count:
        if any(part.process.returncode is not None for part in parts):
            raise CheckFailed("a process of the case has ended")
        if time.monotonic() > end:
            raise CheckFailed(f"{_number(parts, 'handled')} of {first + count} messages were handled in time")
        await asyncio.sleep(0.05)  # the parts tell by pipes; nothing here is measured


def _number(parts: Sequence[_Part], of: str) -> int:
    return sum(len(getattr(part, of)) for part in parts)


if __name__ == "__main__":
    print_figures(asyncio.run(measure(given())))
