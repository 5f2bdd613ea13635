"""The interfaces of a projection: what handlers get, and what a sink and a look-up of a key's streams implement.

Imports the foundation and the ports. Users import them from `freehold.projection`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from freehold.eventstore.store import RecordedEvent
from freehold.projection.read_model_store import DeclaredTable
from freehold.sql import SqlConnection

__all__ = [
    "BatchFunction",
    "DecodedEvent",
    "EventFunction",
    "KeyLookup",
    "KeyStreams",
    "ProjectionContext",
    "Sink",
    "SinkEvent",
]

T = TypeVar("T", bound=DeclaredTable)
DecodedEvent = tuple[Any, RecordedEvent]
"""An event in its present version, and as it is stored. Upcasters may turn one stored event into several, or none."""


class ProjectionContext(Protocol):
    """The context of a handler: the transaction that also moves the checkpoint, and the tables of one generation."""

    @property
    def recorded(self) -> RecordedEvent:
        """The event as it is stored: position, stream, version, time, ids and headers.

        Raises `DeclarationError` in a handler of batches, which gets it beside each event: see `at`.
        """

    @property
    def live(self) -> bool:
        """Whether this is the generation that readers see, and that has side effects."""

    @property
    def generation(self) -> int:
        """The number of the generation; 1 in inline projections."""

    @property
    def sql(self) -> SqlConnection:
        """The transaction without SQLAlchemy's layers: statements with `$1` placeholders."""

    @property
    def connection(self) -> Any:
        """The transaction as SQLAlchemy's `AsyncConnection`."""

    def name(self, table: DeclaredTable) -> str:
        """The name of a declared table in this generation, for the text of a statement."""

    def table(self, table: T) -> T:
        """A declared table in this generation, for statements of SQLAlchemy."""

    def at(self, recorded: RecordedEvent) -> ProjectionContext:
        """This context for one event of a batch: what is published names it as its cause."""

    def publish(self, event: object, *, key: str | None = None) -> UUID | None:
        """Publish with the commit. In a generation that is not live it does nothing, and returns None."""

    def send(self, command: object, *, key: str | None = None) -> UUID | None:
        """Send a command, in the same way."""

    def schedule(self, message: object, *, delay_seconds: float, key: str | None = None) -> UUID | None:
        """Send a message later, in the same way."""


EventFunction = Callable[[Any, ProjectionContext], Awaitable[None]]
BatchFunction = Callable[[Sequence[DecodedEvent], ProjectionContext], Awaitable[None]]


class KeyLookup(Protocol):
    """Reads by which `key_streams` finds the streams of a key: outside of any transaction, without locks."""

    @property
    def sql(self) -> SqlConnection:
        """The service's database. The live rows have their plain names; they may be the ones that are wrong."""

    def events(self, *classes: type[Any]) -> AsyncIterator[DecodedEvent]:
        """The stored events of these classes in the categories that are followed, in order of position. An event that
        cannot be decoded is left out: its stream is parked.
        """


KeyStreams = Callable[[str, KeyLookup], Awaitable[Collection[str]]]
"""Returns the names of the other streams whose rows are rebuilt together with those of a stream."""


@dataclass(frozen=True, slots=True)
class SinkEvent:
    """An event for a sink. `part` numbers, from 0, the events that upcasters made of one stored event."""

    position: int
    part: int
    event: Any
    recorded: RecordedEvent


@runtime_checkable
class Sink(Protocol):
    """A read model outside of the service's database: in a search engine, a file, another database.

    The checkpoint moves after the write. So after a crash or a take-over the same changes are written again, even while
    a write of the former instance is still in progress. A sink must therefore store, with each entry, the position and
    part of its last change, and ignore changes that are not later: then a repeated or a late write does no harm.
    """

    async def prepare(self, generation: int) -> None:
        """Create the storage of a generation. Called again after a crash: existing storage is no error."""

    async def write(self, generation: int, changes: Sequence[SinkEvent]) -> None:
        """Apply changes in order; durable on return, idempotent by position and part. Raises `Unavailable` to be
        retried; any other error parks the stream of the change that fails alone.
        """

    async def show(self, generation: int) -> None:
        """Let readers see this generation. Called again after a crash."""

    async def drop(self, generation: int) -> None:
        """Delete a generation; a deleted one is no error."""
