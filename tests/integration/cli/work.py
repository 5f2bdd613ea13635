"""Work for an operator in a project: stuck sagas, dead letters, scheduled messages."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

from tests.integration.cli.till import Booking, PutBack, Sale, SaleClosed, Selling, depot, till
from tests.integration.saga.bench import reply_to
from tests.unit.runtime.trial import envelope_of

from freehold.broker import OutgoingMessage
from freehold.clock import SystemClock
from freehold.context import ServiceContext
from freehold.database import DatabaseTransaction
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterStatus, Direction
from freehold.ids import new_id
from freehold.messages import Envelope, decode_envelope, encode_envelope
from freehold.outbox.store import OUTBOX, OutboxStore
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.saga import SagaEngine, SagaRunner
from freehold.saga.store import SAGAS, SagaStatus
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transactions

APP = "tests.integration.cli.till"


@dataclass(slots=True)
class Project:
    """The project's file of settings, and what was prepared in it."""

    file: Path

    @asynccontextmanager
    async def stores(self, service: Service) -> AsyncIterator[Stores]:
        settings = Settings.load(service.name, environ={}, file=self.file)
        stores = open_stores(settings.database, settings.database_options, service.migrations)
        await stores.database.open()
        try:
            yield stores
        finally:
            await stores.database.close()

    def environment(self) -> dict[str, str]:
        """For the command in a process of its own."""
        return {**os.environ, "FREEHOLD_SETTINGS": str(self.file), "FREEHOLD_APP": APP}


def letter(cents: int = -1, **changes: object) -> DeadLetter:
    """A sale that the depot gave up."""
    envelope = envelope_of(SaleClosed(f"sale {cents}", cents))
    values: dict[str, object] = {
        "id": new_id(),
        "direction": Direction.INBOUND,
        "consumer": "depot",
        "topic": envelope.topic,
        "key": envelope.key,
        "message_id": envelope.id,
        "type": envelope.type,
        "reason": "attempts-exhausted",
        "error_type": "ValueError",
        "detail": "planned",
        "attempts": 1,
        "failed_at": SystemClock().now(),
        "status": DeadLetterStatus.DEAD,
        "document": encode_envelope(envelope),
    }
    return DeadLetter(**{**values, **changes})  # type: ignore[arg-type] # the values are those of the fields


async def keep(project: Project, *letters: DeadLetter) -> None:
    async with project.stores(depot) as stores, stores.database.begin() as db_tx:
        for each in letters:
            await stores[DEAD_LETTERS].add(db_tx, each)


async def failing_sagas(project: Project, *keys: str) -> None:
    """Sales whose booking meets what `till.broken` holds: once in the consumer, and once in the runner."""
    async with project.stores(till) as stores:
        shown = _ShownOutbox()
        context = ServiceContext("till", stores.replacing(OUTBOX, cast("OutboxStore", shown)))  # only stages
        engine = SagaEngine(till.sagas, stores[SAGAS], context)
        for key in keys:
            async with Transactions(context).begin() as tx:
                await engine.start(tx, Booking, Sale(key))
            reply = reply_to(shown.last())
            try:
                async with Transactions(context).begin(reply) as tx:
                    await engine.on_reply(reply, tx)
            except Exception as error:  # noqa: BLE001 - as the consumer
                async with Transactions(context).begin(reply) as tx:
                    await engine.keep_reply(reply, tx, error)
        runner = SagaRunner(engine, Transactions(context))
        wanted = {("till.booking", SagaStatus.NEEDS_ATTENTION): len(keys)}
        async with asyncio.timeout(60):
            while await stores[SAGAS].count() != wanted:
                await runner.take_due()


async def stuck_sagas(project: Project, *keys: str) -> None:
    """Sales whose payment was refused, and whose goods the depot then refused to put back."""
    async with project.stores(till) as stores:
        shown = _ShownOutbox()
        context = ServiceContext("till", stores.replacing(OUTBOX, cast("OutboxStore", shown)))  # only stages
        engine = SagaEngine(till.sagas, stores[SAGAS], context)
        for key in keys:
            async with Transactions(context).begin() as tx:
                await engine.start(tx, Selling, Sale(key))
            for outcome in ("done", "rejected", "rejected"):
                body = {"code": "refused", "detail": ""} if outcome == "rejected" else None
                reply = reply_to(shown.last(), outcome, body)
                async with Transactions(context).begin(reply) as tx:
                    await engine.on_reply(reply, tx)


async def schedule_one(project: Project) -> UUID:
    async with project.stores(till) as stores:
        context = ServiceContext("till", stores)
        async with Transactions(context).begin() as tx:
            return tx.schedule(PutBack("later"), delay_seconds=3600)


class _ShownOutbox:
    """Keeps what was asked for, so that it can be answered."""

    def __init__(self) -> None:
        self._staged: list[Envelope] = []

    partitions = 8

    async def stage(self, db_tx: DatabaseTransaction, messages: list[OutgoingMessage]) -> list[int]:
        self._staged += [decode_envelope(message.document) for message in messages]
        return [0] * len(messages)

    async def stage_last(
        self, db_tx: DatabaseTransaction, messages: list[OutgoingMessage], tell: object = None
    ) -> None:
        await self.stage(db_tx, messages)

    def last(self) -> Envelope:
        return self._staged[-1]


def ran(work: object) -> None:
    """Run a coroutine: the commands run loops of their own, so the tests are no coroutines."""
    assert asyncio.iscoroutine(work)
    asyncio.run(work)
