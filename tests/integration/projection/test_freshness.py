"""Whoever waits for a token is woken by the projection that brings what is missing, not by the clock."""

from __future__ import annotations

import asyncio

from tests.integration.projection.models import Deposited, append, caught_up, read_model, rows, settings_for, until

from freehold import Retry, RunningService
from freehold.clock import SystemClock
from freehold.consistency.token import ConsistencyToken
from freehold.consistency.watcher import Fresh, Stalled
from freehold.leases.store import LEASES
from freehold.projection.declaration import ProjectionContext
from freehold.projection.store import CHECKPOINTS
from freehold.sql import sql_of


class HaltedClock(SystemClock):
    """Goes until it is halted; from then on the time stands, and whoever sleeps never wakes up."""

    def __init__(self) -> None:
        self.halted_at: float | None = None

    def monotonic(self) -> float:
        return super().monotonic() if self.halted_at is None else self.halted_at

    async def sleep(self, seconds: float) -> None:
        await (super().sleep(seconds) if self.halted_at is None else asyncio.Event().wait())

    def halt(self) -> None:
        self.halted_at = super().monotonic()


async def test_a_wait_ends_with_the_batch_though_no_time_passes(url: str) -> None:
    clock = HaltedClock()
    model = read_model(partitions=1)
    handler, may_go_on = model.projection.handlers[Deposited], asyncio.Event()

    async def held(event: Deposited, write: ProjectionContext) -> None:
        await may_go_on.wait()
        await handler(event, write)

    model.projection.handlers[Deposited] = held
    settings = settings_for(url, lease_seconds=60.0)
    async with RunningService(model.service, settings, roles=("projections",), clock=clock) as running:
        await until(lambda: _at_work(running))
        clock.halt()
        async with running.transaction() as tx:
            tx.append("account-a", Deposited("a", 1))
        assert tx.token is not None
        before = running.freshness.looks
        wait = asyncio.create_task(running.freshness.wait(tx.token, projections=["accounts"], limit_seconds=1.0))
        await until(lambda: _has_looked(running, before))
        assert not wait.done()
        may_go_on.set()
        async with asyncio.timeout(60.0):
            assert isinstance(await wait, Fresh)
        assert [row[2] for row in await rows(running, model.entries)] == [1]
        clock.halted_at = None


async def test_a_parked_stream_is_seen_among_any_number_of_others(url: str) -> None:
    model = read_model(poison={7}, retry=Retry(attempts=1))
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 7)
        await until(lambda: caught_up(running, model))
        (parked,) = await running.stores[CHECKPOINTS].parked("accounts")
        async with running.stores.database.begin() as db_tx:
            await sql_of(db_tx).execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)"
                " INSERT INTO freehold_parked (projection, generation, partition, stream, position, version, event_id,"
                " type, error, detail, attempts, started_attempts, parked_at)"
                " SELECT 'a-projection-before', 1, 0, 's-' || n.i, 1, 1,"
                " p.event_id, p.type, p.error, p.detail, 1, 0, p.parked_at FROM n CROSS JOIN freehold_parked AS p"
            )
        found = await running.freshness.wait(
            ConsistencyToken({"bank": parked.position}), projections=["accounts"], limit_seconds=0
        )
        assert isinstance(found, Stalled)


async def _at_work(running: RunningService) -> bool:
    leases = await running.stores[LEASES].list("projection/accounts/1/0")
    return any(lease.owner for lease in leases)


async def _has_looked(running: RunningService, before: int) -> bool:
    return running.freshness.looks > before
