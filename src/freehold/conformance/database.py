"""The suite of the database port. Bind it with a `harness` fixture, see `freehold.conformance.harness`. Effects of a
transaction are read back through the outbox, which every database has.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.conformance.outbox import outgoing
from freehold.errors import ConfigurationError, Unavailable
from freehold.leases.store import LEASES
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores

__all__ = ["DatabaseConformance"]


async def _pending(stores: Stores) -> int:
    return (await stores[OUTBOX].stats()).pending


class DatabaseConformance:
    """What every database must do."""

    async def test_the_block_commits(self, harness: StoresHarness) -> None:
        """Another instance sees the writes; the transaction is marked as Freehold's own."""
        async with harness.first.database.begin() as db_tx:
            assert db_tx.owned
            await harness.first[OUTBOX].stage(db_tx, [outgoing("k")])
        assert await _pending(await harness.instance()) == 1

    async def test_an_exception_comes_through_as_it_is(self, harness: StoresHarness) -> None:
        """The transaction is rolled back, and the connection can be used again."""
        stores = harness.first
        error = LookupError("the user's own")
        for _ in range(20):
            with pytest.raises(LookupError) as caught:
                async with stores.database.begin() as db_tx:
                    await stores[OUTBOX].stage(db_tx, [outgoing("k")])
                    raise error
            assert caught.value is error
        assert await _pending(stores) == 0

    async def test_cancellations_leave_no_connection_behind(self, harness: StoresHarness) -> None:
        """At any point, and more often than there are connections."""
        stores = harness.first

        async def work() -> None:
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage(db_tx, [outgoing("k")])
                await asyncio.Event().wait()

        for turn in range(30):
            task = asyncio.create_task(work())
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(30), stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("k")])
        assert await _pending(stores) == 1

    async def test_a_transaction_that_cannot_begin_says_so_in_time(self, harness: StoresHarness) -> None:
        """`Unavailable` after the time limit of pool or lock; it works again when another one has ended."""
        stores = await harness.instance(pool_timeout_seconds=1.0, lock_timeout_seconds=1.0)
        async with AsyncExitStack() as held:
            with pytest.raises(Unavailable):
                async with asyncio.timeout(60):
                    for _ in range(50):
                        await held.enter_async_context(stores.database.begin())
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("k")])

    async def test_upgrade_is_done_once(self, harness: StoresHarness) -> None:
        """A second call, also by another instance, does nothing."""
        other = await harness.instance()
        assert await harness.first.database.pending() == []
        assert await harness.first.database.upgrade() == []
        assert await other.database.upgrade() == []
        assert await other.database.defects() == []
        assert await other.database.repair() == []

    async def test_a_database_is_marked_with_its_service(self, harness: StoresHarness) -> None:
        """The first service that upgrades it by name owns it, for all instances; another is refused with both names."""
        database, other = harness.first.database, (await harness.instance()).database
        assert await database.owner() is None
        await database.upgrade("orders")
        assert await other.owner() == "orders"
        with pytest.raises(ConfigurationError, match="belongs to 'orders', and this is 'billing'") as caught:
            await other.upgrade("billing")
        assert "freehold db mark billing --instead-of orders" in caught.value.hint
        assert database.features.apart in caught.value.hint
        assert await other.upgrade("orders") == []
        assert await other.upgrade() == []
        assert await database.owner() == "orders"

    async def test_of_services_that_come_at_once_one_owns_it(self, harness: StoresHarness) -> None:
        """All others are refused; no two services both own it."""
        names = [f"service-{number}" for number in range(4)]
        databases = [(await harness.instance()).database for _ in names]
        outcomes = await asyncio.gather(
            *(database.upgrade(name) for database, name in zip(databases, names, strict=True)), return_exceptions=True
        )
        owner = await harness.first.database.owner()
        for name, outcome in zip(names, outcomes, strict=True):
            assert outcome == [] if name == owner else isinstance(outcome, ConfigurationError)

    async def test_a_renamed_service_is_marked_by_command(self, harness: StoresHarness) -> None:
        """In the caller's transaction, and only if the former name is right."""
        database = harness.first.database
        await database.upgrade("orders")
        with pytest.raises(ConfigurationError, match="billing"):
            async with database.begin() as db_tx:
                await database.mark(db_tx, "sales", instead_of="billing")
        async with database.begin() as db_tx:
            await database.mark(db_tx, "sales", instead_of="orders")
        assert await database.owner() == "sales"
        assert await database.upgrade("sales") == []

    async def test_ping_and_open_and_close_may_be_repeated(self, harness: StoresHarness) -> None:
        """A closed database can be opened again."""
        database = (await harness.instance()).database
        await database.ping(5)
        await database.open()
        await database.close()
        await database.close()
        with pytest.raises(ConfigurationError):
            async with database.begin():
                pass
        await database.open()
        await database.ping(5)

    async def test_a_probe_writes_the_same_row_each_time(self, harness: StoresHarness) -> None:
        """Called often and by several processes at once, it uses no more space, and no runner finds work in it."""
        other = await harness.instance()
        for _ in range(3):
            await asyncio.gather(harness.first.database.probe(10.0), other.database.probe(10.0))
        assert len(await harness.first[LEASES].list("")) <= 1
        assert await _pending(harness.first) == 0

    async def test_a_probe_of_a_database_that_is_closed_is_refused(self, harness: StoresHarness) -> None:
        """Like every other call."""
        database = (await harness.instance()).database
        await database.close()
        with pytest.raises(ConfigurationError):
            await database.probe(1.0)

    async def test_what_cannot_be_joined_is_refused(self, harness: StoresHarness) -> None:
        """With an error that says what can be enlisted."""
        with pytest.raises(ConfigurationError):
            harness.first.database.enlist(object())

    async def test_errors_of_others_are_not_diagnosed(self, harness: StoresHarness) -> None:
        """`translate_error` returns None for errors that do not come from the database."""
        for error in (ValueError("x"), OSError("x"), TimeoutError("x"), KeyError("x")):
            assert harness.first.database.translate_error(error) is None

    async def test_examine_finds_no_fault_without_a_remedy(self, harness: StoresHarness) -> None:
        """Every result has a subject and a detail; one that is not ok has a fix."""
        findings = await harness.first.database.run_checks()
        assert findings
        for finding in findings:
            assert finding.subject
            assert finding.detail
            assert finding.ok or finding.fix
