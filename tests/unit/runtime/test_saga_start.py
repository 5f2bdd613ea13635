"""`Checkout.start(tx, state)`: by the engine of the service that orchestrates it, and refused in every other one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tests.unit.runtime.trial import eventually, memory_broker, settings_for

from freehold import Outbox, RunningService, Saga, Service, Transaction, command, step
from freehold.errors import DeclarationError, TransactionEnded
from freehold.ids import new_id
from freehold.saga import SAGAS, SagaFilter


@command("starting.begin", key="key")
class Begin:
    key: str


@command("starting.ask", key="key")
class Ask:
    key: str


@dataclass(frozen=True, slots=True)
class State:
    key: str


class First(Saga[State], name="starting.asking", version=1, key="key"):
    ask = step(Ask, no_compensation=True)


class Second(Saga[State], name="starting.asking", version=2, key="key"):
    ask = step(Ask, no_compensation=True)


@asynccontextmanager
async def _running(service: Service, *roles: str) -> AsyncIterator[RunningService]:
    async with RunningService(service, settings_for("starting"), broker=memory_broker(), roles=roles) as running:
        yield running


async def _begun(running: RunningService) -> list[tuple[str, int]]:
    return [(each.key, each.definition_version) for each in await running.stores[SAGAS].find(SagaFilter())]


async def test_it_begins_with_the_commit_and_the_same_id_begins_it_once() -> None:
    service, saga_id = Service("starting"), new_id()
    service.orchestrates(First)
    service.orchestrates(Second)
    async with _running(service) as running:
        with pytest.raises(LookupError):
            async with running.transaction() as tx:
                await First.start(tx, State("taken back"))
                raise LookupError
        for key in ("a", "again"):
            async with running.transaction() as tx:
                assert await Second.start(tx, State(key), saga_id=saga_id) == saga_id
        assert await _begun(running) == [("a", 2)]


async def test_a_handler_starts_one() -> None:
    """It holds the transaction of a batch, seen from its message."""
    service, correlations = Service("starting"), set[object]()
    service.orchestrates(First)

    @service.handles(Begin)
    async def begin(message: Begin, tx: Transaction) -> None:
        await First.start(tx, State(message.key))
        correlation_id = tx.correlation_id
        tx.staging.after_commit(lambda: correlations.add(correlation_id))

    async with _running(service, "relay", "consumer") as running:
        async with running.transaction() as tx:
            tx.send(Begin("a"))
            tx.send(Begin("b"))
        await eventually(lambda: len(correlations) == 2)
        found = await running.stores[SAGAS].find(SagaFilter())
        assert {each.correlation_id for each in found} == correlations


@pytest.mark.parametrize("orchestrated", [None, First])
async def test_a_service_that_does_not_orchestrate_it_is_told(orchestrated: type[Saga[State]] | None) -> None:
    service = Service("starting")
    if orchestrated is not None:
        service.orchestrates(orchestrated)
    async with _running(service) as running:
        with pytest.raises(
            DeclarationError, match=r"'starting' does not orchestrate saga 'starting\.asking' version 2"
        ):
            async with running.transaction() as tx:
                await Second.start(tx, State("a"))
        assert await _begun(running) == []


async def test_a_transaction_that_an_outbox_has_joined_starts_none(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/trial.db")
    joining = Outbox("starting", f"sqlite:///{tmp_path}/trial.db", "memory://", relay=False)
    async with joining as outbox, AsyncSession(engine) as session:
        tx = outbox.running.transactions.enlist(session)
        with pytest.raises(
            DeclarationError, match=r"'starting' does not orchestrate saga 'starting\.asking' version 1"
        ):
            await First.start(tx, State("a"))
    await engine.dispose()


@pytest.mark.parametrize("orchestrated", [None, First])
async def test_nothing_begins_after_the_end(orchestrated: type[Saga[State]] | None) -> None:
    """That comes first, whatever else is wrong."""
    service = Service("starting")
    if orchestrated is not None:
        service.orchestrates(orchestrated)
    async with _running(service) as running:
        async with running.transaction() as tx:
            pass
        with pytest.raises(TransactionEnded):
            await First.start(tx, State(""))
        assert await _begun(running) == []
