"""The outbox and the inbox alone, for code that has its own sessions and transactions. Runtime.

Nothing here commits or rolls back the user's transaction: what is written joins it, and commits or rolls back with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from freehold.clock import Clock
from freehold.database import CommitWatching, DatabaseOptions
from freehold.inbox.store import INBOX, IncomingMessage, ReceiveStatus
from freehold.messages.texts import check_name
from freehold.outbox.operations import Resend, Resent
from freehold.outbox.store import STAGED
from freehold.runtime.adapters import open_stores
from freehold.runtime.database_schema import check_schema
from freehold.runtime.running_service import RunningService
from freehold.schedule.store import SCHEDULED
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction

__all__ = ["Inbox", "Outbox"]


class Outbox:
    """The transactional outbox for existing code. `async with Outbox("orders", database, broker) as outbox:` runs its
    relay.

    The methods take the user's own SQLAlchemy `AsyncSession` or `AsyncConnection`, asyncpg connection or psycopg
    `AsyncConnection`, with an open transaction, and write one row in it. A commit by SQLAlchemy wakes the relay;
    otherwise the relay polls once a second. Messages can be published while the broker cannot be reached: the relay
    sends them afterwards. With `relay=False` another process runs the relay, and this one needs no broker.
    """

    def __init__(
        self,
        service: str,
        database: str,
        broker: str,
        *,
        relay: bool = True,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        self._running = RunningService(
            Service(service),
            Settings.load(service, environ={}, database=database, broker=broker, **settings),
            roles=("relay", "schedule", "prune") if relay else (),
            clock=clock,
            connects=relay,
        )

    @property
    def running(self) -> RunningService:
        """The running service behind it: for health and stores."""
        return self._running

    async def __aenter__(self) -> Self:
        """Make missing tables, and start the relay."""
        await self._running.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the relay."""
        await self._running.stop()

    async def publish(
        self,
        session: object,
        event: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Publish an event when the user commits; returns its id. Raises `DeclarationError`, `ConfigurationError`."""
        tx = self._running.transactions.enlist(session)
        message_id = tx.publish(event, key=key, subject=subject, headers=headers)
        await self._write(tx, session)
        return message_id

    async def send(
        self,
        session: object,
        command: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Send a command when the user commits; returns its id. Raises as `publish` does."""
        tx = self._running.transactions.enlist(session)
        message_id = tx.send(command, key=key, subject=subject, headers=headers)
        await self._write(tx, session)
        return message_id

    async def schedule(self, session: object, message: object, *, delay_seconds: float, key: str | None = None) -> UUID:
        """Send a message `delay_seconds` later, if the user commits; returns the id that `cancel` takes."""
        tx = self._running.transactions.enlist(session)
        message_id = tx.schedule(message, delay_seconds=delay_seconds, key=key)
        await self._write(tx, session)
        return message_id

    async def cancel(self, session: object, message_id: UUID) -> bool:
        """Cancel a scheduled message when the user commits. False: it was sent already."""
        return await self._running.transactions.enlist(session).cancel(message_id)

    async def resend(self, *, reason: str, since: datetime | None = None, actor: str = "outbox") -> Resent:
        """Publish messages again that the broker confirmed and then lost, as far as `outbox_sent_retention_seconds` has
        kept them: those confirmed at `since` or later, by default all. `actor` and `reason` are recorded.

        The same as `freehold outbox resend`. Raises `Unavailable`, and `ConfigurationError` for a `since` that is
        longer ago than `dedup_window_seconds`.
        """
        resend = Resend(self._running.context)
        done = await resend.run(await resend.plan(since), actor=actor, reason=reason)
        self._wake()
        return done

    async def _write(self, tx: Transaction, session: object) -> None:
        """Stage, and wake the loops at the commit if the user's library reports it. A needless wake is harmless."""
        await tx.write()
        database = self._running.stores.database
        if isinstance(database, CommitWatching):
            database.on_commit(session, self._wake)

    def _wake(self) -> None:
        self._running.context.emit(STAGED)
        self._running.context.emit(SCHEDULED)


class Inbox:
    """The idempotent inbox for existing code: `if await inbox.first_time(session, message_id): ...`.

    The receipt joins the user's transaction: if that is rolled back, the message was not handled.
    """

    def __init__(
        self, consumer: str, database: str, *, options: DatabaseOptions | Mapping[str, Any] | None = None
    ) -> None:
        self._consumer = check_name("consumer", consumer)
        self._stores = open_stores(database, options)

    async def __aenter__(self) -> Self:
        """Make missing tables."""
        await self._stores.database.open()
        await self._stores.database.upgrade()
        await check_schema(self._consumer, self._stores.database, repairs=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self._stores.database.close()

    async def first_time(self, session: object, message_id: UUID | str) -> bool:
        """Write the receipt of a message; False if there is one already. Waits for a concurrent transaction that has
        written the same receipt.

        Raises `InvalidValue` for an id that cannot be a key.
        """
        key = check_name("message_id", str(message_id) if isinstance(message_id, UUID) else message_id)
        db_tx = self._stores.database.enlist(session)
        incoming = IncomingMessage(receipt_key=key, topic="", key=key)
        receipts = await self._stores[INBOX].receive(db_tx, self._consumer, [incoming])
        return receipts[0].status is ReceiveStatus.NEW

    async def prune(self, older_than_seconds: float, *, limit: int = 1000) -> int:
        """Delete receipts of this consumer that are older than this, `limit` at most; returns how many. Receipts of
        other consumers in the database stay. Call it regularly.
        """
        return await self._stores[INBOX].prune(self._consumer, older_than_seconds, limit)
