"""What the handlers of a projection are given, and what a sink and the finding of a key's streams have to do.

Imports the foundation. Users name these through `freehold.projection.declaration`, where projections are declared.
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
"""An event as the code knows it today, and as it is stored. One stored event may have become several, or none."""


class ProjectionContext(Protocol):
    """What a handler writes with: the transaction that also moves the checkpoint, in one generation's tables."""

    @property
    def recorded(self) -> RecordedEvent:
        """The event as it is stored: position, stream, version, time, ids and headers.

        Raises `DeclarationError` in a handler of batches, which has them beside the events: see `at`.
        """

    @property
    def live(self) -> bool:
        """Whether this is the generation that is read, and that side effects come from."""

    @property
    def generation(self) -> int:
        """The generation's number; 1 in inline projections."""

    @property
    def sql(self) -> SqlConnection:
        """The transaction without SQLAlchemy's layers: statements with `$1` placeholders."""

    @property
    def connection(self) -> Any:
        """The transaction as SQLAlchemy's `AsyncConnection`."""

    def name(self, table: DeclaredTable) -> str:
        """The name, for the text of a statement, of a declared table in this generation."""

    def table(self, table: T) -> T:
        """A declared table as it is in this generation, for statements that take a table: SQLAlchemy's."""

    def at(self, recorded: RecordedEvent) -> ProjectionContext:
        """The same, seen from the handling of an event: what is published names it as its cause."""

    def publish(self, event: object, *, key: str | None = None) -> UUID | None:
        """Publish with the commit; in a generation that is not live nothing happens, and None is returned."""

    def send(self, command: object, *, key: str | None = None) -> UUID | None:
        """Send with the commit, likewise."""

    def schedule(self, message: object, *, delay_seconds: float, key: str | None = None) -> UUID | None:
        """Have a message sent later, likewise."""


EventFunction = Callable[[Any, ProjectionContext], Awaitable[None]]
BatchFunction = Callable[[Sequence[DecodedEvent], ProjectionContext], Awaitable[None]]


class KeyLookup(Protocol):
    """What the streams of a single key are found with: reads outside of any transaction, which block nobody."""

    @property
    def sql(self) -> SqlConnection:
        """The service's database; the live rows stand under their plain names. They may be what is wrong."""

    def events(self, *classes: type[Any]) -> AsyncIterator[DecodedEvent]:
        """The stored events of these classes in the categories that are followed, in order of position. What cannot be
        decoded is left out: its stream is parked.
        """


KeyStreams = Callable[[str, KeyLookup], Awaitable[Collection[str]]]
"""Names the other streams whose rows are made again together with those of a stream."""


@dataclass(frozen=True, slots=True)
class SinkEvent:
    """An event for a sink. `part` counts what one stored event became, from 0: order by position and part."""

    position: int
    part: int
    event: Any
    recorded: RecordedEvent


@runtime_checkable
class Sink(Protocol):
    """A read model that is kept elsewhere: in a search engine, a file, another database.

    The checkpoint follows the write, so after a crash or a take-over the same changes come again, also while a write of
    an instance that was taken over is still on its way. So a sink keeps with each thing the position of its last
    change, and passes over changes that are not later: then writing twice, or late, does no harm.
    """

    async def prepare(self, generation: int) -> None:
        """Make the place for a generation. Called again after a crash: what is there already is no error."""

    async def write(self, generation: int, changes: Sequence[SinkEvent]) -> None:
        """Apply changes, in order, durable on return; idempotent by position. Raises `Unavailable` to be tried again;
        any other error parks the stream of the change that alone still fails.
        """

    async def show(self, generation: int) -> None:
        """Have readers read this generation. Called again after a crash."""

    async def drop(self, generation: int) -> None:
        """Delete a generation; one that is gone is no error."""
