"""Readiness tells what keeps a service from its work, by the reason, within its limit; and when that is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.integration.health.conditions import CONDITIONS, TABLE, Condition, grow, held, small_disk

from freehold import RunningService, Service, Settings, Transaction, event
from freehold.conformance.harness import ManualClock
from freehold.database import DatabaseOptions
from freehold.errors import FreeholdError, Unavailable
from freehold.http import create_app
from freehold.inbox.store import INBOX
from freehold.outages import DATABASE
from freehold.policy import Retry
from freehold.runtime import Readiness
from freehold.sql import SQL

TRUSTED_SECONDS = 0.5
LIMIT_SECONDS = 1.0
_LOCKS = DatabaseOptions(lock_timeout_seconds=300.0, statement_timeout_seconds=300.0)
_FAR_LESS_SECONDS = 60.0
"""Than a lock is waited for; more than readiness takes beyond its limit on a busy machine."""


@pytest.fixture(autouse=True)
def short_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.runtime.health._TRUSTED_SECONDS", TRUSTED_SECONDS)


@event("ward.stated", key="key")
class Stated:
    key: str


class NotYet(FreeholdError):
    pass


def _service() -> Service:
    service = Service("ward")

    @service.handles(Stated, retry=Retry(attempts=50, delay_seconds=3600, delay_seconds_max=3600))
    async def stated(event: Stated, tx: Transaction) -> None:
        raise NotYet("the other side has no time")

    return service


@asynccontextmanager
async def _running(url: str, broker: str = "memory://") -> AsyncIterator[RunningService]:
    settings = Settings.load(
        "ward", environ={}, database=url, broker=broker, drain_seconds=0.5, database_options=_LOCKS
    )
    async with RunningService(_service(), settings) as running:
        yield running


async def _until(running: RunningService, wanted: Callable[[Readiness], bool]) -> Readiness:
    async with asyncio.timeout(_FAR_LESS_SECONDS):
        while not wanted(found := await running.readiness(LIMIT_SECONDS)):  # noqa: ASYNC110 - as an orchestrator asks
            await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize(("condition_url", "condition", "reason"), TABLE, indirect=["condition_url"])
async def test_what_keeps_the_database_from_being_written(
    condition_url: str, condition: Condition, reason: str
) -> None:
    url = condition_url
    async with _running(url) as running:
        if url.startswith("sqlite"):
            grow(url)
        await _until(running, lambda found: found.ready)
        async with held(condition, url):
            await _until(running, lambda found: reason in found.problems.get("database", ""))
            async with asyncio.timeout(_FAR_LESS_SECONDS):
                assert not (await running.readiness(LIMIT_SECONDS)).ready
        await _until(running, lambda found: found.ready)


@pytest.mark.parametrize("name", [name for name, (engine, *_) in CONDITIONS.items() if engine in {"sqlite", "disk"}])
async def test_what_keeps_the_file_of_the_broker_from_being_written(tmp_path: Path, name: str) -> None:
    _, condition, reason = CONDITIONS[name]
    with small_disk(tmp_path / "disk") as place:
        broker = f"{place}/broker.db"
        async with _running(f"sqlite:///{tmp_path}/service.db", f"embedded:///{broker}") as running:
            grow(f"sqlite:///{broker}")
            await _until(running, lambda found: found.ready)
            async with held(condition, f"sqlite:///{broker}"):
                found = await _until(running, lambda found: not found.ready)
                assert reason in found.problems["broker"]
                assert "database" not in found.problems
            await _until(running, lambda found: found.ready)


async def test_a_consumer_that_cannot_look_at_its_leases_says_why(tmp_path: Path) -> None:
    """The reason stands beside the broker's problem, and goes with it."""
    broker = f"{tmp_path}/broker.db"
    async with _running(f"sqlite:///{tmp_path}/service.db", f"embedded:///{broker}") as running:
        await _until(running, lambda found: found.ready)
        async with held(CONDITIONS["file locked"][1], f"sqlite:///{broker}"):
            await _until(running, lambda found: "locked by another" in found.notices.get("consumer ward", ""))
        await _until(running, lambda found: "consumer ward" not in found.notices)


async def test_what_is_deferred_for_longer_than_expected_is_a_notice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/service.db"
    settings = Settings.load("ward", environ={}, database=url, broker="memory://", deferred_alarm_seconds=3600)
    running = RunningService(_service(), settings)
    app = create_app(running)
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        async with running.transaction() as tx:
            tx.publish(Stated("k"))
            tx.publish(Stated("other"))
        async with asyncio.timeout(30):
            while (await running.stores[INBOX].stats()).pending < 2:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.05)
        assert "notices" not in (await client.get("/readyz")).json()
        async with running.stores[SQL].direct() as sql:
            await sql.execute("UPDATE freehold_deferred SET deferred_at = deferred_at - 3700 * 1000000")
        running.probes.database._asked_at = 0.0
        answer = await client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["notices"] == {
            "deferred": "2 messages are deferred, the oldest for 62 min: freehold doctor says why"
        }


async def test_what_is_due_for_long_and_not_taken_is_a_notice(tmp_path: Path) -> None:
    """No process runs the loop that should take it."""
    settings = Settings.load("ward", environ={}, database=f"sqlite:///{tmp_path}/service.db", broker="memory://")
    async with RunningService(_service(), settings, roles=["relay"]) as running:
        async with running.transaction() as tx:
            tx.schedule(Stated("k"), delay_seconds=0.0)
        running.probes.database._asked_at = 0.0
        assert "overdue" not in (await running.readiness()).notices
        async with running.stores[SQL].direct() as sql:
            await sql.execute("UPDATE freehold_schedule SET due_at = due_at - 660 * 1000000")
        running.probes.database._asked_at = 0.0
        found = await running.readiness()
        assert (found.ready, found.notices) == (
            True,
            {"overdue": "scheduled messages have been due for 11 min"},
        )


async def test_what_a_loop_hears_is_told_though_the_write_goes_well(tmp_path: Path) -> None:
    """One table may have no room where another has some."""
    clock = ManualClock()
    settings = Settings.load("ward", environ={}, database=f"sqlite:///{tmp_path}/service.db", broker="memory://")
    async with RunningService(_service(), settings, clock=clock) as running:
        wait = running.outages.wait_of("consumer ward", DATABASE)
        wait.failed(Unavailable("the disk is full"), again_seconds=2.0)
        assert "database" not in (await running.readiness()).problems
        clock.advance(20.0)
        assert (await running.readiness()).problems["database"] == "the disk is full; consumer waited for 20 s"
        wait.over()
        assert "database" not in (await running.readiness()).problems
