"""The transaction that handlers use. Imports the foundation, the ports and its package."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, overload
from uuid import UUID

from freehold.consistency.token import ConsistencyToken
from freehold.database import DatabaseTransaction
from freehold.errors import DeclarationError, InvalidValue
from freehold.eventstore.store import Expectation, ExpectedVersion
from freehold.messages import Envelope, MessageKind, message_type, restarted_trace
from freehold.messages.values import check_delay, check_id, check_moment
from freehold.sql import SqlConnection, sql_of
from freehold.transaction.envelopes import kept_event
from freehold.transaction.staging_area import StagingArea

__all__ = ["Transaction"]


class Transaction:
    """A transaction on the service's database. Publish, send and schedule take effect with its commit, or not at all.

    `connection` is the engine's own connection, for the service's tables; `freehold.sqlalchemy` returns it typed, and
    makes sessions. `cause` is the message being handled; messages sent here get its correlation id, and it is their
    cause. Without a cause, `correlation_id` is that of the present work, for example of an HTTP request. `staging` is
    for patterns, which stage more than messages and events.

    A transaction ends with its block. After that, and during its commit, everything here raises `TransactionEnded`;
    only `token` can still be read. Tasks that share a transaction may publish at the same time, and their statements
    run one after the other; they must end before the block does. What was staged inside a savepoint is not sent if the
    savepoint is rolled back.
    """

    __slots__ = ("staging",)

    def __init__(self, staging: StagingArea) -> None:
        self.staging = staging

    @property
    def db_tx(self) -> DatabaseTransaction:
        """The database transaction."""
        return self.staging.db_tx

    @property
    def cause(self) -> Envelope | None:
        """The message being handled."""
        return self.staging.cause

    @property
    def correlation_id(self) -> UUID | None:
        """The correlation id of messages sent here; None where each message begins its own."""
        return self.staging.correlation_id

    @property
    def connection(self) -> Any:
        """The engine's connection, for the service's own tables. Raises `TransactionEnded`."""
        self.db_tx.life.check()
        return self.db_tx.native

    @property
    def sql(self) -> SqlConnection:
        """The same transaction without SQLAlchemy, for hot paths: statements with `$1` placeholders.

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
        """Stage an event of this service for all its subscribers; returns the message id.

        Raises `DeclarationError` for a class that is not an event or belongs to another service, and `InvalidValue`.
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
        """Stage a command to the service that owns it; returns the message id. Raises `DeclarationError`,
        `InvalidValue`.
        """
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
        """Stage a message to be sent `delay_seconds` after the commit, or `at` a time with a time zone; returns the id
        for `cancel`. Durable. With a time that has passed, the message is sent at once.

        Raises `InvalidValue` for a delay that is not a number from 0 to `DELAY_SECONDS_MAX`, for a time without a time
        zone, and unless exactly one of the two is given.
        """
        if at is None:
            check_delay("delay_seconds", delay_seconds)
            delay = delay_seconds or 0.0
        else:
            if delay_seconds is not None:
                raise InvalidValue("at", "must not be given together with delay_seconds")
            check_moment("at", at)
            delay = max(0.0, (at - self.staging.context.clock.now()).total_seconds())
            check_delay("at", delay)
        envelope = self.staging.envelope(message, key=key)
        self.staging.schedule(restarted_trace(envelope) if delay else envelope, delay)
        return envelope.id

    async def cancel(self, message_id: UUID) -> bool:
        """Cancel a scheduled message. False: it was moved to the outbox, or never existed."""
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
        """Stage events of this service for a stream (`category-id`). The commit stores them; they are not published.

        `expected` is checked when the events are written (see `write`), which then raises `ConcurrencyConflict`. Events
        of several calls for one stream are appended together; the expected version of a later call includes the events
        of earlier ones. Raises `DeclarationError`, `InvalidValue`, and `ConcurrencyConflict` where two calls contradict
        each other.
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
        """Append the event being handled, unchanged, to a stream of this service: so read models of other services'
        events can be rebuilt. Raises `DeclarationError` where no event is being handled.
        """
        self.db_tx.life.check()
        if self.cause is None or self.cause.kind is not MessageKind.EVENT:
            raise DeclarationError("there is no event to keep", hint="call keep in the handler of an event")
        self.staging.append(stream, [kept_event(self.cause)], Expectation.ANY)

    @property
    def token(self) -> ConsistencyToken:
        """The consistency token: positions that this transaction has seen and, once they are written, those of its own
        events. Pass it on after the commit, to reads that must see this transaction. After a rollback it has no use.
        """
        return self.staging.token

    async def write(self) -> None:
        """Write what is staged now, and not at the end of the block. Afterwards the rows of inline projections can be
        read, and an unexpected version of a stream is known.

        In a transaction of your own that was joined, only this call writes. Raises `ConcurrencyConflict`,
        `TransactionEnded`.
        """
        await self.staging.write()
