"""txoutbox, as its documentation recommends for low latency: NOTIFY by a trigger wakes the relay, whose publisher is
the handler. Imports txoutbox and asyncpg, from the peers' environment.

variant  `hop`: from the commit to the handler at a rate, as in `benchmarks.cases.hop`. `relay`: a backlog.
         `transaction`: a row with and without a message, as in `benchmarks.cases.outbox`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median

import asyncpg
from benchmarks.cases import program
from benchmarks.cases.conditions import Conditions, expect, given, percentile, print_figures
from benchmarks.cases.processor import cpu_seconds
from txoutbox import OutboxMessage, Relay, RelayConfig
from txoutbox.adapters.postgres import PostgresStorage

_AT_ONCE_MAX = 16
_WARM_UP_MESSAGES = 60
_TURNS = 7
_KEYS = 997
_BATCH = 500
_TEXT = "x" * 200
_TABLE = "CREATE TABLE placed (id VARCHAR(64) PRIMARY KEY, body VARCHAR(300) NOT NULL)"
_INSERT = "INSERT INTO placed (id, body) VALUES ($1, $2)"
_HANDLED_SECONDS_MAX = 240.0


async def _commit(storage: PostgresStorage, number: int, *, with_message: bool = True) -> None:
    key = f"order-{number}"
    async with storage.pool.acquire() as connection, connection.transaction():
        await connection.execute(_INSERT, key, _TEXT)
        if with_message:
            await storage.insert(
                connection, "placed", {"key": key, "number": number, "text": _TEXT}, key=key, headers={"type": "placed"}
            )


async def _hop(storage: PostgresStorage, conditions: Conditions) -> Mapping[str, float]:
    committed: dict[int, float] = {}
    begun: dict[int, float] = {}
    handled: dict[int, float] = {}
    done = asyncio.Event()
    rate, count = conditions.rate_per_second, max(20, int(conditions.rate_per_second * conditions.seconds))
    total = _WARM_UP_MESSAGES + count

    async def publish(message: OutboxMessage) -> None:
        handled[message.json()["number"]] = time.monotonic()
        done.set()

    free = asyncio.Semaphore(_AT_ONCE_MAX)

    async def one(number: int) -> None:
        begun[number] = time.monotonic()
        await _commit(storage, number)
        committed[number] = time.monotonic()
        free.release()

    async def send(numbers: range, rate_per_second: float) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for turn, number in enumerate(numbers):
                delay = began + turn / rate_per_second - time.monotonic()
                if delay > 0:
                    await asyncio.sleep(delay)  # the rate that is asked for
                await free.acquire()
                group.create_task(one(number))
        async with asyncio.timeout(_HANDLED_SECONDS_MAX):
            while len(handled) < numbers.stop:
                done.clear()
                await done.wait()

    relay = Relay(storage, publish)
    async with await storage.listen(relay.wake), relay:
        await send(range(_WARM_UP_MESSAGES), 60.0)
        client, servers, began = time.process_time(), cpu_seconds(conditions.pids), time.monotonic()
        measured = range(_WARM_UP_MESSAGES, total)
        await send(measured, rate)
        seconds = max(handled[number] for number in measured) - began
        client, servers = time.process_time() - client, cpu_seconds(conditions.pids) - servers
    expect(sorted(handled), list(range(total)), "messages handled")
    delays = [max(0.0, handled[number] - committed[number]) * 1000 for number in measured]
    return {
        **{f"p{share}_ms": percentile(delays, share / 100) for share in (50, 75, 95, 99)},
        "max_ms": max(delays),
        "begin_p50_ms": percentile([(handled[number] - begun[number]) * 1000 for number in measured], 0.5),
        "per_second": count / seconds,
        "cpu_ms": (client + servers) * 1000 / count,
    }


async def _relay(storage: PostgresStorage, conditions: Conditions) -> Mapping[str, float]:
    rows = [
        ("placed", f"key-{number % _KEYS}", b'{"number": %d, "text": "%s"}' % (number, _TEXT.encode()))
        for number in range(conditions.messages)
    ]
    await storage.pool.copy_records_to_table("outbox", records=rows, columns=["topic", "key", "payload"])
    handled: dict[str, list[int]] = {}
    count = 0
    done = asyncio.Event()

    async def publish(message: OutboxMessage) -> None:
        nonlocal count
        handled.setdefault(message.key or "", []).append(message.json()["number"])
        count += 1
        if count == conditions.messages:
            done.set()

    client, servers, began = time.process_time(), cpu_seconds(conditions.pids), time.monotonic()
    async with Relay(storage, publish, config=RelayConfig(batch_size=_BATCH, publish_timeout=1.0)):
        async with asyncio.timeout(_HANDLED_SECONDS_MAX):
            await done.wait()
        seconds = time.monotonic() - began
    client, servers = time.process_time() - client, cpu_seconds(conditions.pids) - servers
    for key, numbers in handled.items():
        expect(numbers, sorted(numbers), f"order of {key}")
    expect(count, conditions.messages, "messages published")
    return {"per_second": count / seconds, "cpu_us": (client + servers) * 1e6 / count}


async def _transaction(storage: PostgresStorage, conditions: Conditions) -> Mapping[str, float]:
    rates: dict[bool, list[float]] = {True: [], False: []}
    done = {True: 0, False: 0}
    for turn in range(2 * (_TURNS + 1)):
        with_message, count = bool(turn % 2), 0
        began = time.monotonic()
        until, first = began + conditions.seconds / _TURNS, sum(done.values())

        async def work(until: float, first: int, *, with_message: bool) -> None:
            nonlocal count
            while time.monotonic() < until:
                count += 1
                await _commit(storage, first + count, with_message=with_message)

        await asyncio.gather(*(work(until, first, with_message=with_message) for _ in range(conditions.concurrency)))
        done[with_message] += count
        if turn > 1:
            rates[with_message].append(count / (time.monotonic() - began))
    expect(await storage.pool.fetchval("SELECT count(*) FROM outbox"), done[True], "messages")
    ratios = [ours / without for ours, without in zip(rates[True], rates[False], strict=True)]
    return {"with": median(rates[True]), "without": median(rates[False]), "ratio": median(ratios)}


_VARIANTS: Mapping[str, Callable[[PostgresStorage, Conditions], Awaitable[Mapping[str, float]]]] = {
    "hop": _hop,
    "relay": _relay,
    "transaction": _transaction,
}


async def _main(conditions: Conditions) -> None:
    async with asyncpg.create_pool(conditions.databases[0], min_size=10, max_size=10) as pool:
        # The relay of a backlog is woken once; the trigger would only slow down what prepares it.
        channel = None if conditions.variant == "relay" else "outbox"
        storage = PostgresStorage(pool, notify_channel=channel)
        await storage.create_schema()
        await pool.execute(_TABLE)
        print_figures(await _VARIANTS[conditions.variant](storage, conditions))


if __name__ == "__main__":
    program.run(_main(given()))
