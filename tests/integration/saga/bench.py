"""A saga engine on a real database, with a clock of the test's and an outbox that shows what was staged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import msgspec

from freehold.broker import OutgoingMessage
from freehold.context import ServiceContext
from freehold.database import DatabaseTransaction
from freehold.ids import new_id
from freehold.messages import Envelope, MessageKind, decode_envelope
from freehold.outbox.store import OUTBOX, OutboxStore
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.saga import Saga, SagaEngine, SagaRunner
from freehold.saga.document import read_hook_failure
from freehold.saga.hooks import HookFailure
from freehold.saga.store import SAGAS, SagaRecord
from freehold.transaction import Transactions


class TestClock:
    """Goes on when told."""

    __test__ = False

    def __init__(self) -> None:
        self._now = datetime(2024, 5, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass(slots=True)
class ShownOutbox:
    """Keeps what is staged, in place of the table: it is staged last, right before the commit."""

    staged: list[Envelope] = field(default_factory=list)
    fail: bool = False
    partitions: int = 8

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        if self.fail:
            raise ConnectionError
        self.staged += [decode_envelope(message.document) for message in messages]
        return range(len(self.staged) - len(messages) + 1, len(self.staged) + 1)

    async def stage_last(
        self,
        db_tx: DatabaseTransaction,
        messages: Sequence[OutgoingMessage],
        tell: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        positions = await self.stage(db_tx, messages)
        if tell is not None:
            tell(positions)


@dataclass(slots=True)
class Bench:
    engine: SagaEngine
    transactions: Transactions
    stores: Stores
    clock: TestClock
    outbox: ShownOutbox

    async def start(self, saga: type[Saga[Any]], state: object, saga_id: UUID | None = None) -> UUID:
        async with self.transactions.begin() as tx:
            return await self.engine.start(tx, saga, state, saga_id=saga_id)

    async def answer(self, request: Envelope, outcome: str = "done", body: Mapping[str, Any] | None = None) -> None:
        reply = reply_to(request, outcome, body)
        async with self.transactions.begin(reply) as tx:
            await self.engine.on_reply(reply, tx)

    async def consume(self, request: Envelope, outcome: str = "done", body: Mapping[str, Any] | None = None) -> None:
        """As the consumer does: a reply that cannot be taken is kept, in a transaction of its own."""
        reply = reply_to(request, outcome, body)
        try:
            async with self.transactions.begin(reply) as tx:
                await self.engine.on_reply(reply, tx)
        except Exception as error:  # noqa: BLE001 - whatever it is, as the consumer
            async with self.transactions.begin(reply) as tx:
                await self.engine.keep_reply(reply, tx, error)

    async def hook_failure(self, saga_id: UUID) -> HookFailure | None:
        return read_hook_failure(await self.record(saga_id))

    async def rounds(self, limit: int = 50) -> None:
        """Take what is due until nothing is, calls included."""
        runner = self.runner()
        for _ in range(limit):
            taken = await runner.take_due()
            await runner.finish_calls()
            if not taken:
                return
        raise AssertionError("no end")

    async def pass_seconds(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass, in steps, with a runner at work."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            await self.rounds()

    def sent(self, name: str) -> list[Envelope]:
        return [envelope for envelope in self.outbox.staged if envelope.type == name]

    async def record(self, saga_id: UUID) -> SagaRecord:
        async with self.stores.database.begin() as db_tx:
            return await self.stores[SAGAS].load(db_tx, saga_id)

    async def words(self, saga_id: UUID) -> list[str]:
        return [f"{entry.step}:{entry.what}".strip(":") for entry in await self.stores[SAGAS].journal(saga_id)]

    def runner(self) -> SagaRunner:
        return SagaRunner(self.engine, self.transactions)

    def engine_for(self, *sagas: type[Saga[Any]]) -> SagaEngine:
        """Another process' engine on the same database."""
        return SagaEngine(by_name(*sagas), self.stores[SAGAS], self.transactions.context, self.clock)


def by_name(*sagas: type[Saga[Any]]) -> dict[tuple[str, int], type[Saga[Any]]]:
    return {(saga.definition().name, saga.definition().version): saga for saga in sagas}


def reply_to(request: Envelope, outcome: str = "done", body: Mapping[str, Any] | None = None) -> Envelope:
    """The reply that the consumer of the other service makes."""
    return Envelope(
        id=new_id(),
        type="freehold.reply",
        version=1,
        kind=MessageKind.REPLY,
        source="other",
        topic=request.reply_to or "",
        key=request.key,
        time=request.time,
        hlc=request.hlc,
        correlation_id=request.correlation_id,
        causation_id=request.id,
        headers={**request.headers, "freehold-outcome": outcome},
        body=msgspec.json.encode(body or {}),
    )


@asynccontextmanager
async def bench(url: str, *sagas: type[Saga[Any]]) -> AsyncIterator[Bench]:
    clock = TestClock()
    stores = open_stores(url, clock=clock)
    await stores.database.open()
    await stores.database.upgrade()
    outbox = ShownOutbox()
    context = ServiceContext(
        "orders",
        stores.replacing(OUTBOX, cast("OutboxStore", outbox)),  # the transaction uses `stage` alone
        clock=clock,
    )
    try:
        engine = SagaEngine(by_name(*sagas), stores[SAGAS], context, clock)
        yield Bench(engine, Transactions(context), stores, clock, outbox)
    finally:
        await stores.database.close()
