"""The calls of dead letters."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from tests.conformance.sql.queries.messages import letter
from tests.conformance.sql.queries.registry import NOW, QUERIES, Query, Seeded, query

from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter, DeadLetterStatus
from freehold.ids import new_id


@query
async def dead_letters_add_to_end(seeded: Seeded) -> None:
    store, mine, other = seeded.stores[DEAD_LETTERS], letter(), letter()
    async with seeded.stores.database.begin() as db_tx:
        await store.add(db_tx, mine)
        await store.add(db_tx, other)
        await store.get(db_tx, mine.id)
        await store.edit(db_tx, mine.id, b"e")
        await store.mark(db_tx, mine.id, DeadLetterStatus.DISCARDED, None)
        await store.mark(db_tx, other.id, DeadLetterStatus.REPLAYED, new_id())


_FILTERS: Final = {
    "newest": DeadLetterFilter(limit=20),
    "one": DeadLetterFilter(status=None, id=UUID(int=1), limit=1),
    "one_that_is_dead": DeadLetterFilter(id=UUID(int=1), limit=1),
    "any_status": DeadLetterFilter(status=None, limit=20),
    "consumer": DeadLetterFilter(consumer="rare", limit=20),
    "type": DeadLetterFilter(type="rare", limit=20),
    "reason": DeadLetterFilter(reason="rare", limit=20),
    "all_of_them": DeadLetterFilter(consumer="rare", type="rare", reason="rare", limit=20),
    "any_status_of_a_type": DeadLetterFilter(status=None, type="rare", limit=20),
    "next_page": DeadLetterFilter(limit=20, after=(NOW - timedelta(seconds=50), UUID(int=0))),
    "next_page_of_a_type": DeadLetterFilter(type="rare", limit=20, after=(NOW, UUID(int=0))),
}


def _finding(wanted: DeadLetterFilter) -> Query:
    async def find(seeded: Seeded) -> None:
        await seeded.stores[DEAD_LETTERS].find(wanted)

    return find


QUERIES.update({f"dead_letters_find_{name}": _finding(wanted) for name, wanted in _FILTERS.items()})


@query
async def dead_letters_count(seeded: Seeded) -> None:
    await seeded.stores[DEAD_LETTERS].count()


@query
async def dead_letters_backlog(seeded: Seeded) -> None:
    await seeded.stores[DEAD_LETTERS].backlog()


@query
async def dead_letters_prune(seeded: Seeded) -> None:
    await seeded.stores[DEAD_LETTERS].prune(6 * 86400.0, 2)
