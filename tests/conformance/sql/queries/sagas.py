"""The calls of scheduled messages and of sagas."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.conformance.sql.queries.messages import outgoing
from tests.conformance.sql.queries.registry import NOW, QUERIES, Query, Seeded, fresh, query

from freehold.ids import new_id
from freehold.saga.store import SAGAS, JournalEntry, SagaFilter, SagaRecord, SagaStatus
from freehold.schedule.schedule_runner import send_due
from freehold.schedule.store import SCHEDULE


def _saga() -> SagaRecord:
    return SagaRecord(
        id=new_id(),
        definition="checkout",
        definition_version=1,
        key=f"fresh{next(fresh)}",
        correlation_id=new_id(),
        status=SagaStatus.RUNNING,
        version=1,
        document=b"{}",
        due_seconds=3600.0,
    )


@query
async def schedule(seeded: Seeded) -> None:
    store, message, due = seeded.stores[SCHEDULE], outgoing("k"), outgoing("k")
    async with seeded.stores.database.begin() as db_tx:
        await store.add(db_tx, message, "n", 7200.0)
        await store.cancel(db_tx, message.id)
        await store.add(db_tx, due, "n", -1.0)
    assert await send_due(seeded.stores, 10) == 1


@query
async def schedule_look(seeded: Seeded) -> None:
    store = seeded.stores[SCHEDULE]
    assert await store.next_due_seconds()
    await store.find(None, 20)
    await store.find("rare", 20)


@query
async def saga_steps(seeded: Seeded) -> None:
    store, record = seeded.stores[SAGAS], _saga()
    entries = [JournalEntry(NOW, "reserve", "sent", 1)]
    async with seeded.stores.database.begin() as db_tx:
        assert await store.create(db_tx, record, entries)
        loaded = await store.load(db_tx, record.id)
        await store.save(db_tx, loaded, entries)
        many = await store.load_many(db_tx, [record.id])
        await store.save_many(db_tx, [(many[record.id], entries)])
    async with seeded.stores.database.begin() as db_tx:
        await store.save_last(db_tx, [(await store.load(db_tx, record.id), entries)])
    await store.journal(record.id)


@query
async def saga_due(seeded: Seeded) -> None:
    store, record = seeded.stores[SAGAS], replace(_saga(), due_seconds=-1.0)
    async with seeded.stores.database.begin() as db_tx:
        assert await store.create(db_tx, record, [])
        (due,) = await store.claim_due(db_tx, 16)
        await store.save(db_tx, replace(due, due_seconds=None, status=SagaStatus.COMPLETED), [])
    assert await store.next_due_seconds()


_SAGAS: Final = {
    "newest": SagaFilter(limit=20),
    "key": SagaFilter(key="k7", limit=20),
    "key_and_status": SagaFilter(key="k7", status=SagaStatus.RUNNING, limit=20),
    "id": SagaFilter(id=new_id(), limit=20),
    "cause": SagaFilter(correlation_id=new_id(), limit=20),
    "rare_definition": SagaFilter(definition="rare", limit=20),
    "definition": SagaFilter(definition="checkout", limit=20),
    "definition_and_status": SagaFilter(definition="checkout", status=SagaStatus.NEEDS_ATTENTION, limit=20),
    "status": SagaFilter(status=SagaStatus.NEEDS_ATTENTION, limit=20),
}


def _finding_sagas(wanted: SagaFilter) -> Query:
    async def find(seeded: Seeded) -> None:
        await seeded.stores[SAGAS].find(wanted)

    return find


QUERIES.update({f"saga_find_{name}": _finding_sagas(wanted) for name, wanted in _SAGAS.items()})


@query
async def saga_backlog(seeded: Seeded) -> None:
    await seeded.stores[SAGAS].backlog()


@query
async def saga_count(seeded: Seeded) -> None:
    await seeded.stores[SAGAS].count()


@query
async def saga_prune(seeded: Seeded) -> None:
    await seeded.stores[SAGAS].prune(6 * 86400.0, 2)
