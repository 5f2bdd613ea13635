"""The declaration of a service: its name, handlers, sagas and migrations, without any connection.

Runtime: imports the foundation and the patterns. Each declaration is checked when it is made.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from freehold.context import Declares
from freehold.errors import DeclarationError
from freehold.inbox.handler import Handler, HandlerFunction, Handlers
from freehold.messages import MessageKind, MessageType, message_type
from freehold.migrations import Migration
from freehold.policy import Retry
from freehold.reconcile.dataset import Dataset, Datasets, DatasetTable, Replica
from freehold.transaction import Transaction

if TYPE_CHECKING:
    from freehold.pattern import Pattern
    from freehold.projection.declaration import Projection
    from freehold.projection.view_store import MaterializedView
    from freehold.saga.definition import Saga

__all__ = ["Handler", "HandlerFunction", "Service"]

M = TypeVar("M")
K = TypeVar("K")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(slots=True)
class Service:
    """A name, one database, handlers. Import it and decorate functions with it; `freehold.runtime` runs it.

    `retry` is the policy of handlers that have none. `migrations` make the service's own tables; they are applied after
    Freehold's. `patterns` are the project's own patterns, in addition to the built-in ones (`freehold.pattern`).
    """

    name: str
    migrations: Sequence[Migration] = ()
    retry: Retry = field(default_factory=Retry)
    patterns: Sequence[Pattern[Any]] = ()
    _registries: dict[str, object] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a name that cannot be part of a topic, a setting and a file name."""
        if _NAME.fullmatch(self.name) is None:
            raise DeclarationError(
                f"'{self.name[:40]}' is not a service name",
                hint="1 to 63 of lower-case letters a to z, digits and '-', a letter first",
            )

    def of(self, pattern: Declares[K]) -> K:
        """The registry of a pattern: what this service declares of it, made at the first request."""
        return self._registry(pattern.name, partial(pattern.declares, self.name))

    @property
    def handlers(self) -> dict[MessageType, Handler]:
        """The handlers, by message."""
        return self._inbox.handlers

    @property
    def sent(self) -> set[MessageType]:
        """The commands that the handlers send."""
        return self._inbox.sent

    @property
    def sagas(self) -> dict[tuple[str, int], type[Saga[Any]]]:
        """The sagas that it orchestrates, by name and version."""
        return self._registry("saga", dict)

    @property
    def projections(self) -> dict[str, Projection]:
        """Its read models, by name."""
        return self._registry("projection", dict)

    @property
    def materialized_views(self) -> dict[str, MaterializedView]:
        """The views that it refreshes, by name."""
        return self._registry("view", dict)

    @property
    def published_datasets(self) -> dict[str, DatasetTable]:
        """The datasets with which other services may compare their replicas, by name."""
        return self._datasets.published_datasets

    @property
    def replicas(self) -> dict[str, Replica]:
        """Its replicas of others' datasets, by name."""
        return self._datasets.replicas

    @property
    def topics(self) -> frozenset[str]:
        """The topics that this service reads."""
        return self._inbox.topics

    @property
    def _inbox(self) -> Handlers:
        return self._registry("inbox", partial(Handlers, self.name))

    @property
    def _datasets(self) -> Datasets:
        return self._registry("reconcile", partial(Datasets, self.name))

    def _registry(self, pattern: str, make: Callable[[], K]) -> K:
        """As `of`, without the `Pattern`: a declaration must not import the runners of the built-in patterns."""
        if pattern not in self._registries:
            self._registries[pattern] = make()
        return cast("K", self._registries[pattern])

    def handles(
        self, message: type[M], *, retry: Retry | None = None, timeout_seconds: float | None = None
    ) -> Callable[[Callable[[M, Transaction], Awaitable[Any]]], Callable[[M, Transaction], Awaitable[Any]]]:
        """Make a function the handler of a command of this service or of an event of any service.

        It runs in one transaction with its receipt: its effect happens once. The return value of a command's handler is
        the reply: a declared or plain dataclass, None, or `Rejected`. Raising `Rejected` rolls back and replies. Any
        other exception rolls back, and the message is retried by the policy, then becomes a dead letter.
        `timeout_seconds` limits one attempt; by default it is the service's setting `handler_timeout_seconds`. Raises
        `DeclarationError`.
        """
        declared = message_type(message)
        _check_timeout(declared, timeout_seconds)

        def decorate(
            function: Callable[[M, Transaction], Awaitable[Any]],
        ) -> Callable[[M, Transaction], Awaitable[Any]]:
            self._check(declared, function, "(message, tx)")
            self.handlers[declared] = Handler(declared, function, retry or self.retry, timeout_seconds)
            return function

        return decorate

    def handles_batch(
        self, event: type[M], *, retry: Retry | None = None, timeout_seconds: float | None = None
    ) -> Callable[
        [Callable[[Sequence[tuple[M, Transaction]], Transaction], Awaitable[None]]],
        Callable[[Sequence[tuple[M, Transaction]], Transaction], Awaitable[None]],
    ]:
        """Make a function the handler of an event, for several of them at a time, so that it can write all of them with
        one statement.

        It gets pairs of event and `Transaction`, in the order of each key, and the transaction of all. That of an event
        is the same transaction with the event as its `cause`. Each event has its receipt, as with `handles`. If the
        function raises, all is rolled back, and it is called for each event alone. `timeout_seconds` limits a call.
        Raises `DeclarationError`.
        """
        declared = message_type(event)
        if declared.kind is not MessageKind.EVENT:
            raise DeclarationError(
                f"'{declared.name}' is a {declared.kind.value}", hint="a command has a reply of its own: use handles"
            )
        _check_timeout(declared, timeout_seconds)

        def decorate(
            function: Callable[[Sequence[tuple[M, Transaction]], Transaction], Awaitable[None]],
        ) -> Callable[[Sequence[tuple[M, Transaction]], Transaction], Awaitable[None]]:
            self._check(declared, function, "(batch, tx)")
            self.handlers[declared] = Handler(declared, function, retry or self.retry, timeout_seconds, in_batches=True)
            return function

        return decorate

    def sends(self, *commands: type[Any]) -> None:
        """Declare commands to other services that the handlers send; commands of sagas' steps need no declaration.

        Handlers can send commands without it. It is used where the service's rights on the broker are made (`freehold
        broker accounts`). Raises `DeclarationError`.
        """
        for command in commands:
            declared = message_type(command)
            if declared.kind is not MessageKind.COMMAND:
                raise DeclarationError(f"'{declared.name}' is not a command", hint="events need no declaration")
            self.sent.add(declared)

    def orchestrates(self, saga: type[Saga[Any]]) -> type[Saga[Any]]:
        """Make this service the one that runs a saga. Keep older versions declared while they have running instances.
        Raises `DeclarationError`.
        """
        key = (saga.definition().name, saga.definition().version)
        if key in self.sagas and self.sagas[key] is not saga:
            raise DeclarationError(f"saga '{key[0]}' version {key[1]} is declared twice", hint="raise the version")
        self.sagas[key] = saga
        self._inbox.reads.add(f"{self.name}.replies")
        return saga

    def projects(self, projection: Projection) -> Projection:
        """Make this service keep a read model, from the events of its own store.

        Raises `DeclarationError` for a projection that handles nothing, and if its name or a table of it belongs to
        another one.
        """
        projection.check()
        for known in self.projections.values():
            shared = {table.fullname for table in known.tables} & {table.fullname for table in projection.tables}
            if known is projection or (known.name != projection.name and not shared):
                continue
            what = f"table '{min(shared)}'" if shared else f"projection '{known.name}'"
            raise DeclarationError(
                f"{what} is declared twice", hint="one projection keeps a table; give it a name of its own"
            )
        self.projections[projection.name] = projection
        return projection

    def views(self, view: MaterializedView) -> MaterializedView:
        """Make this service keep a materialized view, and refresh it on its schedule. Raises `DeclarationError`."""
        if self.materialized_views.get(view.name, view) != view:
            raise DeclarationError(f"materialized view '{view.name}' is declared twice", hint="give it another name")
        self.materialized_views[view.name] = view
        return view

    def publishes_dataset(
        self, dataset: Dataset, *, table: str, columns: Mapping[str, str] | None = None
    ) -> DatasetTable:
        """Publish a dataset of this service, stored in `table`: other services may compare their replicas with it.

        `columns` maps fields to columns of another name. Raises `DeclarationError`.
        """
        if dataset.service != self.name:
            raise DeclarationError(f"'{dataset.name}' belongs to '{dataset.service}', and this is '{self.name}'")
        self.published_datasets[dataset.name] = published = DatasetTable(dataset, table, columns or {})
        return published

    def replicates(
        self,
        dataset: Dataset,
        *,
        table: str,
        columns: Mapping[str, str] | None = None,
        every_seconds: float | None = None,
        repair: bool = False,
    ) -> Replica:
        """Declare that a table of this service is a replica of another service's dataset, updated by its handlers.

        It is compared with its source by command and, with `every_seconds`, on a schedule; with `repair` the schedule
        also repairs drift. Raises `DeclarationError`.
        """
        if dataset.service == self.name:
            raise DeclarationError(
                f"'{dataset.name}' is this service's own", hint="it is the source: publishes_dataset"
            )
        replica = Replica(dataset, table, columns or {}, every_seconds=every_seconds, repair=repair)
        self.replicas[dataset.name] = replica
        return replica

    def _check(self, declared: MessageType, function: Callable[..., Any], takes: str) -> None:
        if not inspect.iscoroutinefunction(function):
            raise DeclarationError(f"{function.__qualname__} handles '{declared.name}' and must be async")
        if len(inspect.signature(function).parameters) != 2:
            raise DeclarationError(f"{function.__qualname__} must take two arguments", hint=takes)
        if declared in self.handlers:
            raise DeclarationError(
                f"'{declared.name}' is handled by {self.handlers[declared].name} already",
                hint="one service handles a message once; call both from one handler",
            )
        if declared.kind is MessageKind.COMMAND and declared.service != self.name:
            raise DeclarationError(
                f"'{declared.name}' is a command to '{declared.service}', and this is '{self.name}'",
                hint="commands have one handler, in the service that owns them; publish an event for others",
            )


def _check_timeout(declared: MessageType, timeout_seconds: float | None) -> None:
    if timeout_seconds is not None and not 0 < timeout_seconds < math.inf:
        raise DeclarationError(f"the handler of '{declared.name}' needs a timeout_seconds that is more than 0")
