"""A retry policy names the exception that a handler sees: what the database layer makes of it changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from freehold import (
    Migration,
    Projection,
    ProjectionContext,
    Retry,
    RunningService,
    Service,
    Settings,
    Transaction,
    event,
)
from freehold.conformance.broker_harness import eventually
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter
from freehold.outbox.store import OUTBOX
from freehold.projection.store import CHECKPOINTS

_TABLE = Migration("100-bin", {"": ["CREATE TABLE bin (name text NOT NULL PRIMARY KEY)"]})


@event("bins.filled", key="name")
class Filled:
    name: str
    breaks: bool


def _service(retry: Retry) -> Service:
    service = Service("bins", migrations=[_TABLE])

    @service.handles(Filled, retry=retry)
    async def filled(message: Filled, tx: Transaction) -> None:
        if not message.breaks:
            raise TimeoutError("planned")
        for _ in range(2):
            await tx.connection.execute(text("INSERT INTO bin VALUES (:name)"), {"name": message.name})

    return service


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bins.db"
    return str(request.getfixturevalue("postgres_url"))


async def test_an_integrity_error_that_is_never_retried_is_a_dead_letter_at_once(url: str, tmp_path: Path) -> None:
    """Also beside another message of its batch that fails otherwise: that one is retried."""
    settings = Settings.load(
        "bins",
        environ={},
        database=url,
        broker=f"memory://{tmp_path.name}",
        broker_options={"partitions": 1},
        workers=1,
    )
    retry = Retry(attempts=2, delay_seconds=0.01, delay_seconds_max=0.01, never=IntegrityError)
    async with RunningService(_service(retry), settings) as running, asyncio.timeout(60):
        await running.pause("consumer")
        async with running.transaction() as tx:
            tx.publish(Filled("twice", breaks=True))
            tx.publish(Filled("slow", breaks=False), key="twice")

        async def is_published() -> bool:
            return (await running.stores[OUTBOX].stats()).pending == 0

        await eventually(is_published)
        await running.resume("consumer")

        async def letters() -> list[DeadLetter]:
            return list(await running.stores[DEAD_LETTERS].find(DeadLetterFilter()))

        async def all_dead() -> bool:
            return len(await letters()) == 2

        await eventually(all_dead)
        found = {(letter.error_type, letter.reason, letter.attempts) for letter in await letters()}
    assert found == {("DatabaseError", "non-retryable", 1), ("TimeoutError", "attempts-exhausted", 2)}


async def test_a_projection_parks_for_good_what_is_never_retried(url: str, tmp_path: Path) -> None:
    settings = Settings.load("bins", environ={}, database=url, broker=f"memory://{tmp_path.name}")
    service = Service("bins", migrations=[_TABLE])
    projection = service.projects(_projection(Retry(attempts=50, delay_seconds=3600, delay_seconds_max=3600,
                                                    never=IntegrityError)))  # fmt: skip
    async with RunningService(service, settings) as running, asyncio.timeout(60):
        async with running.transaction() as tx:
            tx.append("bin-1", Filled("twice", breaks=True))
            tx.append("bin-2", Filled("slow", breaks=False))

        async def parked() -> bool:
            return len(await running.stores[CHECKPOINTS].parked(projection.name, 1)) == 2

        await eventually(parked)
        found = {each.stream: each for each in await running.stores[CHECKPOINTS].parked(projection.name, 1)}
    assert found["bin-1"].due_seconds is None
    assert found["bin-2"].due_seconds is not None


def _projection(retry: Retry) -> Projection:
    projection = Projection("bins", retry=retry)

    @projection.on(Filled)
    async def filled(message: Filled, write: ProjectionContext) -> None:
        if not message.breaks:
            raise ValueError("planned")
        for _ in range(2):
            await write.connection.execute(text("INSERT INTO bin VALUES (:name)"), {"name": message.name})

    return projection
