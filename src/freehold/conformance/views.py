"""The suite of materialized views. Bind it with a `harness` fixture, see `freehold.conformance.harness`.

The suite makes the tables that a view is of in SQL; an engine that has views speaks it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.errors import ConcurrencyConflict, ConfigurationError, DatabaseError
from freehold.ports import Stores
from freehold.projection.view_store import VIEWS, MaterializedView
from freehold.sql import SQL

__all__ = ["ViewStoreConformance"]

_VIEW: Final = MaterializedView(
    "suite_by_day", "SELECT day, count(*) AS sales, max(cents) AS most FROM suite_sale GROUP BY day;", key=("day",)
)
_ADD: Final = "INSERT INTO suite_sale (day, cents) VALUES ($1, $2)"


async def _filled(harness: StoresHarness) -> Stores:
    async with harness.first[SQL].direct() as sql:
        await sql.execute("CREATE TABLE suite_sale (day INTEGER NOT NULL, cents INTEGER NOT NULL)")
        for row in ((1, 9751), (1, 5), (2, 7)):
            await sql.execute(_ADD, row)
    return harness.first


async def _sold(stores: Stores) -> None:
    async with stores[SQL].direct() as sql:
        await sql.execute(_ADD, (3, 1))


async def _rows(stores: Stores, columns: str = "day, sales, most") -> list[tuple[object, ...]]:
    async with stores[SQL].direct() as sql:
        return [tuple(row) for row in await sql.fetch(f"SELECT {columns} FROM suite_by_day ORDER BY day")]  # noqa: S608 - the suite's own


class ViewStoreConformance:
    """What every store of materialized views must do."""

    async def test_a_view_keeps_its_result_until_it_is_refreshed(self, harness: StoresHarness) -> None:
        """Every instance reads the result, and the state of the view."""
        stores, other = await _filled(harness), await harness.instance()
        built = await stores[VIEWS].refresh(_VIEW)
        assert (built.name, built.digest, built.failures, built.error) == (_VIEW.name, _VIEW.digest, 0, "")
        assert (built.refreshed_at, built.attempted_seconds) == (harness.clock.now(), 0.0)
        assert await _rows(other) == [(1, 2, 9751), (2, 1, 7)]
        await _sold(stores)
        assert len(await _rows(other)) == 2
        harness.clock.advance(60)
        assert list(await other[VIEWS].states()) == [replace(built, attempted_seconds=60.0)]
        refreshed = await other[VIEWS].refresh(_VIEW)
        assert await _rows(stores) == [(1, 2, 9751), (2, 1, 7), (3, 1, 1)]
        assert refreshed.refreshed_at == harness.clock.now()
        assert refreshed.duration_seconds is not None

    async def test_another_definition_builds_it_anew(self, harness: StoresHarness) -> None:
        """It replaces the old view, also with other columns."""
        stores = await _filled(harness)
        await stores[VIEWS].refresh(_VIEW)
        other = replace(_VIEW, query="SELECT day, min(cents) AS least FROM suite_sale GROUP BY day")
        for _ in range(2):
            assert (await stores[VIEWS].refresh(other)).digest == other.digest
            assert await _rows(stores, "day, least") == [(1, 5), (2, 7)]

    async def test_a_failure_is_kept_and_the_old_rows_stay(self, harness: StoresHarness) -> None:
        """Here two rows have the same key. The stored error contains no values, and is deleted by the next refresh."""
        stores = await _filled(harness)
        built = await stores[VIEWS].refresh(_VIEW)
        broken = replace(_VIEW, query="SELECT day, cents AS sales, cents AS most FROM suite_sale")
        for failures in (1, 2):
            harness.clock.advance(60)
            with pytest.raises(DatabaseError):
                await stores[VIEWS].refresh(broken)
            (state,) = await stores[VIEWS].states()
            assert (state.failures, state.refreshed_at, state.digest) == (failures, built.refreshed_at, built.digest)
            assert state.attempted_seconds == 0.0
            assert state.error.startswith("DatabaseError: ")
            assert "9751" not in state.error
        assert await _rows(stores) == [(1, 2, 9751), (2, 1, 7)]
        assert (await stores[VIEWS].refresh(_VIEW)).failures == 0

    async def test_a_view_that_was_never_built_shows_its_error(self, harness: StoresHarness) -> None:
        """And it is built once its query works."""
        with pytest.raises(DatabaseError):
            await harness.first[VIEWS].refresh(_VIEW)
        (state,) = await harness.first[VIEWS].states()
        assert (state.failures, state.refreshed_at, state.duration_seconds, state.digest) == (1, None, None, "")
        assert (await (await _filled(harness))[VIEWS].refresh(_VIEW)).failures == 0

    async def test_a_name_that_is_taken_is_left_alone(self, harness: StoresHarness) -> None:
        """A table of the service with that name stays, after a refresh and after a drop."""
        stores = await _filled(harness)
        taken = replace(_VIEW, name="suite_sale")
        with pytest.raises(ConfigurationError, match="'suite_sale' exists already"):
            await stores[VIEWS].refresh(taken)
        await stores[VIEWS].drop("suite_sale")
        async with stores[SQL].direct() as sql:
            assert len(await sql.fetch("SELECT day FROM suite_sale")) == 3

    async def test_dropped_means_gone(self, harness: StoresHarness) -> None:
        """The view and its state; a second drop finds none."""
        stores = await _filled(harness)
        await stores[VIEWS].refresh(_VIEW)
        assert await stores[VIEWS].drop(_VIEW.name)
        assert not await stores[VIEWS].drop(_VIEW.name)
        assert list(await stores[VIEWS].states()) == []
        with pytest.raises(DatabaseError):
            await _rows(stores)

    async def test_views_are_listed_by_name(self, harness: StoresHarness) -> None:
        """All that were ever built or failed."""
        stores = await _filled(harness)
        for name in ("suite_b", "suite_a", "suite_c"):
            await stores[VIEWS].refresh(replace(_VIEW, name=name))
        assert [state.name for state in await stores[VIEWS].states()] == ["suite_a", "suite_b", "suite_c"]

    async def test_of_two_that_refresh_at_once_none_does_harm(self, harness: StoresHarness) -> None:
        """Each refreshes the view, or gets a conflict because another one does; that is not recorded as a failure."""
        stores, other = await _filled(harness), await harness.instance()
        await stores[VIEWS].refresh(_VIEW)
        await _sold(stores)
        outcomes = await asyncio.gather(
            *(each[VIEWS].refresh(_VIEW) for each in (stores, other, stores)), return_exceptions=True
        )
        failed = [each for each in outcomes if isinstance(each, BaseException)]
        assert all(isinstance(each, ConcurrencyConflict) for each in failed)
        assert len(failed) < len(outcomes)
        assert len(await _rows(stores)) == 3
        (state,) = await stores[VIEWS].states()
        assert state.failures == 0
