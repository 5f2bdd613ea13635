"""Materialized views: PostgreSQL's own, and SQLite's emulation of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.runtime.trial import eventually

from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, ConfigurationError, DatabaseError, DeclarationError, OperationTimeout
from freehold.ports import Stores
from freehold.projection.view_runner import ViewRunner
from freehold.projection.view_store import VIEWS, MaterializedView
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL, sql_of
from freehold.testing import ManualClock

SALES = MaterializedView("sales_by_day", "SELECT day, sum(cents) AS cents FROM sale GROUP BY day;", key=("day",))

# Where the machine slept through the work that another was to meet, it is done again.
_TRIES = 10


class Cases:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def stores(self, url: str, clock: ManualClock) -> AsyncIterator[Stores]:
        made = open_stores(url)
        await made.database.open()
        await made.database.upgrade()
        await made.database.close()
        options = DatabaseOptions(statement_timeout_seconds=0.4)
        stores = open_stores(url, options, clock=clock)
        await stores.database.open()
        await write(stores, "CREATE TABLE sale (day integer, cents integer)")
        await write(stores, "INSERT INTO sale VALUES (1, 10), (1, 5), (2, 7)")
        yield stores
        await stores.database.close()

    async def test_it_is_built_and_refreshed(self, stores: Stores, clock: ManualClock) -> None:
        built = await stores[VIEWS].refresh(SALES)
        assert await read(stores, "SELECT day, cents FROM sales_by_day ORDER BY day") == [(1, 15), (2, 7)]
        assert (built.refreshed_at, built.failures, built.error) == (clock.now(), 0, "")
        await write(stores, "INSERT INTO sale VALUES (3, 1)")
        assert len(await read(stores, "SELECT * FROM sales_by_day")) == 2
        clock.advance(60)
        assert list(await stores[VIEWS].states()) == [replace(built, attempted_seconds=60.0)]
        refreshed = await stores[VIEWS].refresh(SALES)
        assert len(await read(stores, "SELECT * FROM sales_by_day")) == 3
        assert refreshed.refreshed_at == clock.now()
        assert refreshed.duration_seconds is not None
        assert refreshed.attempted_seconds == 0.0

    async def test_another_definition_builds_it_anew(self, stores: Stores) -> None:
        await stores[VIEWS].refresh(SALES)
        for _ in range(2):
            await stores[VIEWS].refresh(replace(SALES, query="SELECT day, count(*) AS sales FROM sale GROUP BY day"))
            assert await read(stores, "SELECT day, sales FROM sales_by_day ORDER BY day") == [(1, 2), (2, 1)]

    async def test_a_failure_is_kept_and_the_old_rows_stay(self, stores: Stores, clock: ManualClock) -> None:
        built = await stores[VIEWS].refresh(SALES)
        broken = replace(SALES, query="SELECT day, cents FROM sale")
        for failures in (1, 2):
            clock.advance(60)
            with pytest.raises(DatabaseError):
                await stores[VIEWS].refresh(broken)  # two sales of one day: the key is none
            (state,) = await stores[VIEWS].states()
            assert (state.failures, state.refreshed_at, state.digest) == (failures, built.refreshed_at, built.digest)
            assert state.error.startswith("DatabaseError: ")
            assert "15" not in state.error
        assert await read(stores, "SELECT day, cents FROM sales_by_day ORDER BY day") == [(1, 15), (2, 7)]
        assert (await stores[VIEWS].refresh(SALES)).failures == 0

    async def test_a_view_that_never_was_built_shows_its_error(self, stores: Stores) -> None:
        with pytest.raises(DatabaseError):
            await stores[VIEWS].refresh(replace(SALES, query="SELECT nothing FROM nowhere"))
        (state,) = await stores[VIEWS].states()
        assert (state.failures, state.refreshed_at, state.digest) == (1, None, "")
        await stores[VIEWS].refresh(SALES)

    async def test_a_name_that_is_taken_is_left_alone(self, stores: Stores) -> None:
        with pytest.raises(ConfigurationError, match="'sale' exists already"):
            await stores[VIEWS].refresh(replace(SALES, name="sale"))
        assert len(await read(stores, "SELECT * FROM sale")) == 3

    async def test_it_has_a_time_limit_of_its_own(self, stores: Stores) -> None:
        with pytest.raises(OperationTimeout):
            await stores[VIEWS].refresh(replace(SALES, query=ENDLESS, timeout_seconds=0.05))
        (state,) = await stores[VIEWS].states()
        assert state.error.startswith("OperationTimeout: ")
        # Business transactions on the same connections have their own limit again.
        for _ in range(3):
            with pytest.raises(OperationTimeout):
                async with stores.database.begin() as db_tx:
                    await sql_of(db_tx).fetch(f"WITH slow AS ({ENDLESS}) SELECT * FROM slow")

    async def test_dropped_means_gone(self, stores: Stores) -> None:
        await stores[VIEWS].refresh(SALES)
        assert await stores[VIEWS].drop("sales_by_day")
        assert not await stores[VIEWS].drop("sales_by_day")
        assert await stores[VIEWS].states() == []
        with pytest.raises(DatabaseError):
            await read(stores, "SELECT * FROM sales_by_day")

    async def test_the_runner_refreshes_what_is_due_and_held(self, stores: Stores, clock: ManualClock) -> None:
        held = {"sales_by_day"}
        other = replace(SALES, name="others_by_day", refresh_seconds=60)
        broken = replace(SALES, name="broken", query="SELECT 1 FROM nowhere", refresh_seconds=60)
        views = [replace(SALES, refresh_seconds=60), other, broken]
        runner = ViewRunner("till", stores[VIEWS], views, lambda: held, clock=clock)
        await runner.start()
        try:
            await eventually(lambda: runner.refreshed == 1)
            assert [state.name for state in await stores[VIEWS].states()] == ["sales_by_day"]
            held.update({"others_by_day", "broken"})
            clock.advance(61)
            await eventually(lambda: runner.refreshed == 3)
            states = {state.name: state for state in await stores[VIEWS].states()}
            assert states["broken"].failures >= 1
            assert states["sales_by_day"].refreshed_at == clock.now()
        finally:
            await runner.stop()


class TestOnSqlite(Cases):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/service.db"

    async def test_it_is_called_an_emulation(self, stores: Stores) -> None:
        assert (await stores[VIEWS].refresh(SALES)).emulated

    async def test_the_event_loop_goes_on_during_a_refresh(self, stores: Stores) -> None:
        turns = 0
        for _ in range(_TRIES):
            refresh = asyncio.create_task(stores[VIEWS].refresh(replace(SALES, query=SLOW)))
            while not refresh.done():
                turns += 1
                assert await read(stores, "SELECT count(*) FROM sale") == [(3,)]
            await refresh
            if turns > 3:
                break
        assert turns > 3


@pytest.mark.servers
class TestOnPostgres(Cases):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    async def test_readers_do_not_wait_for_a_refresh(self, stores: Stores) -> None:
        slow = replace(
            SALES,
            query="SELECT day, sum(cents) AS cents, max(slept) FROM sale,"
            " (SELECT pg_sleep(0.7)::text AS slept) AS s GROUP BY day",
        )
        assert not (await stores[VIEWS].refresh(slow)).emulated
        await write(stores, "INSERT INTO sale VALUES (3, 1)")
        refresh = asyncio.create_task(stores[VIEWS].refresh(slow))
        reads = 0
        while not refresh.done():
            # The statement's limit is 0.4 s, so a reader that waited for the refresh would fail.
            rows = await read(stores, "SELECT * FROM sales_by_day")
            reads += len(rows) == 2
        await refresh
        assert reads > 0
        assert len(await read(stores, "SELECT * FROM sales_by_day")) == 3

    @pytest.mark.parametrize(
        "statement",
        [
            "DROP MATERIALIZED VIEW sales_by_day",
            "DROP INDEX sales_by_day__key",
            "REFRESH MATERIALIZED VIEW sales_by_day WITH NO DATA",
        ],
    )
    async def test_what_a_person_took_away_is_built_again(self, stores: Stores, statement: str) -> None:
        await stores[VIEWS].refresh(SALES)
        await write(stores, statement)
        for day in (3, 4):
            await write(stores, f"INSERT INTO sale VALUES ({day}, 1)")
            assert (await stores[VIEWS].refresh(SALES)).failures == 0
            assert len(await read(stores, "SELECT * FROM sales_by_day")) == day

    async def test_two_do_not_refresh_at_once(self, stores: Stores, url: str) -> None:
        slow = replace(SALES, query="SELECT day, pg_sleep(0.3)::text AS slept FROM sale GROUP BY day")
        refused = False
        for _ in range(_TRIES):
            first = asyncio.create_task(stores[VIEWS].refresh(slow))
            async with stores[SQL].direct() as sql:
                while not (await sql.fetch("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))[0][0]:
                    if first.done():
                        break
            try:
                await stores[VIEWS].refresh(slow)
            except ConcurrencyConflict:
                refused = True
            assert (await first).failures == 0
            if refused:
                break
        assert refused
        (state,) = await stores[VIEWS].states()
        assert (state.failures, state.error) == (0, "")


def test_declarations_that_cannot_be_meant() -> None:
    for changes in (
        {"name": "sales; DROP TABLE sale"},
        {"key": ()},
        {"key": "day"},
        {"key": ('day"',)},
        {"query": " "},
        {"refresh_seconds": 0},
        {"timeout_seconds": -1},
    ):
        with pytest.raises(DeclarationError):
            replace(SALES, **changes)


async def test_when_a_view_is_due(tmp_path: Path) -> None:
    stores = open_stores(f"sqlite:///{tmp_path}/service.db")
    await stores.database.open()
    await stores.database.upgrade()
    plain = MaterializedView("ones", "SELECT 1 AS one", key=("one",))
    scheduled = replace(plain, refresh_seconds=60)
    state = replace(await stores[VIEWS].refresh(plain), attempted_seconds=10.0)
    await stores.database.close()
    assert plain.due_seconds(None) == 0.0
    assert plain.due_seconds(state) is None
    assert scheduled.due_seconds(state) == 50.0
    assert scheduled.due_seconds(replace(state, attempted_seconds=70.0)) == 0.0
    assert replace(plain, query="SELECT 2 AS one").due_seconds(state) == 0.0
    assert scheduled.due_seconds(replace(state, failures=1)) == 0.0
    assert scheduled.due_seconds(replace(state, failures=3)) == 10.0
    assert scheduled.due_seconds(replace(state, failures=30)) == 50.0


SLOW = """\
WITH RECURSIVE n(day) AS (SELECT 1 UNION ALL SELECT day + 1 FROM n WHERE day < 1500000)
SELECT day FROM n WHERE day % 500000 = 0"""
"""Takes about a second on both engines."""
ENDLESS = SLOW.replace("1500000", "150000000")
"""Takes longer than any time limit, on every machine."""


async def write(stores: Stores, statement: str) -> None:
    async with stores.database.begin() as db_tx:
        await sql_of(db_tx).execute(statement)


async def read(stores: Stores, statement: str) -> list[tuple[object, ...]]:
    async with stores[SQL].direct() as sql:
        return [tuple(row) for row in await sql.fetch(statement)]
