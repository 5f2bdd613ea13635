"""A process of the case `hop`: a publisher, a reader, or both. Imports Freehold's public names.

On standard input it reads commands, `COUNT RATE FIRST EVERY`, until that ends. On standard output it writes `ready`,
`committed NUMBER BEGUN AT` and `handled NUMBER AT`, in bulk; times are those of the machine's monotonic clock, which
all of its processes share.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time

from benchmarks.cases import declared, program
from benchmarks.cases.conditions import Conditions, given

from freehold import RunningService, Runtime, Transaction

_AT_ONCE_MAX = 16
_TELL_SECONDS = 0.1

_told: list[str] = []


async def _handle(placed: declared.Placed, _tx: Transaction) -> None:
    _told.append(f"handled {placed.number} {time.monotonic()}\n")


async def _tell() -> None:
    while True:
        await asyncio.sleep(_TELL_SECONDS)  # what was noted meanwhile is told together
        _flush()


def _flush() -> None:
    lines = "".join(_told)
    _told.clear()
    sys.stdout.write(lines)
    sys.stdout.flush()


async def _publish(running: RunningService, number: int) -> None:
    begun = time.monotonic()
    async with running.transaction() as tx:
        await tx.sql.execute(declared.INSERT, (f"order-{number}", declared.TEXT))
        tx.publish(declared.Placed(f"order-{number}", number, declared.TEXT))
    _told.append(f"committed {number} {begun} {time.monotonic()}\n")


async def _send(running: RunningService, count: int, rate_per_second: float, first: int, every: int) -> None:
    free = asyncio.Semaphore(_AT_ONCE_MAX)

    async def one(number: int) -> None:
        try:
            await _publish(running, number)
        finally:
            free.release()

    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for turn in range(count):
            delay = begun + turn / rate_per_second - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)  # the rate that is asked for
            await free.acquire()
            group.create_task(one(first + turn * every))


async def _commands(runtime: Runtime, role: str) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        count, rate_per_second, first, every = line.split()
        assert role != "reader"
        await _send(runtime["bench"], int(count), float(rate_per_second), int(first), int(every))


async def _main(conditions: Conditions) -> None:
    role = conditions.variant
    services = [
        *([declared.publisher()] if role != "reader" else []),
        *([declared.reader(_handle)] if role != "publisher" else []),
    ]
    databases = dict(zip(("bench", "reader"), conditions.databases, strict=True))
    settings = {each.name: declared.settings(each.name, databases[each.name], conditions) for each in services}
    async with Runtime(*services, settings=settings) as runtime:
        gc.collect()
        gc.freeze()  # as `freehold.run` does
        telling = asyncio.create_task(_tell())
        print("ready", flush=True)
        await _commands(runtime, role)
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
    _flush()


if __name__ == "__main__":
    program.run(_main(given()))
