"""What a page costs in rows and index entries that the database looks at, whatever it knows about the table."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from tests.integration.eventstore.opened import opened

from freehold.conformance.events_order import add, follow, new_event
from freehold.database import DatabaseOptions
from freehold.eventstore.store import EVENTS, EventFilter, Page
from freehold.ports import Stores

_EVENTS: Final = 60_000
_RARE: Final = 20_000
"""One event in so many is of the rare type, category and stream."""
_FILL: Final = f"""
INSERT INTO freehold_event (stream, version, category, bucket, type, schema_version, id, data, correlation_id, hlc,
    recorded_at)
SELECT s.category || '-' || i, 1, s.category, i % 256, s.type, 1, gen_random_uuid(), '{{}}', gen_random_uuid(), i, $2
FROM generate_series(1, $1::integer) AS i
CROSS JOIN LATERAL (
    SELECT CASE WHEN i % {_RARE} = 0 THEN 'rare' ELSE 'order' END AS category,
        CASE WHEN i % {_RARE} = 0 THEN 'a.rare' ELSE 'a.one' END AS type
) AS s ORDER BY i"""
_QUESTIONS: Final[dict[str, tuple[str, int]]] = {
    "all": ("SELECT freehold_event_tail(50000, 100, '{}', '{}', 0, 1, NULL, NULL)", 100),
    "one type": ("SELECT freehold_event_tail(100, 100, '{a.rare}', '{}', 0, 1, NULL, NULL)", 3),
    "types": ("SELECT freehold_event_tail(100, 100, '{a.rare,a.none,a.one}', '{}', 0, 1, NULL, NULL)", 100),
    "rare types": ("SELECT freehold_event_tail(100, 100, '{a.rare,a.none}', '{}', 0, 1, NULL, NULL)", 203),
    "categories": ("SELECT freehold_event_tail(100, 100, '{}', '{rare,order}', 0, 1, NULL, NULL)", 100),
    "category": ("SELECT freehold_event_tail(100, 100, '{}', '{rare}', 0, 1, NULL, NULL)", 3),
    "partition": ("SELECT freehold_event_tail(100, 10, '{}', '{}', 1, 4, NULL, NULL)", 41),
    "type and partition": ("SELECT freehold_event_tail(100, 10, '{a.rare}', '{}', 1, 4, NULL, NULL)", 4),
    "type and category": ("SELECT freehold_event_tail(100, 100, '{a.rare}', '{rare}', 0, 1, NULL, NULL)", 4),
    "stream": ("SELECT freehold_event_stream('order-77', 0, 100, 100, false)", 1),
    "stream backwards": ("SELECT freehold_event_stream('order-77', 0, 100, 100, true)", 1),
    "version": ("SELECT freehold_event_version('order-77')", 1),
    "count": ("SELECT freehold_event_count(0, 1000000, 100, '{a.rare}', '{}', 0, 1, NULL, NULL)", 3),
    "age": ("SELECT freehold_event_time(30000, '{a.rare}', '{}', 0, 1, NULL, NULL)", 1),
}
"""A question, and how many rows it has to look at (and a few for where the page ends)."""
_LOOKED_AT: Final = """
SELECT seq_scan, coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'freehold_event'"""


async def _looked_at(connection: Any, question: str) -> tuple[int, int]:
    """Scans of the whole table, and rows fetched by an index, for one question."""
    async with connection.transaction():
        before = await connection.fetchrow(_LOOKED_AT) or (0, 0)
        await connection.fetch(question)
        after = await connection.fetchrow(_LOOKED_AT) or (0, 0)
    return after[0] - before[0], after[1] - before[1]


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    options = DatabaseOptions(pool_size=1, statement_timeout_seconds=60.0)
    async with opened(postgres_url, options) as stores:
        yield stores


@pytest.mark.servers
@pytest.mark.parametrize("known", ["an empty table", "one type alone"])
async def test_plans_do_not_depend_on_statistics(stores: Stores, postgres_url: str, known: str) -> None:
    """Avoided: a plan made for an empty table, or for one of another shape, reads all of it once it has grown."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("ALTER TABLE freehold_event SET (autovacuum_enabled = off)")
    if known == "one type alone":
        for number in range(5):
            await add(stores, f"old-{number}", *(new_event(type="a.rare") for _ in range(100)))
    await connection.execute("VACUUM ANALYZE freehold_event")
    await connection.execute("DELETE FROM freehold_event")
    for question, _ in _QUESTIONS.values():
        for _ in range(7):
            await connection.fetch(question)
    await connection.execute("SELECT setval('freehold_event_position_seq', 1, false)")
    await connection.execute(_FILL, _EVENTS, await connection.fetchval("SELECT now()"))
    for name, (question, rows_max) in _QUESTIONS.items():
        scans, rows = await _looked_at(connection, question)
        assert scans == 0, name
        assert rows <= rows_max + 3, name
    await connection.close()


async def _pages(stores: Stores, wanted: EventFilter) -> list[Page]:
    """The pages from the beginning to the head."""
    pages, after, head = [], 0, await stores[EVENTS].high_water_mark()
    while after < head:
        pages.append(await stores[EVENTS].read_all(after, event_filter=wanted))
        assert pages[-1].end_position > after
        after = pages[-1].end_position
    return pages


async def _check_sparse(stores: Stores, filters: Sequence[tuple[EventFilter, int, int]]) -> None:
    for wanted, events, pages_max in filters:
        pages = await _pages(stores, wanted)
        assert sum(len(page.events) for page in pages) == events
        assert len(pages) <= pages_max, wanted


@pytest.mark.servers
async def test_a_sparse_filter_goes_on_in_bounded_steps_on_postgres(stores: Stores, postgres_url: str) -> None:
    """Avoided: one call reads the whole store for a few events, or the reader never gets beyond where none is.

    Times leap to where the next one is; a partition of rare events goes from one to the next.
    """
    connection = await asyncpg.connect(postgres_url)
    now = await connection.fetchval("SELECT now()")
    await connection.execute(_FILL, _EVENTS, now)
    await connection.close()
    positions = await add(stores, "late-1")
    rare, ordered = frozenset({"a.rare"}), frozenset({"order"})
    await _check_sparse(
        stores,
        [
            (EventFilter(types=rare), 3, 2),
            (EventFilter(types=rare, categories=ordered), 0, 5),
            (EventFilter(types=frozenset({"a.none"}), categories=ordered), 0, 1),
            (EventFilter(recorded_from=now + timedelta(microseconds=1)), 1, 3),
            (EventFilter(recorded_from=now + timedelta(days=1)), 0, 1),
            (EventFilter(recorded_to=now), 0, 1),
        ],
    )
    assert [each.position for each in await follow(stores, positions[0] - 1)] == list(positions)


async def test_a_sparse_filter_goes_on_in_bounded_steps_on_sqlite(tmp_path: Path) -> None:
    """The same on SQLite, with every index that a filter names."""
    async with opened(f"sqlite:///{tmp_path}/sparse.db") as stores:
        begun = time.process_time()
        for number in range(45):
            await add(stores, f"order-{number}", *(new_event() for _ in range(1000)))
        adding_seconds = time.process_time() - begun
        await add(stores, "rare-1", new_event(type="a.rare"))
        rare, ordered = frozenset({"a.rare"}), frozenset({"order"})
        begun = time.process_time()
        await _check_sparse(
            stores,
            [
                (EventFilter(types=rare), 1, 1),
                (EventFilter(categories=frozenset({"rare", "none"})), 1, 1),
                (EventFilter(types=rare, categories=ordered), 0, 1),
                (EventFilter(types=frozenset({"a.one"}), categories=frozenset({"rare"})), 0, 3),
            ],
        )
        assert time.process_time() - begun < adding_seconds
