"""A writer is frozen while its append is open, on PostgreSQL: readers wait for it no longer than the limit says."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.forking import ForkedProcess, forked
from tests.integration.eventstore.opened import opened

from freehold.adapters.sql.engine.connection import sql_of
from freehold.conformance.events_order import add, data_of, new_event
from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.eventstore.store import EVENTS, Append
from freehold.policy import Retry, RetryAfter
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

pytestmark = pytest.mark.servers

_LIMIT_SECONDS = 1.0
_ENOUGH_SECONDS = 60.0


def _say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 - tells the test


async def _append(stores: Stores, *, held: bool) -> None:
    async with stores.database.begin() as db_tx:
        await stores[EVENTS].append(db_tx, [Append("order-1", [new_event(b"frozen")], 1)])
        if held:
            _say("held")
            await asyncio.to_thread(sys.stdin.readline)


async def _try(url: str, limit_seconds: float) -> None:
    """What the process does that is frozen."""
    options = DatabaseOptions(pool_size=1, idle_transaction_timeout_seconds=limit_seconds)
    stores = open_stores(url, options)
    await stores.database.open()
    retry, attempt = Retry(attempts=5, delay_seconds=0.05, only=(Unavailable,)), 1
    while True:
        try:
            await _append(stores, held=attempt == 1)
        except FreeholdError as error:
            _say(f"{type(error).__name__}: {error}")
            decision = retry.decide(attempt, error)
            if not isinstance(decision, RetryAfter):
                raise
            attempt += 1
            await asyncio.sleep(decision.delay_seconds)
        else:
            break
    _say(f"committed at attempt {attempt}")
    await stores.database.close()


class _Writer:
    """The process that appends, says `held`, and goes on when it is told to."""

    def __init__(self, process: ForkedProcess) -> None:
        self.process = process

    async def heard(self) -> str:
        return (await asyncio.wait_for(self.process.stdout.readline(), _ENOUGH_SECONDS)).decode().strip()

    def wake(self) -> None:
        """Tell it to go on, while it cannot hear, and let it hear."""
        self.process.stdin.write(b"\n")
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _frozen(url: str, limit_seconds: float) -> AsyncIterator[_Writer]:
    """A process that was stopped while it held an append open."""
    process = await forked(__name__, url, str(limit_seconds))
    writer = _Writer(process)
    try:
        assert await writer.heard() == "held"
        process.send_signal(signal.SIGSTOP)
        yield writer
    finally:
        await process.end()


async def _seen(stores: Stores) -> Sequence[bytes]:
    return data_of((await stores[EVENTS].read_all(0)).events)


async def _until_seen(stores: Stores, expected: Sequence[bytes]) -> None:
    async with asyncio.timeout(_ENOUGH_SECONDS):
        while await _seen(stores) != expected:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["", "?statement_cache_size=0"], ids=["sessions", "behind-a-proxy"])
async def test_readers_wait_for_a_frozen_writer_no_longer_than_the_limit(postgres_url: str, how: str) -> None:
    """What it held open is gone, its locks too; it finds out when it goes on, and tries again."""
    async with opened(postgres_url) as stores:
        await add(stores, "order-1", new_event(b"before"))
        async with _frozen(postgres_url + how, _LIMIT_SECONDS) as writer:
            await add(stores, "order-2", new_event(b"beside"))
            await _until_seen(stores, [b"before", b"beside"])
            await add(stores, "order-3", new_event(b"after"))
            writer.wake()
            assert (await writer.heard()).startswith("Unavailable: ")
            assert await writer.heard() == "committed at attempt 2"
        assert await _seen(stores) == [b"before", b"beside", b"after", b"frozen"]


async def test_without_a_limit_a_frozen_writer_holds_readers_up_until_it_goes_on(postgres_url: str) -> None:
    """What the limit is for; and that the reader is blocked by the writer, and by nothing else."""
    async with opened(postgres_url, DatabaseOptions(lock_timeout_seconds=1.0)) as stores:
        await add(stores, "order-1", new_event(b"before"))
        async with _frozen(postgres_url, 0.0) as writer:
            await add(stores, "order-2", new_event(b"beside"))
            with pytest.raises(ConcurrencyConflict):  # waits for the stream's lock, longer than the limit below
                await stores[EVENTS].append_now([Append("order-1", [new_event(b"in the way")])])
            assert await _seen(stores) == [b"before"]
            writer.wake()
            assert await writer.heard() == "committed at attempt 1"
        assert await _seen(stores) == [b"before", b"frozen", b"beside"]


@pytest.mark.parametrize("how", ["", "?statement_cache_size=0"], ids=["sessions", "behind-a-proxy"])
async def test_who_stood_idle_too_long_is_told_so(postgres_url: str, how: str) -> None:
    """Whatever comes next, also where it is COMMIT: that nothing was committed is known then."""
    options = DatabaseOptions(pool_size=2, idle_transaction_timeout_seconds=0.2)
    async with opened(postgres_url + how, options) as stores:
        for last in ("SELECT 1", "COMMIT"):
            with pytest.raises(Unavailable, match="idle_transaction_timeout_seconds") as caught:
                async with stores.database.begin() as db_tx:
                    await stores[EVENTS].append(db_tx, [Append("order-1", [new_event(b"idle")])])
                    pid = (await sql_of(db_tx).fetch("SELECT pg_backend_pid()"))[0][0]
                    await _until_ended(stores, pid)
                    if last != "COMMIT":
                        await sql_of(db_tx).fetch(last)
            assert "not known" not in str(caught.value)
        assert await _seen(stores) == []
        await add(stores, "order-1", new_event(b"again"))
        assert await _seen(stores) == [b"again"]


async def _until_ended(stores: Stores, pid: int) -> None:
    async with asyncio.timeout(_ENOUGH_SECONDS), stores[SQL].direct() as sql:
        while await sql.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = $1", (pid,)):  # noqa: ASYNC110 - from outside
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(_try(sys.argv[1], float(sys.argv[2])))
