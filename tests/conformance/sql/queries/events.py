"""The calls of stored responses, of the audit, of events and of snapshots."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from tests.conformance.sql.queries.registry import CONSUMER, NOW, QUERIES, Query, Seeded, fresh, query

from freehold.aggregate.store import SNAPSHOTS, Snapshot
from freehold.audit.store import AUDIT, AuditEntry
from freehold.eventstore.store import EVENTS, Append, EventFilter, NewEvent
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.ids import new_id


def _event() -> NewEvent:
    return NewEvent(new_id(), "orders.order-placed", 1, b"{}", new_id(), 1)


@query
async def idempotency(seeded: Seeded) -> None:
    store, key = seeded.stores[IDEMPOTENCY], f"fresh{next(fresh)}"
    async with seeded.stores.database.begin() as db_tx:
        assert await store.claim(db_tx, CONSUMER, key, "f") is None
        await store.complete(db_tx, CONSUMER, key, StoredResponse("f", 200, "text/plain", b""))
        assert await store.claim(db_tx, CONSUMER, key, "f")
        assert await store.used(db_tx, CONSUMER, key)
        assert await store.used(db_tx, CONSUMER)
    await store.prune(6 * 86400.0, 2)


@query
async def audit(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[AUDIT].add(db_tx, AuditEntry(NOW, "ada", "drop", "rare", ""))
    await seeded.stores[AUDIT].find(None, 20)
    await seeded.stores[AUDIT].find("rare", 20)


@query
async def events_append(seeded: Seeded) -> None:
    store = seeded.stores[EVENTS]
    async with seeded.stores.database.begin() as db_tx:
        await store.append(db_tx, [Append(f"order-fresh{next(fresh)}", [_event()]), Append("order-7", [_event()])])
    await store.append_now([Append("order-8", [_event()])])


@query
async def events_read_stream(seeded: Seeded) -> None:
    store = seeded.stores[EVENTS]
    await store.read_stream("order-7", limit=5)
    await store.read_stream("order-7", after=1, before=9, limit=5, backwards=True)
    await store.read_bodies("order-7", limit=5)
    await store.version("order-7")
    await store.high_water_mark()


_WANTED: Final = {
    "all": EventFilter(),
    "type": EventFilter(types=frozenset({"orders.order-placed"})),
    "rare_type": EventFilter(types=frozenset({"rare"})),
    "types": EventFilter(types=frozenset({"orders.order-placed", "rare"})),
    "category": EventFilter(categories=frozenset({"order"})),
    "partition": EventFilter(partition=1, partitions=4),
    "types_of_a_partition": EventFilter(types=frozenset({"orders.order-placed", "rare"}), partition=1, partitions=4),
}


def _reading(wanted: EventFilter) -> Query:
    async def read(seeded: Seeded) -> None:
        store = seeded.stores[EVENTS]
        for after in (0, seeded.rows // 2, seeded.rows - 60):
            await store.read_all(after, limit=50, event_filter=wanted)
        await store.recorded_at(seeded.rows // 2, wanted)
        await store.count(seeded.rows - 60, seeded.rows, wanted, limit=50)

    return read


QUERIES.update({f"events_read_{name}": _reading(wanted) for name, wanted in _WANTED.items()})


@query
async def events_read_span(seeded: Seeded) -> None:
    wanted = EventFilter(recorded_from=NOW - timedelta(seconds=40), recorded_to=NOW - timedelta(seconds=20))
    await seeded.stores[EVENTS].read_all(seeded.rows - 60, limit=50, event_filter=wanted)


@query
async def snapshots(seeded: Seeded) -> None:
    store, stream = seeded.stores[SNAPSHOTS], f"order-fresh{next(fresh)}"
    async with seeded.stores.database.begin() as db_tx:
        await store.save(db_tx, Snapshot(stream, "order", 1, 1, "f", b"{}"))
    await store.load(stream, "order")
    await store.discard(stream, "order")
    await store.discard_all("old", 2)


@query
async def snapshots_kinds(seeded: Seeded) -> None:
    await seeded.stores[SNAPSHOTS].kinds()
