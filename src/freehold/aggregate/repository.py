"""Loading aggregates, and carrying out commands on them. Pattern: imports the foundation, the ports, the transaction.

One repository serves both styles. Concurrency is optimistic: what a command decided is appended at exactly the version
that it was decided on, so of two writers one wins, and the other decides again on the new state.
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
    """The aggregate is not at the version that the caller had seen; load it again and ask the person, or the client."""


class TransactionRunner(Protocol):
    """What `handle` needs of a running service."""

    @property
    def transactions(self) -> Transactions:
        """Opens transactions."""


@dataclass(frozen=True, slots=True)
class CommandResult(Generic[S]):
    """What a command led to: the events in order (none: nothing was appended), and state and version after them.

    `token` is what a read has to wait for to see them; `handle` fills it in, since it is known with the commit only.
    """

    id: str
    state: S
    version: int
    events: tuple[Any, ...]
    token: ConsistencyToken = EMPTY_TOKEN


class Repository(Generic[S]):
    """The aggregates of one category: `Repository(decider)` or `Repository(OrderClass)`. Holds no connection.

    snapshots   when states are kept, None for never: a stream of a few hundred events needs none.
    publish     which new events also go out through the outbox in the same commit: True for all, types, or a function
                (event, executed) → message, messages or None. Without a key they keep their order by aggregate.

    Raises `DeclarationError` for a class without a category, a state that no snapshot can keep, strange types.
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
        """The name of an aggregate's stream. Raises `InvalidValue` for an id that no stream can be named by."""
        text, category = str(id), self._model.category
        if not text:
            raise DeclarationError(f"'{category}': an aggregate needs an id", hint="any text that is not empty")
        check_name("id", text, bytes_max=NAME_BYTES_MAX - len(category) - 1, of=category)
        return f"{category}-{text}"

    async def load(self, tx: Transaction, id: AggregateId, *, must_exist: bool = True) -> LoadedAggregate[S]:
        """Return an aggregate as this transaction sees it, with what it has appended itself.

        One that has no events raises `NotFound`, or is its first state at version 0 with `must_exist=False`. Raises
        `UnknownMessage`, `CodecError` for events that cannot be read.
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
        """Carry out a command: load, decide, append what was decided with the commit of `tx`, publish.

        In class style the command may also be a function that takes the aggregate. What forbids the command is raised
        as the aggregate raises it, and nothing is appended. A command without events appends nothing.

        expected_version  what a client has seen (If-Match), 0 for nothing yet: raises `VersionMismatch` where it is
                          another one now.

        Somebody else's append since the load makes the end of `tx`, or `tx.write()`, raise `ConcurrencyConflict`:
        `handle` does it again, a message's handler is called again by the inbox, `RunningService.transact` repeats the
        block. Raises `NotFound` with `must_exist` for an aggregate without events.
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
        executed = CommandResult(key, state, loaded.version + len(decided), tuple(decided))
        if decided:
            tx.append(stream, *decided, expected=loaded.version, subject_key=subject_key, headers=headers)
            self._keep(tx, stream, executed, loaded.snapshot_version, unfit=unfit)
            if self._translate is not None:
                publish_events(tx, self._translate, key, executed)
        return executed

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
        """Execute a command in a transaction of its own, and again from a fresh load where somebody else came first.

        Returns after the commit. `retry` says how often and how soon; it is asked about conflicts only. An
        `expected_version` that has passed is no conflict that another try could mend: `VersionMismatch`, at once.
        """
        transactions = service if isinstance(service, Transactions) else service.transactions
        attempt = 1
        while True:
            try:
                async with transactions.begin(cause, correlation_id=correlation_id) as tx:
                    executed = await self.execute(
                        tx,
                        id,
                        command,
                        expected_version=expected_version,
                        must_exist=must_exist,
                        subject_key=subject_key,
                    )
                return replace(executed, token=tx.token)
            except VersionMismatch:
                raise
            except ConcurrencyConflict as error:
                decision = retry.decide(attempt, error)
                if not isinstance(decision, RetryAfter):
                    raise
                attempt += 1
                await transactions.context.clock.sleep(decision.delay_seconds)

    def _keep(
        self, tx: Transaction, stream: str, executed: CommandResult[S], kept_version: int, *, unfit: bool
    ) -> None:
        """Have a snapshot kept with the commit where one is due, and one that does not fit thrown away."""
        if self._policy is None or self._codec is None:
            return
        pending = PendingSnapshots.of(tx, snapshots_of(tx))
        if unfit:
            pending.unfit.add((stream, self._model.kind))
        kept_version = max(kept_version, pending.kept_version(stream, self._model.kind))
        if self._policy.due(executed.state, executed.version, kept_version):
            last = tx.staging.pending_events(stream)[-1].id
            snapshot = self._codec.take(stream, executed.version, last, executed.state)
            if snapshot is not None:
                pending.kept[stream, snapshot.kind] = snapshot
