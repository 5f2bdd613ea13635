"""Every query of every store beside few rows and beside many: it reads as much, whatever the planner knows.

SQLite's steps and PostgreSQL's rows are counted, not timed: a wrong plan is seen on any machine.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.conformance.sql.beside import ALLOWED, ALLOWED_ON_POSTGRES, Statistics, on_postgres, on_sqlite
from tests.conformance.sql.queries import QUERIES, Seeded
from tests.conformance.sql.recorder import Recorder, recording

from freehold.ports import Port
from freehold.projection.read_model_store import READ_MODELS
from freehold.projection.view_store import VIEWS
from freehold.reconcile.dataset_store import DATASETS

_FEW, _MANY = 500, 5000
# A tree gets a level deeper, a page is full: so much more is no growth. Ten times as many rows is far from both.
_FACTOR, _STEPS_MORE, _ROWS_MORE = 2, 500, 60
STATISTICS: tuple[Statistics, ...] = ("none", "of an empty table", "fresh")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    with recording(monkeypatch) as recorder:
        yield recorder


@pytest.mark.parametrize("statistics", STATISTICS)
async def test_no_query_takes_more_steps_beside_more_rows_on_sqlite(
    recorder: Recorder, tmp_path: Path, statistics: Statistics
) -> None:
    async with AsyncExitStack() as stack:
        few, many = [await stack.enter_async_context(on_sqlite(tmp_path, rows, statistics)) for rows in (_FEW, _MANY)]
        grown = await _grown(few, many, recorder, lambda: recorder.steps, _STEPS_MORE)
    assert {name: why for name, why in grown.items() if name not in ALLOWED} == {}


@pytest.mark.servers
@pytest.mark.parametrize("statistics", STATISTICS)
async def test_no_query_reads_more_rows_beside_more_rows_on_postgres(
    recorder: Recorder, postgres_url: str, statistics: Statistics
) -> None:
    async with AsyncExitStack() as stack:
        few = await stack.enter_async_context(on_postgres(postgres_url, _FEW, statistics, explained=True))
        other = await stack.enter_async_context(_another(postgres_url))
        many = await stack.enter_async_context(on_postgres(other, _MANY, statistics, explained=True))
        grown = await _grown(few, many, recorder, lambda: recorder.read, _ROWS_MORE)
    assert {name: why for name, why in grown.items() if name not in ALLOWED_ON_POSTGRES} == {}


async def test_every_method_of_every_store_is_among_the_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_sqlite(tmp_path, 100, "none") as seeded:
        called: set[tuple[Port[Any], str]] = set()
        public = {
            (port, method)
            for port in seeded.stores
            for method, _ in inspect.getmembers(seeded.stores[port], inspect.iscoroutinefunction)
            if not method.startswith("_")
        }
        for port, method in public:
            store = seeded.stores[port]
            monkeypatch.setattr(store, method, _noted(getattr(store, method), called, (port, method)))
        for query in QUERIES.values():
            await query(seeded)
    # A view is filled by its own statement, on tables of the service's; that and what drops it are rare. Datasets lie
    # in tables of the service's, with the indexes that it gives them; read models do as well, and the rest is DDL.
    rare: set[tuple[Port[Any], str]] = {(VIEWS, "refresh"), (VIEWS, "drop")}
    rare |= {(DATASETS, each) for each in ("page", "rows", "repair")}
    rare |= {(READ_MODELS, each) for each in ("create", "drop", "show", "hide", "delete_rows")}
    assert public - called == rare


def _noted(original: Any, called: set[tuple[Port[Any], str]], what: tuple[Port[Any], str]) -> Any:
    async def call(*arguments: Any, **named: Any) -> Any:
        called.add(what)
        return await original(*arguments, **named)

    return call


async def _grown(
    few: Seeded, many: Seeded, recorder: Recorder, cost: Callable[[], Mapping[str, float]], more: int
) -> dict[str, str]:
    """Queries of which some statement costs more beside many rows, with it; each runs twice, as loops do."""
    grown = {}
    for name, query in QUERIES.items():
        costs = []
        for seeded in (few, many):
            for _ in range(2):
                await seeded.stores.database.ping(5.0)
                recorder.clear()
                await query(seeded)
            costs.append(cost())
        before, after = costs
        dear = {
            f"{before.get(statement, 0)} -> {number:g}: {' '.join(statement.split())}"
            for statement, number in after.items()
            if number > _FACTOR * before.get(statement, 0) + more
        }
        if dear:
            grown[name] = "\n".join(sorted(dear))
    return grown


@asynccontextmanager
async def _another(url: str) -> AsyncIterator[str]:
    """A second database beside the test's own."""
    name = url.rpartition("/")[2] + "_many"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield url.rpartition("/")[0] + f"/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
