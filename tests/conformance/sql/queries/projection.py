"""The calls of projections, replays, progress, reconciliations and views."""

from __future__ import annotations

from tests.conformance.sql.queries.registry import CONSUMER, NOW, Seeded, fresh, query

from freehold.consistency.store import PROGRESS
from freehold.ids import new_id
from freehold.projection.replay_store import REPLAYS, NewReplay, ReplayError, ReplayState
from freehold.projection.store import CHECKPOINTS, GenerationState, Move, ParkedStreamUpdate
from freehold.projection.view_store import VIEWS
from freehold.reconcile.store import RECONCILIATIONS, ReconciliationRecord


@query
async def checkpoints(seeded: Seeded) -> None:
    store, database = seeded.stores[CHECKPOINTS], seeded.stores.database
    seen = await store.checkpoints("live", 1)
    async with database.begin() as db_tx:
        begun = await store.begin(db_tx, seen[0])
        moved = await store.advance(db_tx, [Move(begun, begun.position + 1, handled=1)])
        await store.lock(db_tx, "live", 1, 0)
    async with database.begin() as db_tx:
        parked = ParkedStreamUpdate("stream-fresh", 1, 1, new_id(), "t", "E", "", 1, 1.0)
        held = await store.park(db_tx, moved[0], parked)
        await store.release(db_tx, held, "stream-fresh")
    await store.parked("live", 1, 1, limit=20)
    await store.parked("live", 1, stream="s7", limit=1)
    await store.count_parked()


@query
async def generations(seeded: Seeded) -> None:
    store, database, name = seeded.stores[CHECKPOINTS], seeded.stores.database, f"made{next(fresh)}"
    async with database.begin() as db_tx:
        await store.create(db_tx, name, 1, version=1, partitions=2, state=GenerationState.BUILDING)
        await store.pause(db_tx, name, 1, reason="r", actor="ada")
    await store.pauses()
    await store.pauses(name)
    await store.generations()
    await store.generations(name)
    async with database.begin() as db_tx:
        await store.resume(db_tx, name, 1)
        await store.transition(db_tx, name, 1, expected=GenerationState.BUILDING, to=GenerationState.RETIRED)
        await store.forget(db_tx, name, 1)


@query
async def replays(seeded: Seeded) -> None:
    store, database = seeded.stores[REPLAYS], seeded.stores.database
    async with database.begin() as db_tx:
        replay = await store.create(db_tx, NewReplay("live", 1, None, None, 0, 10, "ada", "r"))
        replay = await store.set_tables(db_tx, replay.number, ["t"])
        replay = await store.begin(db_tx, replay)
        failed = ReplayError(1, "s", 1, new_id(), "t", "E", "")
        replay = await store.advance(db_tx, replay, 5, applied=1, failed=[failed])
        await store.end(db_tx, replay.number, ReplayState.CANCELLED)
        await store.restart(db_tx, replay.number)
        await store.end(db_tx, replay.number, ReplayState.CANCELLED)
    await store.get(replay.number)
    await store.find(limit=5)
    await store.find("live", limit=5)
    await store.errors(replay.number, limit=5)
    async with database.begin() as db_tx:
        await store.delete(db_tx, replay.number)


@query
async def replays_prune(seeded: Seeded) -> None:
    await seeded.stores[REPLAYS].prune(6 * 86400.0, 2)


@query
async def progress(seeded: Seeded) -> None:
    store = seeded.stores[PROGRESS]
    async with seeded.stores.database.begin() as db_tx:
        await store.advance(db_tx, CONSUMER, {"orders:0": next(fresh), "orders:1": next(fresh)}, appended_position=1)
    await store.progress(CONSUMER)
    await store.progress(CONSUMER, ["orders:0"])


@query
async def reconciliations(seeded: Seeded) -> None:
    store = seeded.stores[RECONCILIATIONS]
    await store.add(ReconciliationRecord("rare", NOW, 1.0, 1, 0, 0, 0))
    await store.last("rare")
    await store.recent(5)
    await store.prune(6 * 86400.0, 2)


@query
async def views(seeded: Seeded) -> None:
    await seeded.stores[VIEWS].states()
