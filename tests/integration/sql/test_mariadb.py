"""What MariaDB does in a way of its own: half of a transaction after an error, answers of a call that was cancelled,
keys that differ in case or blanks alone, the size of a packet, DDL that commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from freehold.adapters.mariadb.database import MariaDbDatabase
from freehold.conformance.outbox import outgoing
from freehold.database import DatabaseOptions
from freehold.errors import (
    ConcurrencyConflict,
    ConfigurationError,
    DatabaseError,
    FreeholdError,
    OperationTimeout,
    TransactionEnded,
    TransactionMisused,
    Unavailable,
)
from freehold.leases.store import LEASES
from freehold.migrations import Migration
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL, sql_of
from freehold_shop.servers import RunningServer

pytestmark = pytest.mark.servers

_OPTIONS = DatabaseOptions(lock_timeout_seconds=1.0, statement_timeout_seconds=3.0, pool_size=4)


@pytest.fixture
async def stores(mariadb_url: str) -> AsyncIterator[Stores]:
    made = open_stores(mariadb_url, _OPTIONS)
    await made.database.open()
    await made.database.upgrade()
    async with made[SQL].direct() as sql:
        await sql.execute("CREATE TABLE thing (id INT PRIMARY KEY, n INT NOT NULL)")
        await sql.execute("INSERT INTO thing (id, n) VALUES (1, 0), (2, 0)")
    yield made
    await made.database.close()


async def _things(stores: Stores) -> list[tuple[object, ...]]:
    async with stores[SQL].direct() as sql:
        return [tuple(row) for row in await sql.fetch("SELECT id, n FROM thing ORDER BY id")]


@pytest.mark.parametrize("way", ["sql", "connection"])
async def test_a_lock_timeout_ends_the_whole_transaction(stores: Stores, way: str) -> None:
    """The engine undoes one statement, and would commit the rest although the block did not see the error."""
    database = stores.database
    async with database.begin() as holder:
        await sql_of(holder).execute("UPDATE thing SET n = 7 WHERE id = 2")
        with pytest.raises((ConcurrencyConflict, TransactionEnded)):
            async with database.begin() as db_tx:
                await sql_of(db_tx).execute("UPDATE thing SET n = 1 WHERE id = 1")
                with suppress(Exception):
                    if way == "sql":
                        await sql_of(db_tx).execute("UPDATE thing SET n = 1 WHERE id = 2")
                    else:
                        await db_tx.native.exec_driver_sql("UPDATE thing SET n = 1 WHERE id = 2")
    assert await _things(stores) == [(1, 0), (2, 7)]


async def test_a_deadlock_ends_the_whole_transaction(stores: Stores) -> None:
    """Of both; what comes after in the one that was chosen would commit by itself."""
    both = asyncio.Barrier(2)

    async def change(first: int, second: int) -> None:
        async with stores.database.begin() as db_tx:
            sql = sql_of(db_tx)
            await sql.execute("UPDATE thing SET n = n + 1 WHERE id = $1", (first,))
            await both.wait()
            with suppress(ConcurrencyConflict):
                await sql.execute("UPDATE thing SET n = n + 1 WHERE id = $1", (second,))
            with suppress(FreeholdError):
                await sql.execute("INSERT INTO thing (id, n) VALUES ($1, 0)", (10 + first,))

    outcomes = await asyncio.gather(change(1, 2), change(2, 1), return_exceptions=True)
    lost = [outcome for outcome in outcomes if outcome is not None]
    assert [type(outcome) for outcome in lost] == [TransactionEnded]
    assert [row[1] for row in await _things(stores) if row[0] in {1, 2}] == [1, 1]
    assert len(await _things(stores)) == 3


async def test_a_call_that_is_cut_at_any_await_leaves_its_answer_to_nobody(stores: Stores) -> None:
    """Each call that follows gets the rows that it asked for."""
    for steps in range(60):

        async def ask(number: int = steps) -> None:
            async with stores[SQL].direct() as sql:
                await sql.fetch("SELECT $1, 'of somebody else'", (-number - 1,))
            async with stores.database.begin() as db_tx:
                await sql_of(db_tx).fetch("SELECT $1, 'of somebody else'", (-number - 1,))

        task = asyncio.create_task(ask())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with stores[SQL].direct() as sql:
            assert [tuple(row) for row in await sql.fetch("SELECT $1, 'mine'", (steps,))] == [(steps, "mine")]
        async with stores.database.begin() as db_tx:
            rows = await sql_of(db_tx).fetch("SELECT $1, 'mine'", (steps,))
            assert [tuple(row) for row in rows] == [(steps, "mine")]


async def test_keys_that_differ_in_case_or_blanks_are_different(stores: Stores) -> None:
    names = ["a", "A", "a ", "á", "\N{FULLWIDTH LATIN SMALL LETTER A}"]
    await stores[LEASES].ensure(names)
    records = await stores[LEASES].list("")
    assert {record.name for record in records} >= set(names)
    taken = await stores[LEASES].acquire(next(each for each in records if each.name == "a"), "me")
    assert taken is not None
    assert {record.name for record in await stores[LEASES].list("") if record.owner == "me"} == {"a"}


async def test_doctor_finds_keys_of_the_services_tables_that_ignore_case(stores: Stores) -> None:
    async with stores[SQL].direct() as sql:
        for name, collation in (
            ("loose", "utf8mb4_general_ci"),
            ("strict", "utf8mb4_nopad_bin"),
            ("padded", "utf8mb4_bin"),
        ):
            await sql.execute(
                f"CREATE TABLE {name} (id VARCHAR(20) COLLATE {collation} PRIMARY KEY, title VARCHAR(20))"
            )
    (found,) = [each for each in await stores.database.run_checks() if each.subject == "keys"]
    assert found.ok
    assert found.detail == "take different texts for one: loose.id (utf8mb4_general_ci), padded.id (utf8mb4_bin)"
    assert "utf8mb4_nopad_bin" in found.fix


async def test_a_statement_that_no_packet_holds_is_refused_before_it_is_sent(stores: Stores) -> None:
    """The server would close the connection; bytes are told by their number alone."""
    with pytest.raises(DatabaseError, match="max_allowed_packet"):
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("k", b"x" * 17_000_000)])
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing("k", b"\x00\xff'\\" * 1_000_000)])
    assert (await stores[OUTBOX].stats()).pending == 1


async def test_a_statement_has_a_time_limit(stores: Stores) -> None:
    with pytest.raises(OperationTimeout):
        async with stores[SQL].direct() as sql:
            await sql.fetch("SELECT SLEEP(20)")
    assert len(await _things(stores)) == 2


async def test_what_defines_a_table_cannot_be_part_of_a_transaction(stores: Stores) -> None:
    """It commits what was before it: the block is told, instead of believing that it could be rolled back."""
    with pytest.raises(TransactionMisused):
        async with stores.database.begin() as db_tx:
            await sql_of(db_tx).execute("CREATE TABLE other (id INT)")


@pytest.mark.empty_database
async def test_a_migration_that_fails_is_begun_again(mariadb_url: str) -> None:
    """Its statements commit one by one; a repeatable one is carried out again."""
    first = "CREATE TABLE IF NOT EXISTS note (id INT PRIMARY KEY)"
    broken = Migration("001-note", {"mariadb": [first, "INSERT INTO nowhere VALUES (1)"]})
    database = open_stores(mariadb_url, _OPTIONS, [broken]).database
    await database.open()
    with pytest.raises(DatabaseError, match=r"statement 2 of 2.*the 1 statements before it are committed"):
        await database.upgrade("orders")
    assert await database.pending() == ["service/001-note"]
    await database.close()
    mended = Migration("001-note", {"mariadb": [first, "INSERT INTO note VALUES (1)"]})
    database = open_stores(mariadb_url, _OPTIONS, [mended]).database
    await database.open()
    assert await database.upgrade("orders") == ["service/001-note"]
    assert await database.upgrade("orders") == []
    await database.close()


@pytest.mark.empty_database
async def test_an_upgrade_that_was_cut_after_any_statement_is_finished_by_the_next(mariadb_url: str) -> None:
    """From the first table of the record on."""
    whole = open_stores(mariadb_url, _OPTIONS).database
    assert isinstance(whole, MariaDbDatabase)
    await whole.open()
    packaged = whole._packaged
    statements = [*packaged.record, *(each for step in packaged.tables for each in step.for_dialect("mariadb"))]
    for cut in range(1, 5):
        async with whole.direct() as sql:
            for statement in statements[:cut]:
                await sql.execute(statement)
        await whole.upgrade()
        assert await whole.pending() == []
        assert await whole.defects() == []
        async with whole.direct() as sql:
            for (table,) in await sql.fetch("SHOW TABLES"):
                await sql.execute(f"DROP TABLE {table}")
    await whole.close()


async def test_the_answer_to_a_commit_that_is_lost_leaves_the_outcome_unknown(
    disposable_mariadb: RunningServer,
) -> None:
    stores = open_stores(disposable_mariadb.url, _OPTIONS)
    await stores.database.open()
    async with stores[SQL].direct() as sql:
        await sql.execute("CREATE TABLE thing (id INT PRIMARY KEY, n INT NOT NULL)")
    with pytest.raises(Unavailable, match="not known"):
        async with stores.database.begin() as db_tx:
            await sql_of(db_tx).execute("INSERT INTO thing (id, n) VALUES (1, 1)")
            disposable_mariadb.kill()
    disposable_mariadb.start()
    assert await _things(stores) in ([], [(1, 1)])
    await stores.database.close()


async def test_a_server_that_is_read_only_is_an_outage(disposable_mariadb: RunningServer) -> None:
    """Until it is the primary again."""
    url = disposable_mariadb.url
    stores = open_stores(url, _OPTIONS)
    await stores.database.open()
    async with stores[SQL].direct() as sql:
        await sql.execute("CREATE TABLE thing (id INT PRIMARY KEY, n INT NOT NULL)")
        await sql.execute("CREATE USER clerk@'%' IDENTIFIED BY 'right'")
        await sql.execute("GRANT ALL ON mysql.* TO clerk@'%'")
        await sql.execute("SET GLOBAL read_only = ON")
        clerk = open_stores(f"mariadb://clerk:right@127.0.0.1:{disposable_mariadb.port}/mysql", _OPTIONS)
        await clerk.database.open()
        with pytest.raises(Unavailable, match="read-only"):
            async with clerk[SQL].direct() as theirs:
                await theirs.execute("INSERT INTO thing (id, n) VALUES (1, 1)")
        await sql.execute("SET GLOBAL read_only = OFF")
    async with clerk[SQL].direct() as theirs:
        await theirs.execute("INSERT INTO thing (id, n) VALUES (1, 1)")
    await clerk.database.close()
    await stores.database.close()


async def test_who_may_not_connect_is_told_what_to_look_at(mariadb_server: RunningServer) -> None:
    for url in (f"mariadb://nobody:wrong@127.0.0.1:{mariadb_server.port}/mysql", f"{mariadb_server.url}_nowhere"):
        with pytest.raises(ConfigurationError):
            await open_stores(url, _OPTIONS).database.open()
    with pytest.raises(Unavailable):
        await open_stores("mariadb://nobody@127.0.0.1:1/mysql", _OPTIONS).database.open()


async def test_a_grant_covers_the_named_database_and_no_other(stores: Stores, mariadb_url: str) -> None:
    """`_` in the name of a database stands for any letter in a GRANT."""
    suffix = mariadb_url.rpartition("_")[2]
    named, other, user = f"till_{suffix}", f"tillx{suffix}", f"clerk{suffix}"
    (grant,) = await stores.database.grants(user, named)
    async with stores[SQL].direct() as sql:
        try:
            for statement in (
                f"CREATE DATABASE {named}",
                f"CREATE DATABASE {other}",
                f"CREATE USER {user} IDENTIFIED BY 'x'",
                grant,
            ):
                await sql.execute(statement)
            place = mariadb_url.rpartition("@")[2].rpartition("/")[0]
            clerk = open_stores(f"mariadb://{user}:x@{place}/{named}", _OPTIONS)
            try:
                await clerk.database.open()
                async with clerk[SQL].direct() as theirs:
                    seen = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'till%'"
                    assert [row[0] for row in await theirs.fetch(seen)] == [named]
            finally:
                await clerk.database.close()
        finally:
            for statement in (
                f"DROP USER IF EXISTS {user}",
                f"DROP DATABASE IF EXISTS {named}",
                f"DROP DATABASE IF EXISTS {other}",
            ):
                await sql.execute(statement)
