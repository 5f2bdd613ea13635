"""A service with accounts on an engine, for the tests: its stores, and a post whose published messages can be seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from freehold.broker import OutgoingMessage
from freehold.context import ServiceContext
from freehold.database import DatabaseTransaction
from freehold.eventstore.store import EVENTS
from freehold.messages import Envelope, decode_body, decode_envelope, registry
from freehold.outbox.store import OUTBOX, OutboxStore
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.transaction import Transactions


class SeenOutbox:
    """Stages, and remembers what: also of transactions that were rolled back."""

    def __init__(self, outbox: OutboxStore) -> None:
        self._outbox = outbox
        self.partitions = outbox.partitions
        self.documents: list[bytes] = []

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        self.documents += [message.document for message in messages]
        return await self._outbox.stage(db_tx, messages)

    async def stage_last(
        self,
        db_tx: DatabaseTransaction,
        messages: Sequence[OutgoingMessage],
        tell: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        self.documents += [message.document for message in messages]
        await self._outbox.stage_last(db_tx, messages, tell)


class Bank:
    """What the tests work with."""

    def __init__(self, stores: Stores, service: str = "bank") -> None:
        self.stores = stores
        self.outbox = SeenOutbox(stores[OUTBOX])
        self.context = ServiceContext(
            service,
            stores.replacing(OUTBOX, cast("OutboxStore", self.outbox)),  # only stages
        )
        self.transactions = Transactions(self.context)

    @property
    def published(self) -> list[tuple[str, Any]]:
        """Key and message of everything staged."""
        envelopes: list[Envelope] = [decode_envelope(document) for document in self.outbox.documents]
        return [(each.key, decode_body(each.body, registry.find(each.type, each.version))) for each in envelopes]

    async def stored(self, stream: str) -> list[Any]:
        """The events of a stream."""
        events = [each.event for each in await self.stores[EVENTS].read_stream(stream, limit=10_000)]
        return [decode_body(each.data, registry.find(each.type, each.schema_version)) for each in events]


@asynccontextmanager
async def open_bank(url: str) -> AsyncIterator[Bank]:
    """A bank on a database with all tables made."""
    stores = open_stores(url)
    await stores.database.open()
    try:
        await stores.database.upgrade()
        yield Bank(stores)
    finally:
        await stores.database.close()
