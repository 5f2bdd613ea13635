"""The declaration of a projection: its name, version, tables and handlers. Imports the foundation and its package.

Each part is checked when it is declared.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from freehold.errors import DeclarationError
from freehold.eventstore.store import BUCKETS, EventFilter
from freehold.fields import is_whole
from freehold.messages import MessageKind, MessageType, message_type
from freehold.messages.upcast import upcasters
from freehold.policy import Retry
from freehold.projection.interfaces import (
    BatchFunction,
    DecodedEvent,
    EventFunction,
    KeyLookup,
    KeyStreams,
    ProjectionContext,
    Sink,
    SinkEvent,
)
from freehold.projection.read_model_store import DeclaredTable
from freehold.projection.store import PARKED_READ_MAX
from freehold.projection.tables import declared

__all__ = [
    "BatchFunction",
    "DecodedEvent",
    "EventFunction",
    "KeyLookup",
    "KeyStreams",
    "Projection",
    "ProjectionContext",
    "Sink",
    "SinkEvent",
    "stored_types",
]

E = TypeVar("E")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VERSION_MAX = 2**31 - 1
_BATCH_MAX = 10_000
_RETRY = Retry(attempts=5, delay_seconds=1.0, delay_seconds_max=60.0)


@dataclass(slots=True, eq=False)
class Projection:
    """A read model that follows the events of the service's own store.

    name         lower case, digits and '-'.
    version      raise it when handlers or tables change: the next generation is built by the new code and then shown.
    tables       SQLAlchemy tables that the handlers write, made for each generation; read them by their plain names.
    categories   the categories of streams to follow; all if empty.
    partitions   how many instances may share the work. Streams are divided between them; the order in a partition is
                 kept.
    inline       run in the transaction of the append: there is no lag, and a failing handler rolls the append back.
    start        "earliest", or "now": without the events that were appended before the first start.
    batch_limit  the most events that one transaction applies.
    retry        when to retry a parked stream; after the last attempt it waits for an operator.
    parked_max   how many parked streams a generation may have. With more of them it pauses itself, because the fault is
                 then probably in the code.
    sink         the read model outside of the database, in place of tables; `events` names the events that it gets.
    key_columns  for each table, by name, the column with the key of a row's stream: a rebuild of a single key deletes
                 by it. If streams of several categories are followed, the column by category: a table has no rows of
                 the categories that it does not name. `key_of` makes the column's value from the name of the stream; by
                 default it is what follows the first '-'.
    key_streams  the other streams to rebuild together with one, if several belong together, such as those of a customer
                 and of their orders. It must find them in the events, because rows may be missing.

    Raises `DeclarationError` for what cannot work.
    """

    name: str
    version: int = 1
    tables: tuple[DeclaredTable, ...] = ()
    categories: Collection[str] = frozenset()
    partitions: int = 4
    inline: bool = False
    start: Literal["earliest", "now"] = "earliest"
    batch_limit: int = 500
    retry: Retry = _RETRY
    parked_max: int = 100
    sink: Sink | None = None
    events: tuple[type[Any], ...] = ()
    key_columns: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    key_of: Callable[[str], object] | None = None
    key_streams: KeyStreams | None = None
    handlers: dict[type[Any], EventFunction] = field(default_factory=dict, init=False)
    batch_handler: BatchFunction | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        self.tables = declared(self.tables)
        self.categories = frozenset(self.categories)
        if not _NAME.fullmatch(self.name):
            raise DeclarationError(
                f"'{self.name}' is not a valid name of a projection", hint="lower case, digits and '-'"
            )
        for limit, value, least, most in (
            ("version", self.version, 1, _VERSION_MAX),
            ("batch_limit", self.batch_limit, 1, _BATCH_MAX),
            ("partitions", self.partitions, 1, BUCKETS),
            ("parked_max", self.parked_max, 0, PARKED_READ_MAX),
        ):
            if not is_whole(value) or not least <= value <= most:
                raise DeclarationError(
                    f"projection '{self.name}': {limit} must be a whole number between {least} and {most}"
                )
        if any("-" in category for category in self.categories):
            raise DeclarationError(
                f"projection '{self.name}': a category ends at the first '-' of a stream's name", hint="leave '-' out"
            )
        self._check_sink()
        self._check_key_columns()

    def on(self, event: type[E]) -> Callable[[Callable[[E, ProjectionContext], Awaitable[None]]], EventFunction]:
        """Make a function the handler of an event; upcasters turn stored events into the version of this class.

        It is called in the order of each stream, in one transaction with other events and the checkpoint. Raises
        `DeclarationError`.
        """
        declared = self._event(event)

        def decorate(function: Callable[[E, ProjectionContext], Awaitable[None]]) -> EventFunction:
            self._check_function(function, "(event, write)")
            if declared.cls in self.handlers:
                raise DeclarationError(f"projection '{self.name}' handles '{declared.name}' twice")
            if self.batch_handler is not None:
                raise self._both()
            self.handlers[declared.cls] = function
            return function

        return decorate

    def on_batch(self, *events: type[Any]) -> Callable[[BatchFunction], BatchFunction]:
        """Make a function the handler of all these events, a batch at a time, for speed.

        It gets pairs of event and `RecordedEvent` in order of position. When it fails, the batch is divided until the
        failing event is alone, each part in a transaction of its own. Raises `DeclarationError`.
        """
        for event in events:
            self._event(event)

        def decorate(function: BatchFunction) -> BatchFunction:
            self._check_function(function, "(batch, write)")
            if not events:
                raise DeclarationError(f"projection '{self.name}': name the events", hint="@on_batch(OrderPlaced, …)")
            if self.handlers or self.batch_handler is not None:
                raise self._both()
            self.batch_handler = function
            self.events = events
            return function

        return decorate

    @property
    def types(self) -> frozenset[str]:
        """Names of the stored events that are handled, or that upcasters turn into handled ones."""
        return stored_types(self.handled)

    @property
    def event_filter(self) -> EventFilter:
        """The stored events that the projection follows, of all its partitions."""
        return EventFilter(categories=frozenset(self.categories), types=self.types)

    @property
    def handled(self) -> frozenset[type[Any]]:
        """The classes of the handled events."""
        return frozenset(self.handlers) or frozenset(self.events)

    def check(self) -> None:
        """Raise `DeclarationError` for a projection that would do nothing; called when a service gets it."""
        if not self.handled:
            raise DeclarationError(
                f"projection '{self.name}' handles no event", hint="decorate a function with @projection.on(Event)"
            )
        if self.sink is None and self.batch_handler is None and not self.handlers:
            raise DeclarationError(f"projection '{self.name}' names events for a sink, and has no sink")

    def _event(self, event: type[Any]) -> MessageType:
        declared = message_type(event)
        if declared.kind is not MessageKind.EVENT:
            raise DeclarationError(f"projection '{self.name}': '{declared.name}' is a {declared.kind.value}")
        if self.sink is not None:
            raise DeclarationError(
                f"projection '{self.name}' has a sink, which takes the events itself", hint="events=(OrderPlaced, …)"
            )
        return declared

    def _check_function(self, function: Callable[..., Any], takes: str) -> None:
        if not inspect.iscoroutinefunction(function):
            raise DeclarationError(f"{function.__qualname__} of projection '{self.name}' must be async")
        if len(inspect.signature(function).parameters) != 2:
            raise DeclarationError(f"{function.__qualname__} must take two arguments", hint=takes)

    def _both(self) -> DeclarationError:
        return DeclarationError(
            f"projection '{self.name}' has another handler", hint="either @on for single events, or one @on_batch"
        )

    def _check_sink(self) -> None:
        if self.sink is None:
            if self.events:
                raise DeclarationError(f"projection '{self.name}': events are for a sink", hint="use @on or @on_batch")
            return
        if self.tables or self.inline:
            raise DeclarationError(
                f"projection '{self.name}' has a sink, so it has no tables and is not inline",
                hint="declare two projections",
            )
        for event in self.events:
            if message_type(event).kind is not MessageKind.EVENT:
                raise DeclarationError(f"projection '{self.name}': '{message_type(event).name}' is no event")

    def _check_key_columns(self) -> None:
        columns = {table.name: set(table.columns.keys()) for table in self.tables}
        for table, named in self.key_columns.items():
            by_category = {} if isinstance(named, str) else named
            for column in [named] if isinstance(named, str) else by_category.values():
                if column not in columns.get(table, ()):
                    raise DeclarationError(
                        f"projection '{self.name}': there is no column '{column}' in table '{table}'"
                    )
            unknown = sorted(set(by_category) - set(self.categories))
            if unknown:
                raise DeclarationError(f"projection '{self.name}' does not follow the category '{unknown[0]}'")
            if isinstance(named, str) and len(self.categories) > 1 and self.key_of is None:
                raise DeclarationError(
                    f"projection '{self.name}': streams of several categories may have the same key in '{table}'",
                    hint=f'key_columns={{"{table}": {{"{min(self.categories)}": "{named}"}}}}',
                )


def stored_types(classes: Iterable[type[Any]]) -> frozenset[str]:
    """Names of the stored events that are of these classes, or that upcasters turn into them."""
    wanted = {(declared.name, declared.version) for declared in map(message_type, classes)}
    older = {each.name for each in upcasters if not wanted.isdisjoint(upcasters.ends(each.name, each.from_version))}
    return frozenset({name for name, _ in wanted} | older)
