"""The context of a projection's handler: a transaction and the tables of one generation. Imports the transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from freehold.consistency.token import ConsistencyToken
from freehold.errors import DeclarationError
from freehold.eventstore.store import RecordedEvent
from freehold.messages import Envelope, MessageKind
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.read_model_store import DeclaredTable
from freehold.projection.tables import PlacedTables
from freehold.sql import SqlConnection
from freehold.transaction import Transaction

__all__ = ["TransactionProjectionContext"]

T = TypeVar("T", bound=DeclaredTable)


class TransactionProjectionContext:
    """Writes in `tx` to the tables of a generation. `on_suppressed` is called for each suppressed side effect."""

    __slots__ = ("_event", "_names", "_on_suppressed", "_projection", "_service", "_tables", "generation", "live", "tx")

    def __init__(
        self,
        tx: Transaction,
        projection: Projection,
        service: str,
        tables: PlacedTables,
        *,
        generation: int,
        live: bool,
        event: RecordedEvent | None = None,
        on_suppressed: Callable[[], None] = lambda: None,
    ) -> None:
        self.tx = tx
        self.generation = generation
        self.live = live
        self._on_suppressed = on_suppressed
        self._projection = projection
        self._service = service
        self._tables = tables
        self._event = event
        self._names: dict[int, str] = {}

    @property
    def recorded(self) -> RecordedEvent:
        """The event that is being handled."""
        if self._event is None:
            raise DeclarationError(
                f"projection '{self._projection.name}' handles several events at a time",
                hint="use the RecordedEvent beside each event of the batch: write.at(recorded)",
            )
        return self._event

    @property
    def sql(self) -> SqlConnection:
        """The transaction without SQLAlchemy's layers."""
        return self.tx.sql

    @property
    def connection(self) -> Any:
        """The transaction as SQLAlchemy's `AsyncConnection`."""
        return self.tx.connection

    def name(self, table: DeclaredTable) -> str:
        """A declared table's name in this generation, for the text of a statement."""
        found = self._names.get(id(table))
        if found is None:
            # By identity: declared tables live as long as their projection.
            found = self._names[id(table)] = self._tables.sql_name(table, self.generation)
        return found

    def table(self, table: T) -> T:
        """A declared table in this generation."""
        return self._tables.physical(table, self.generation)

    def at(self, recorded: RecordedEvent) -> ProjectionContext:
        """This context for another event."""
        return TransactionProjectionContext(
            self.tx,
            self._projection,
            self._service,
            self._tables,
            generation=self.generation,
            live=self.live,
            event=recorded,
            on_suppressed=self._on_suppressed,
        )

    def move_to(self, recorded: RecordedEvent) -> None:
        """Move to the next event; for the invoker."""
        self._event = recorded

    def publish(self, event: object, *, key: str | None = None) -> UUID | None:
        """Publish, with the event that is being handled as its cause."""
        caused = self._effects()
        return None if caused is None else caused.publish(event, key=key)

    def send(self, command: object, *, key: str | None = None) -> UUID | None:
        """Send, in the same way."""
        caused = self._effects()
        return None if caused is None else caused.send(command, key=key)

    def schedule(self, message: object, *, delay_seconds: float, key: str | None = None) -> UUID | None:
        """Schedule, in the same way."""
        caused = self._effects()
        return None if caused is None else caused.schedule(message, delay_seconds=delay_seconds, key=key)

    def _effects(self) -> Transaction | None:
        if not self.live:
            self._on_suppressed()
            return None
        recorded = self.recorded
        caused = self.tx.staging.for_message(_cause(recorded, self._service))
        caused.observe(ConsistencyToken({self._service: recorded.position}))
        return Transaction(caused)


def _cause(recorded: RecordedEvent, service: str) -> Envelope:
    """A stored event as the cause of a message. It was not published, so it has no body and no lane."""
    event = recorded.event
    return Envelope(
        id=event.id,
        type=event.type,
        version=event.schema_version,
        kind=MessageKind.EVENT,
        source=service,
        topic=f"{service}.events",
        key=recorded.stream,
        time=recorded.recorded_at,
        hlc=event.hlc,
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        trace_parent=event.trace_parent,
        body=b"",
    )
