"""Transactions: work that is repeated where somebody else came first, those of the user's own, and late appends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tests.unit.runtime.trial import memory_broker, settings_for

from freehold import ConcurrencyConflict, RunningService, Service, Transaction, VersionMismatch, event
from freehold.consistency.token import ConsistencyToken
from freehold.errors import CodecError, DeclarationError
from freehold.eventstore.store import EVENTS, RecordedEvent
from freehold.transaction import StagingArea, Transactions, current_token, token_witness


@event("trial.done")
class Done:
    name: str


@pytest.mark.parametrize(("error", "times"), [(ConcurrencyConflict, 5), (VersionMismatch, 1)])
async def test_a_conflict_is_tried_again_and_an_old_version_is_not(
    error: type[ConcurrencyConflict], times: int
) -> None:
    """Another try would find the same version that the client has not seen."""
    calls: list[int] = []

    async def work(_: Transaction) -> None:
        calls.append(1)
        raise error("somebody was first")

    async with RunningService(Service("trial"), settings_for("trial"), broker=memory_broker(), roles=()) as running:
        with pytest.raises(error):
            await running.transact(work)
    assert len(calls) == times


async def test_a_transaction_of_the_users_own_carries_what_the_caller_has_seen(tmp_path: Path) -> None:
    """And tells where it stands once they say that it is committed, as Freehold's own do."""
    url, witnessed = f"{tmp_path}/trial.db", list[ConsistencyToken]()
    settings = settings_for("trial", database=f"sqlite:///{url}")
    async with RunningService(Service("trial"), settings, broker=memory_broker(), roles=()) as running:
        engine = create_async_engine(f"sqlite+aiosqlite:///{url}")
        seen, witness = current_token.set(ConsistencyToken({"elsewhere/3": 9})), token_witness.set(witnessed.append)
        try:
            async with AsyncSession(engine) as session:
                tx = running.transactions.enlist(session)
                assert tx.staging.envelope(Done("a")).token == "elsewhere/3=9"
                tx.append("thing-a", Done("a"))
                await tx.write()
                assert witnessed == []
                await session.commit()
                tx.staging.notify()
        finally:
            current_token.reset(seen)
            token_witness.reset(witness)
            await engine.dispose()
    assert [dict(token.positions) for token in witnessed] == [{"elsewhere/3": 9, "trial": 1}]


async def test_what_would_be_appended_too_late_is_refused_and_never_lost() -> None:
    """`after_append` comes when the events are written: more of them would be left behind by the commit."""

    async def again(staging: StagingArea, events: Sequence[RecordedEvent]) -> None:
        Transaction(staging).append("thing-b", Done("b"))

    async with RunningService(Service("trial"), settings_for("trial"), broker=memory_broker(), roles=()) as running:
        transactions = Transactions(running.context, after_append=again)
        with pytest.raises(DeclarationError, match="'thing-b'"):
            async with transactions.begin() as tx:
                tx.append("thing-a", Done("a"))
        assert await running.stores[EVENTS].high_water_mark() == 0


async def test_an_event_that_could_never_be_read_again_is_not_appended() -> None:
    """A message that does not fit ends as a dead letter; a stream that holds such an event could never be loaded."""
    wrong: Any = 7
    async with RunningService(Service("trial"), settings_for("trial"), broker=memory_broker(), roles=()) as running:
        with pytest.raises(CodecError, match="does not fit Done"):
            async with running.transaction() as tx:
                tx.append("thing-a", Done(wrong))
        assert await running.stores[EVENTS].high_water_mark() == 0
