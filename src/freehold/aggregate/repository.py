"""The repository: loads aggregates and executes commands on them. Pattern: imports the foundation, the ports, the
transaction.

One repository serves both styles. Concurrency is optimistic: events are appended at exactly the version on which the
command was decided, so of two writers one succeeds, and the other decides again on the new state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, TypeVar, overload
from uuid import UUID

from freehold.aggregate.base import Aggregate, model_of
from freehold.aggregate.decider import Decider
from freehold.aggregate.loader import LoadedAggregate, Loader, snapshots_of
from freehold.aggregate.model import Model
from freehold.aggregate.snapshots import PendingSnapshots, SnapshotPolicy, StateCodec
from freehold.aggregate.translation import Publish, publish_events, translation
from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.errors import ConcurrencyConflict, DeclarationError, NotFound
from freehold.messages import Envelope
from freehold.messages.texts import NAME_BYTES_MAX, check_name
from freehold.policy import Retry, RetryAfter
from freehold.transaction import Transaction, Transactions

__all__ = ["CommandResult", "Repository", "TransactionRunner", "VersionMismatch"]

S = TypeVar("S")
A = TypeVar("A", bound=Aggregate)
_CONFLICTS: Final = Retry(attempts=10, delay_seconds=0.005, delay_seconds_max=0.5)
AggregateId = str | int | UUID


class VersionMismatch(ConcurrencyConflict):
    """The aggregate is not at the version that the caller expected. The caller must load it again and decide again."""


class TransactionRunner(Protocol):
    """What `handle` needs of a running service."""

    @property
    def transactions(self) -> Transactions:
        """Opens transactions."""


@dataclass(frozen=True, slots=True)
class CommandResult(Generic[S]):
    """The result of a command: its events in order, and the state and version after them. Without events nothing was
    appended.

    A read that waits for `token` sees them. Only `handle` sets it, because it is known after the commit.
    """

    id: str
    state: S
    version: int
    events: tuple[Any, ...]
    token: ConsistencyToken = EMPTY_TOKEN


class Repository(Generic[S]):
    """The aggregates of one category: `Repository(decider)` or `Repository(OrderClass)`. Holds no connection.

    snapshots   when to save snapshots; None for never: a stream of a few hundred events needs none.
    publish     which new events are also published, in the same commit: True for all, types, or a function
                (event, result) → message, messages or None. Messages without a key keep their order by aggregate.

    Raises `DeclarationError` for a class without a category, for a state that cannot be stored in a snapshot, and for
    types that are not events of the aggregate.
    """

    @overload
    def __init__(
        self,
        model: Decider[S, Any, Any],
        *,
        snapshots: SnapshotPolicy | None = None,
        publish: Publish = False,
    ) -> None: ...

    @overload
    def __init__(
        self: Repository[A],
        model: type[A],
        *,
        snapshots: SnapshotPolicy | None = None,
        publish: Publish = False,
    ) -> None: ...

    def __init__(
        self,
        model: Decider[S, Any, Any] | type[Any],
        *,
        snapshots: SnapshotPolicy | None = None,
        publish: Publish = False,
    ) -> None:
        self._model: Model[S] = model_of(model) if isinstance(model, type) else model
        self._policy = snapshots
        self._codec = StateCodec(self._model) if snapshots is not None else None
        self._loader = Loader(self._model, self._codec)
        self._translate = translation(self._model, publish)

    def stream(self, id: AggregateId) -> str:
        """The name of an aggregate's stream. Raises `InvalidValue` for an id that cannot be part of it."""
        text, category = str(id), self._model.category
        if not text:
            raise DeclarationError(f"'{category}': an aggregate needs an id", hint="any text that is not empty")
        check_name("id", text, bytes_max=NAME_BYTES_MAX - len(category) - 1, of=category)
        return f"{category}-{text}"

    async def load(self, tx: Transaction, id: AggregateId, *, must_exist: bool = True) -> LoadedAggregate[S]:
        """Return an aggregate as this transaction sees it, with the events that it has appended itself.

        Raises `NotFound` for an aggregate without events; with `must_exist=False` returns its first state, at version
        0. Raises `UnknownMessage`, `CodecError` for events that cannot be read.
        """
        loaded, _ = await self._loader.load(tx, str(id), self.stream(id))
        if must_exist and not loaded.version:
            raise NotFound(f"there is no {self._model.category} with this id")
        return loaded

    async def execute(
        self,
        tx: Transaction,
        id: AggregateId,
        command: object,
        *,
        expected_version: int | None = None,
        must_exist: bool = False,
        subject_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> CommandResult[S]:
        """Execute a command: load the aggregate, decide, append and publish the events with the commit of `tx`.

        In class style the command may also be a function that takes the aggregate. An error of the aggregate is raised
        unchanged, and nothing is appended. A command without events appends nothing.

        expected_version  the version that a client has seen (If-Match), 0 for none yet. Raises `VersionMismatch` if the
                          aggregate is at another one.

        If another writer has appended since the load, the end of `tx`, or `tx.write()`, raises `ConcurrencyConflict`.
        Then `handle` repeats the command, the inbox calls a message's handler again, and `RunningService.transact`
        repeats the block. Raises `NotFound` with `must_exist` for an aggregate without events.
        """
        key, stream = str(id), self.stream(id)
        loaded, unfit = await self._loader.load(tx, key, stream)
        if must_exist and not loaded.version:
            raise NotFound(f"there is no {self._model.category} with this id")
        if expected_version is not None and expected_version != loaded.version:
            raise VersionMismatch(
                f"the {self._model.category} is at version {loaded.version}, not {expected_version}",
                hint="load it again, and decide again",
            )
        decided, state = self._model.act(loaded.state, command)
        result = CommandResult(key, state, loaded.version + len(decided), tuple(decided))
        if decided:
            tx.append(stream, *decided, expected=loaded.version, subject_key=subject_key, headers=headers)
            self._save_snapshot(tx, stream, result, loaded.snapshot_version, unfit=unfit)
            if self._translate is not None:
                publish_events(tx, self._translate, key, result)
        return result

    async def handle(
        self,
        service: TransactionRunner | Transactions,
        id: AggregateId,
        command: object,
        *,
        retry: Retry = _CONFLICTS,
        expected_version: int | None = None,
        must_exist: bool = False,
        cause: Envelope | None = None,
        correlation_id: UUID | None = None,
        subject_key: str | None = None,
    ) -> CommandResult[S]:
        """Execute a command in a transaction of its own; after a conflict load again and repeat it.

        Returns after the commit. `retry` decides how often and when to repeat; it is asked about conflicts only. A
        wrong `expected_version` is not repeated: `VersionMismatch` is raised at once. Otherwise raises as `execute`.
        """
        transactions = service if isinstance(service, Transactions) else service.transactions
        attempt = 1
        while True:
            try:
                async with transactions.begin(cause, correlation_id=correlation_id) as tx:
                    result = await self.execute(
                        tx,
                        id,
                        command,
                        expected_version=expected_version,
                        must_exist=must_exist,
                        subject_key=subject_key,
                    )
                return replace(result, token=tx.token)
            except VersionMismatch:
                raise
            except ConcurrencyConflict as error:
                decision = retry.decide(attempt, error)
                if not isinstance(decision, RetryAfter):
                    raise
                attempt += 1
                await transactions.context.clock.sleep(decision.delay_seconds)

    def _save_snapshot(
        self, tx: Transaction, stream: str, result: CommandResult[S], saved_version: int, *, unfit: bool
    ) -> None:
        """Save a snapshot with the commit if one is due, and delete one that does not fit."""
        if self._policy is None or self._codec is None:
            return
        pending = PendingSnapshots.of(tx, snapshots_of(tx))
        if unfit:
            pending.unfit.add((stream, self._model.kind))
        saved_version = max(saved_version, pending.saved_version(stream, self._model.kind))
        if self._policy.due(result.state, result.version, saved_version):
            last = tx.staging.pending_events(stream)[-1].id
            snapshot = self._codec.snapshot(stream, result.version, last, result.state)
            if snapshot is not None:
                pending.to_save[stream, snapshot.kind] = snapshot
