"""The suite of a transaction's life. Bind it with a `harness` fixture, see `freehold.conformance.harness`. The suite
declares messages, and reads them back through the outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.conformance.outbox import outgoing
from freehold.context import ServiceContext
from freehold.errors import TransactionEnded, TransactionMisused
from freehold.messages import event
from freehold.outbox.store import OUTBOX
from freehold.transaction import EnvelopeFactory, StagingArea, Transaction, Transactions

__all__ = ["TransactionConformance", "context_of"]


@event("suite.happened", key="name")
class _Happened:
    name: str


class _TakeBack(Exception):
    """Rolls a block back."""


def context_of(harness: StoresHarness) -> ServiceContext:
    """The context of the suite's service."""
    return ServiceContext("suite", harness.first, clock=harness.clock)


async def _pending(harness: StoresHarness) -> int:
    return (await harness.first[OUTBOX].stats()).pending


@asynccontextmanager
async def _ended(harness: StoresHarness, *, committed: bool) -> AsyncIterator[Transaction]:
    """Yield a transaction that has ended, while another one is open, where late writes would be seen."""
    context = context_of(harness)
    kept: list[Transaction] = []
    try:
        async with Transactions(context).begin() as tx:
            kept.append(tx)
            assert tx.connection is not None
            if not committed:
                raise _TakeBack
    except _TakeBack:
        pass
    yield kept[0]


_COLLECTING: dict[str, Callable[[Transaction], object]] = {
    "publish": lambda tx: tx.publish(_Happened("late")),
    "append": lambda tx: tx.append("thing-1", _Happened("late")),
    "schedule": lambda tx: tx.schedule(_Happened("late"), delay_seconds=1),
    "stage": lambda tx: tx.staging.stage(tx.staging.envelope(_Happened("late"))),
    "companion": lambda tx: tx.staging.companion("late", list[int], _write),
    "after_commit": lambda tx: tx.staging.after_commit(lambda: None),
    "connection": lambda tx: tx.connection,
    "pending_events": lambda tx: tx.staging.pending_events("thing-1"),
}


async def _write(_companion: list[int]) -> None:
    """Nothing to write."""


class TransactionConformance:
    """What transactions of every database must do when they are used wrongly."""

    @pytest.mark.parametrize("how", ["committed", "rolled back"])
    @pytest.mark.parametrize("what", _COLLECTING)
    async def test_nothing_is_collected_after_the_end(self, harness: StoresHarness, what: str, how: str) -> None:
        """The call raises, says how and when the transaction ended, and has no effect."""
        async with _ended(harness, committed=how == "committed") as tx:
            with pytest.raises(TransactionEnded, match=how + r" \d+\.\d+ s ago"):
                _COLLECTING[what](tx)
        assert await _pending(harness) == 0

    @pytest.mark.parametrize("how", ["committed", "rolled back"])
    async def test_nothing_is_written_after_the_end(self, harness: StoresHarness, how: str) -> None:
        """Neither by itself, nor in another transaction that is open then."""
        stores = harness.first
        async with _ended(harness, committed=how == "committed") as tx:
            if stores.database.features.concurrent_writers:
                async with stores.database.begin():
                    with pytest.raises(TransactionEnded):
                        await stores[OUTBOX].stage(tx.db_tx, [outgoing("late")])
            with pytest.raises(TransactionEnded):
                await stores[OUTBOX].stage(tx.db_tx, [outgoing("late")])
            with pytest.raises(TransactionEnded):
                await tx.write()
        assert await _pending(harness) == 0

    async def test_a_view_of_another_message_ends_with_it(self, harness: StoresHarness) -> None:
        """All views share one transaction and its life."""
        context = context_of(harness)
        async with Transactions(context).begin() as tx:
            view = Transaction(tx.staging.for_message(EnvelopeFactory(context).envelope(_Happened("cause"))))
            view.publish(_Happened("in time"))
        with pytest.raises(TransactionEnded):
            view.publish(_Happened("late"))
        assert await _pending(harness) == 1

    async def test_the_token_is_read_after_the_end(self, harness: StoresHarness) -> None:
        """It has the positions of the commit."""
        async with Transactions(context_of(harness)).begin() as tx:
            tx.append("thing-1", _Happened("a"))
        assert tx.token

    async def test_what_was_collected_after_the_last_write_makes_the_commit_refuse(
        self, harness: StoresHarness
    ) -> None:
        """So a caller of `write` cannot lose a message without an error: the whole transaction is rolled back."""
        context, stores = context_of(harness), harness.first
        with pytest.raises(TransactionMisused, match="after the transaction's last write"):
            async with stores.database.begin() as db_tx:
                tx = Transaction(StagingArea(context, db_tx))
                tx.publish(_Happened("written"))
                await tx.write()
                tx.publish(_Happened("left"))
        assert await _pending(harness) == 0

    async def test_what_another_task_collects_is_committed_or_refused(self, harness: StoresHarness) -> None:
        """A task that continues after the block gets an error; what it published without an error is committed."""
        accepted = 0
        stop = asyncio.Event()

        async def chatter(tx: Transaction) -> None:
            nonlocal accepted
            while not stop.is_set():
                try:
                    tx.publish(_Happened("chatter"))
                except TransactionEnded:
                    return
                accepted += 1
                await asyncio.sleep(0)  # lets the other task run

        for _ in range(10):
            before, tasks = accepted, list[asyncio.Task[None]]()
            try:
                async with Transactions(context_of(harness)).begin() as tx:
                    tasks.append(asyncio.create_task(chatter(tx)))
                    for _ in range(3):
                        await asyncio.sleep(0)  # lets the other task run
            except TransactionMisused:
                accepted = before
            await asyncio.gather(*tasks)
        assert await _pending(harness) == accepted

    async def test_two_tasks_publish_in_one_transaction(self, harness: StoresHarness) -> None:
        """And write in it: their statements run one after the other."""
        stores = harness.first

        async def work(tx: Transaction, number: int) -> None:
            tx.publish(_Happened(f"{number}"))
            await stores[OUTBOX].stage(tx.db_tx, [outgoing(f"k{number}")])
            tx.publish(_Happened(f"{number}"))

        async with Transactions(context_of(harness)).begin() as tx:
            await asyncio.gather(*(work(tx, number) for number in range(20)))
        assert await _pending(harness) == 60

    async def test_a_thread_may_publish(self, harness: StoresHarness) -> None:
        """Like an endpoint that is not a coroutine; after the end it is refused there, too."""
        async with Transactions(context_of(harness)).begin() as tx:
            await asyncio.to_thread(tx.publish, _Happened("from a thread"))
        with pytest.raises(TransactionEnded):
            await asyncio.to_thread(tx.publish, _Happened("late"))
        assert await _pending(harness) == 1

    async def test_what_is_doomed_is_rolled_back_at_the_end(self, harness: StoresHarness) -> None:
        """The end of the block raises, although the error was caught inside."""
        with pytest.raises(TransactionMisused, match="rolled back: a reason") as caught:
            async with Transactions(context_of(harness)).begin() as tx:
                tx.publish(_Happened("doomed"))
                with suppress(TransactionMisused):
                    tx.db_tx.life.refuse("a reason", "a hint")
        assert caught.value.hint == "a hint"
        assert await _pending(harness) == 0
        async with Transactions(context_of(harness)).begin() as tx:
            tx.publish(_Happened("the next one"))
        assert await _pending(harness) == 1
