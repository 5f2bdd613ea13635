"""The calls of the outbox, of what was sent, of the logs of brokers, and of leases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.conformance.sql.queries.messages import outgoing
from tests.conformance.sql.queries.registry import Seeded, fresh, query

from freehold.leases.store import LEASES, Vouching
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.refusal import dead_letter
from freehold.outbox.sent import SENT
from freehold.outbox.store import OUTBOX, LossState


@query
async def outbox_stage_last(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[OUTBOX].stage_last(db_tx, [outgoing(f"fresh{next(fresh)}") for _ in range(10)])


@query
async def outbox_stage(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[OUTBOX].stage(db_tx, [outgoing(f"fresh{next(fresh)}") for _ in range(10)])


@query
async def outbox_fetch(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 100)
    assert len(fetched.rows) == 100 or seeded.rows < 500


@query
async def outbox_fetch_one_partition(seeded: Seeded) -> None:
    await seeded.stores[OUTBOX].fetch({0: seeded.leases[0]}, 100)


@query
async def outbox_remove(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 5)
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[:3])
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[3:], {0: next(fresh)})


@query
async def outbox_advance(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 5)
    _, fetched = await seeded.stores[OUTBOX].advance(seeded.leases, fetched.rows, {0: next(fresh)}, 100)
    await seeded.stores[OUTBOX].advance(seeded.leases, fetched.rows[:5], {}, 100, keep=LossState())


@query
async def outbox_keep(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 5)
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[:3], keep=LossState())
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[3:], {0: next(fresh)}, keep=LossState())


@query
async def sent(seeded: Seeded) -> None:
    store = seeded.stores[SENT]
    kept = await store.kept()
    assert kept.last_position is not None
    async with seeded.stores.database.begin() as db_tx:
        await store.send_again(db_tx, kept.now - timedelta(days=9), 0, kept.last_position, 10)
    await store.prune(86400.0, 10)
    await seeded.stores[BROKER_LOGS].note("here", "first")
    await seeded.stores[BROKER_LOGS].note("here", f"another{next(fresh)}")
    (lost,) = await seeded.stores[BROKER_LOGS].lost()
    await store.recall(seeded.leases, 50)
    assert (await seeded.stores[OUTBOX].fetch(seeded.leases, 50)).loss.open
    async with seeded.stores.database.begin() as db_tx:
        assert await seeded.stores[BROKER_LOGS].end_loss(db_tx, lost)
    await store.prune(seeded.rows + 3500.0, 5)


@query
async def broker_logs(seeded: Seeded) -> None:
    store = seeded.stores[BROKER_LOGS]
    place = f"place{next(fresh)}"
    await store.note(place, "first")
    assert (await store.note(place, "second")).lost_at is not None
    (lost,) = await store.lost()
    await store.keep_mark(place, "second", "7")
    assert await store.mark(place) == "7"
    async with seeded.stores.database.begin() as db_tx:
        assert await store.end_loss(db_tx, lost)


@query
async def outbox_reschedule(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[OUTBOX].stage(db_tx, [outgoing(f"fresh{next(fresh)}")])
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 1)
    assert await seeded.stores[OUTBOX].reschedule(seeded.leases, fetched.rows[0], 0.0, "refused")


@query
async def outbox_dead_letter(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 1)
    assert await dead_letter(seeded.stores, seeded.leases, fetched.rows[0], "refused", datetime.now(UTC))


@query
async def outbox_unsent(seeded: Seeded) -> None:
    await seeded.stores[OUTBOX].unsent(20)


@query
async def outbox_stats(seeded: Seeded) -> None:
    await seeded.stores[OUTBOX].stats()


@query
async def leases(seeded: Seeded) -> None:
    store, name = seeded.stores[LEASES], f"mine/{next(fresh)}"
    await store.ensure([name])
    (seen,) = await store.list(name)
    taken = await store.acquire(seen, "me")
    assert taken is not None
    await store.renew("me", {name: taken.token})
    await store.release("me", {name: taken.token})
    await store.delete([name])
    assert isinstance(store, Vouching)
    vouched = await store.vouch(name)
    assert name not in await store.gone([name, "nobody"])
    if vouched is not None:
        await vouched.release()
