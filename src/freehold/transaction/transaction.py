"""The transaction as handlers hold it. Imports the foundation, the ports and its package.

What was staged is gone with a rollback, like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, overload
from uuid import UUID

from freehold.consistency.token import ConsistencyToken
from freehold.database import DatabaseTransaction
from freehold.errors import DeclarationError, InvalidValue
from freehold.eventstore.store import Expectation, ExpectedVersion
from freehold.messages import Envelope, MessageKind, message_type
from freehold.messages.values import check_delay, check_id, check_moment
from freehold.sql import SqlConnection, sql_of
from freehold.transaction.envelopes import kept_event
from freehold.transaction.staging_area import StagingArea

__all__ = ["Transaction"]


class Transaction:
    """A transaction on the service's database. Publish, send and schedule take effect with its commit, or not at all.

    `connection` is what the database's engine gives the user to write with; `freehold.sqlalchemy` gives it with its
    type, and sessions. `cause` is the message being handled; messages sent here inherit its correlation id and name it
    as their cause. Where there is no cause, `correlation_id` is that of what goes on, an HTTP request for one.
    `staging` is for patterns, which stage more than messages and events.

    It lives as long as its block. After that, and while it is being committed, everything here raises
    `TransactionEnded`; `token` can still be read. Tasks that share a transaction may publish at the same time, and
    their statements take turns; they have to end before the block does. What was staged inside a savepoint that is
    rolled back is not sent.
    """

    __slots__ = ("staging",)

    def __init__(self, staging: StagingArea) -> None:
        self.staging = staging

    @property
    def db_tx(self) -> DatabaseTransaction:
        """The transaction of the database."""
        return self.staging.db_tx

    @property
    def cause(self) -> Envelope | None:
        """The message being handled."""
        return self.staging.cause

    @property
    def correlation_id(self) -> UUID | None:
        """What the messages sent here belong to."""
        return self.staging.correlation_id

    @property
    def connection(self) -> Any:
        """What the service writes its own tables with. Raises `TransactionEnded`."""
        self.db_tx.life.check()
        return self.db_tx.native

    @property
    def sql(self) -> SqlConnection:
        """The same transaction without SQLAlchemy's layers, for hot paths: statements with `$1` placeholders.

        Raises `DeclarationError` on a database that does not speak SQL, `TransactionEnded`.
        """
        self.db_tx.life.check()
        return sql_of(self.db_tx)

    def publish(
        self,
        event: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Stage a fact of this service for everybody who subscribes; returns the message id.

        Raises `DeclarationError` for a class that is no event or is owned by another service.
        """
        self.staging.envelopes.check_event(message_type(event))
        envelope = self.staging.envelope(event, key=key, subject=subject, headers=headers)
        self.staging.stage(envelope)
        return envelope.id

    def send(
        self,
        command: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Stage a request to the one service that owns the command; returns the message id."""
        declared = message_type(command)
        if declared.kind is not MessageKind.COMMAND:
            raise DeclarationError(f"'{declared.name}' is an {declared.kind.value}", hint="use publish for events")
        envelope = self.staging.envelope(command, key=key, subject=subject, headers=headers)
        self.staging.stage(envelope)
        return envelope.id

    @overload
    def schedule(self, message: object, *, delay_seconds: float, key: str | None = None) -> UUID: ...

    @overload
    def schedule(self, message: object, *, at: datetime, key: str | None = None) -> UUID: ...

    def schedule(
        self,
        message: object,
        *,
        delay_seconds: float | None = None,
        at: datetime | None = None,
        key: str | None = None,
    ) -> UUID:
        """Have a message sent `delay_seconds` after the commit, or `at` a time with a zone; returns the id that
        `cancel` takes. Durable. A time that has passed means at once.

        Raises `InvalidValue` for a delay below 0, above `DELAY_SECONDS_MAX`, or that is no number, for what is no time
        with a zone, and where not exactly one of the two is given.
        """
        if at is None:
            check_delay("delay_seconds", delay_seconds)
            delay = delay_seconds or 0.0
        else:
            if delay_seconds is not None:
                raise InvalidValue("at", "must not be given beside delay_seconds")
            check_moment("at", at)
            delay = max(0.0, (at - self.staging.context.clock.now()).total_seconds())
            check_delay("at", delay)
        envelope = self.staging.envelope(message, key=key)
        self.staging.schedule(envelope, delay)
        return envelope.id

    async def cancel(self, message_id: UUID) -> bool:
        """Take a scheduled message back. False when it is on its way already."""
        check_id("message_id", message_id)
        return await self.staging.cancel(message_id)

    def append(
        self,
        stream: str,
        *events: object,
        expected: ExpectedVersion = Expectation.ANY,
        subject_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Add events of this service's own to a stream (`category-id`) with the commit. They are kept, not published.

        `expected` is checked when the events are written (`write`), which then raises `ConcurrencyConflict`. Events of
        several calls for one stream go together; what a later call expects counts those of the earlier ones. Raises
        `DeclarationError`, `CodecError`, `ConcurrencyConflict` where two calls contradict each other.
        """
        self.db_tx.life.check()
        made = [
            self.staging.envelopes.event(
                event,
                cause=self.cause,
                correlation_id=self.correlation_id,
                subject_key=subject_key,
                headers=headers,
            )
            for event in events
        ]
        self.staging.append(stream, made, expected)

    def keep(self, stream: str) -> None:
        """Append the event being handled to a stream of this service, as it came: a copy of others' history, which
        read models can be built from again. Raises `DeclarationError` where no event is being handled.
        """
        self.db_tx.life.check()
        if self.cause is None or self.cause.kind is not MessageKind.EVENT:
            raise DeclarationError("there is no event to keep", hint="call keep in the handler of an event")
        self.staging.append(stream, [kept_event(self.cause)], Expectation.ANY)

    @property
    def token(self) -> ConsistencyToken:
        """What this transaction has seen and, once they are written, where its own events stand.

        Give it to whoever may read next, after the commit; a rolled-back transaction's is worth nothing.
        """
        return self.staging.token

    async def write(self) -> None:
        """Write now what was staged so far; the block's end does it otherwise. For what comes of it in here: rows of
        inline projections can be read after it, and a stream that somebody else appended to is told at once.

        A transaction of your own that was joined is written by nothing else. Raises `ConcurrencyConflict`,
        `TransactionEnded`.
        """
        await self.staging.write()
