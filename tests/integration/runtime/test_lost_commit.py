"""The answer to COMMIT is lost on the way, again and again: whether it happened is not known, and it happens once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.integration.runtime.workers import Numbered, settings_for, worker
from tests.integration.sql.proxied import through

from freehold import RunningService, Service
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.testing import POSTGRESQL_COMMIT, TcpProxy

pytestmark = pytest.mark.servers


async def test_effects_happen_once_although_answers_to_commit_are_lost(postgres_url: str, tmp_path: Path) -> None:
    broker = f"embedded:///{tmp_path}/broker.db"
    direct = settings_for("worker", postgres_url, broker, "t")
    async with RunningService(worker, direct, roles=()) as watching:
        async with TcpProxy.before(postgres_url) as proxy:
            source = RunningService(
                Service("source"), settings_for("source", f"sqlite:///{tmp_path}/source.db", broker, "t")
            )
            async with (
                source,
                RunningService(worker, settings_for("worker", through(proxy, postgres_url), broker, "t")) as running,
            ):
                for number in range(12):
                    # Not from the beginning: a worker joins once the database takes what it writes.
                    if number:
                        proxy.heal()
                        proxy.lose_answers(POSTGRESQL_COMMIT, lambda commit: commit == 1)
                    async with source.transaction() as tx:
                        tx.publish(Numbered("k", number))
                    await _effects(watching, number + 1)
                (consumer,) = running.loops.running["consumer"]
                assert isinstance(consumer, ConsumerRunner)
                # A commit that happened and was not heard of was tried again, and its receipt was there.
                assert consumer.counters.duplicates >= 1
        assert await _effects(watching, 12) == list(range(12))


async def _effects(running: RunningService, wanted: int) -> list[int]:
    async with asyncio.timeout(60):
        while True:
            async with running.transaction() as tx:
                found = list(
                    (await tx.connection.scalars(sa.text("SELECT number FROM effect ORDER BY position"))).all()
                )
            if len(found) >= wanted:
                return found
            await asyncio.sleep(0.02)
