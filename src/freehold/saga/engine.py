"""The saga engine: runs the machine, and writes its results to the service's database and outbox. Pattern.

Imports the inbox' reply headers and the transaction. Everything here happens in a transaction that the caller ends: the
business transaction that starts a saga, the consumer's for a reply, the runner's for a timer, or the command line's for
a decision. A reply takes three round trips: load and lock, save with the journal, and stage what is sent. Calls are not
made here: they are handed over to `SagaRunner` with the commit where it works in this process, else left due for one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from freehold.clock import Clock
from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.errors import CodecError, ConcurrencyConflict, FreeholdError, NotFound, Unavailable
from freehold.failures import CrashLimit
from freehold.ids import new_id
from freehold.inbox.reply import HEADER_SAGA
from freehold.messages import Envelope
from freehold.messages.values import check_id
from freehold.saga.definition import Saga, SagaDefinition, not_orchestrated
from freehold.saga.document import NewerFormat, check_state, read_instance, write_record
from freehold.saga.effects import TransitionResult, carry_out, log_failure, read_reply
from freehold.saga.exchange import (
    CallEnded,
    Input,
    OperatorAction,
    OperatorDecided,
    Outcome,
    RunCall,
    RunLocal,
    Started,
    TimerDue,
)
from freehold.saga.handover import NOBODY, Caller, Handover
from freehold.saga.hooks import calling
from freehold.saga.instance import Instance
from freehold.saga.machine import advance, begin, mark_started, record_failure
from freehold.saga.machine import record as record_input
from freehold.saga.message_mapper import EMPTY_REPLIES
from freehold.saga.session import Session
from freehold.saga.store import JournalEntry, SagaRecord, SagaStatus, SagaStore
from freehold.saga.transition import Transition
from freehold.transaction import Transaction

__all__ = ["SagaEngine", "UnknownSaga"]

_log = logging.getLogger("freehold.saga")
_CRASHES: Final = CrashLimit()
"""Attempts of hooks that never finished, after which the instance needs attention."""
_UNKNOWN_RECHECK_SECONDS = 30.0
"""Delay of an instance whose definition is not declared here: a process that has it can take it meanwhile."""
_NEXT_CHECK = f"next check in {_UNKNOWN_RECHECK_SECONDS:g} s"


class UnknownSaga(FreeholdError):
    """The definition of an instance in flight is not declared in this process; the instance was not changed."""


class SagaEngine:
    """Starts sagas and applies inputs to them, each in the transaction that is passed in.

    sagas    the definitions by name and version, as in `Service.sagas`; also old versions with instances in flight.
    on_due   called after a commit that leaves an instance due sooner than runners look; a `SagaRunner` sets it.
    caller   begins the calls to which transactions lead; `SagaRunner` while it works.
    """

    def __init__(
        self,
        sagas: Mapping[tuple[str, int], type[Saga[Any]]],
        store: SagaStore,
        context: ServiceContext,
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.context = context
        self.clock: Clock = clock or context.clock
        self.on_due: Callable[[], None] = lambda: None
        self.caller: Caller = NOBODY
        self.poll_seconds = 1.0
        self._definitions = {key: saga.definition() for key, saga in sagas.items()}

    async def start(
        self, tx: Transaction, saga: type[Saga[Any]], state: object, *, saga_id: UUID | None = None
    ) -> UUID:
        """Start an instance with the commit of this transaction; returns its id. A second start with the same `saga_id`
        changes nothing. Raises `DeclarationError` where this service does not orchestrate the saga, and `InvalidValue`
        for a state that does not fit its class, or an invalid id or key.
        """
        definition = saga.definition()
        if (definition.name, definition.version) not in self._definitions:
            raise not_orchestrated(definition, self.context.service)
        saga_id = new_id() if saga_id is None else check_id("saga_id", saga_id)
        correlation_id = tx.correlation_id or saga_id
        now = self.clock.now()
        check_state(definition, state)
        instance = begin(definition, state, saga_id, correlation_id, now)
        session = self._session(tx)
        first = advance(definition, instance, Started(), now, places=session.handover.free)
        session.handover.take(first.effects)
        local = any(isinstance(effect, RunLocal) for effect in first.effects)
        # If the caller catches an exception of a local function and commits, the runner continues the instance.
        stored = dataclasses.replace(instance, pending_continuation=True, due=now) if local else first.instance
        record = write_record(stored, 1, now)
        if not await self.store.create(tx.db_tx, record, first.entries):
            return saga_id
        crash_point("saga.created")
        session.saved(record)
        result = TransitionResult(first.instance, now, [], [])
        result = await carry_out(tx, self.context, definition, result, first.effects, session.handover)
        if local:
            self._save(tx, record, result)
        else:
            self._hand_over(tx, record, result)
        self._wake(tx, result)
        return saga_id

    async def prepare(self, replies: Sequence[Envelope], tx: Transaction) -> None:
        """Load the instances of a batch of replies in one round trip; `on_reply` follows for each reply."""
        saga_ids: set[UUID] = set()
        for envelope in replies:
            with contextlib.suppress(KeyError, ValueError):  # on_reply raises the error of such a reply
                saga_ids.add(UUID(envelope.headers[HEADER_SAGA]))
        await self._session(tx).prefetch(saga_ids)

    async def on_reply(self, envelope: Envelope, tx: Transaction, *, cautious: bool = False) -> None:
        """Apply a reply in the consumer's transaction, and start what follows. `cautious`: only record the reply, and
        leave what follows to `SagaRunner`; for a reply that was delivered before, and may have crashed a process.

        A reply to a pruned instance changes nothing, nor does a late or duplicate one. Raises `UnknownSaga`,
        `CodecError` for a reply that cannot be read, and exceptions of the definition's code: see `keep_reply`.
        """
        saga_id, reply = read_reply(envelope)
        try:
            record = await self._session(tx).load(saga_id)
        except NotFound:
            text = "%s: reply %s is for saga %s, which does not exist any more; it is dropped"
            _log.info(text, self.context.service, envelope.id, saga_id)
            return
        if cautious:
            self._record(tx, record, reply)
        else:
            await self._apply(tx, record, reply)

    async def keep_reply(self, envelope: Envelope, tx: Transaction, error: BaseException) -> None:
        """Record a reply, in a new transaction after its own failed with `error`. `SagaRunner` retries what follows.
        Raises `UnknownSaga`, and `CodecError` where the reply or the instance cannot be read.
        """
        saga_id, reply = read_reply(envelope)
        with contextlib.suppress(NotFound):  # pruned meanwhile
            await self.on_failure(tx, saga_id, error, reply)

    def hand_over_to(self, tx: Transaction, caller: Caller) -> None:
        """Let `caller` begin the calls to which this transaction leads. Must be called before anything else in it."""
        self._session(tx, caller)

    def handover(self, tx: Transaction) -> Handover:
        """What a transaction hands over, and the instances as it has saved them."""
        return self._session(tx).handover

    async def assume(self, tx: Transaction, known: Sequence[SagaRecord], saga_ids: Collection[UUID]) -> None:
        """Take records that this process saved for what the database has, and load the other instances. A save of one
        that somebody else has saved since raises `ConcurrencyConflict`.
        """
        session = self._session(tx)
        session.assume(known)
        await session.prefetch(saga_ids)

    async def on_call_ended(self, tx: Transaction, saga_id: UUID, ended: CallEnded) -> bool:
        """Record the outcome of a call, and the intentions of calls that follow without any code of the definition.
        True: something else follows; `continue_instance` starts it in its own transaction.
        """
        record = await self._session(tx).load(saga_id)
        return self._record(tx, record, ended, lost=ended.error if ended.outcome is Outcome.DONE else None)

    async def mark_started(self, tx: Transaction, record: SagaRecord, visible_seconds: float, unbegun: int = 0) -> bool:
        """Count an attempt of an instance's hooks before it begins; `continue_instance` runs them in the next
        transaction. The instance is due again after `visible_seconds`, in case the attempt never finishes. False where
        it is not due any more, since another process took it. `unbegun` attempts were counted and never began: they
        are taken back. Raises `ProcessCrashed` after too many attempts that never finished.
        """
        _, instance = self._read(record)
        if not instance.isolated or record.due_seconds is None or record.due_seconds > 0:
            return False
        began = max(0, instance.started_attempts - unbegun)
        if _CRASHES.reached(began):
            raise _CRASHES.error(began, "hooks of this saga were started", "its hooks probably crash the process")
        now = self._saga_time(record, instance)
        self._save(tx, record, TransitionResult(mark_started(instance, began, now, visible_seconds), now, [], []))
        return True

    async def continue_instance(self, tx: Transaction, record: SagaRecord) -> None:
        """Start what follows from the recorded outcomes, unless another process did."""
        definition, instance = self._read(record)
        if not instance.ended and instance.started_attempts:
            await self._advance(tx, record, definition, instance, TimerDue())

    async def on_due_record(self, tx: Transaction, record: SagaRecord) -> bool:
        """Apply the timer of an instance that `claim_due` returned in this transaction.

        False, and nothing is done, where the hooks of the instance may have crashed a process: they run alone, see
        `mark_started`. An instance whose definition is unknown is rescheduled without another change; one that does not
        fit its definition needs attention until it does. Raises exceptions of the definition's code.
        """
        try:
            definition, instance = self._read(record)
        except (UnknownSaga, NewerFormat) as error:
            _log.warning("%s: saga %s is skipped: %s; %s", self.context.service, record.id, error, _NEXT_CHECK)
            await self.reschedule(tx, record)
            return True
        except CodecError as error:
            _log.warning("%s: saga %s cannot be read: %s; %s", self.context.service, record.id, error, _NEXT_CHECK)
            await self.reschedule(tx, record, error)
            return True
        if instance.isolated:
            return False
        await self._advance(tx, record, definition, instance, TimerDue())
        return True

    async def reschedule(self, tx: Transaction, record: SagaRecord, error: CodecError | None = None) -> None:
        """Make an instance due later, and change nothing else. With `error`, the reason why the instance cannot be
        read, it needs attention.
        """
        later = dataclasses.replace(record, due_seconds=_UNKNOWN_RECHECK_SECONDS)
        entries: list[JournalEntry] = []
        if error is not None and record.status is not SagaStatus.NEEDS_ATTENTION:
            later = dataclasses.replace(later, status=SagaStatus.NEEDS_ATTENTION)
            entries = [JournalEntry(self.clock.now(), "", SagaStatus.NEEDS_ATTENTION.value, detail=str(error))]
        await self.store.save(tx.db_tx, later, entries)

    async def on_failure(
        self,
        tx: Transaction,
        saga_id: UUID,
        error: BaseException,
        arrived: Input | None = None,
        *,
        version: int | None = None,
    ) -> None:
        """Record that a transaction of an instance failed with `error`, and the input that `arrived` in it.

        `version` is the version of the record that failed: if another process has saved the instance since, nothing is
        recorded. Raises `NotFound`, `UnknownSaga`, `CodecError`, `DecisionRefused`.
        """
        record = await self._session(tx).load(saga_id)
        if version is not None and record.version != version:
            return
        definition, instance = self._read(record)
        now = self._saga_time(record, instance)
        entries: list[JournalEntry] = []
        if arrived is not None:
            kept = record_input(definition, instance, arrived, now)
            instance, entries = kept.instance, [*kept.entries]
        if arrived is None or instance.pending_continuation:
            outage = isinstance(
                self.context.database.translate_error(error) or error, Unavailable | ConcurrencyConflict
            )
            failed = record_failure(definition, instance, error, now, outage=outage)
            instance, entries = failed.instance, [*entries, *failed.entries]
            log_failure(self.context.service, failed)
        result = TransitionResult(instance, now, entries, [])
        self._save(tx, record, result)
        self._wake(tx, result)

    async def decide(self, tx: Transaction, saga_id: UUID, decided: OperatorDecided) -> None:
        """Apply an operator's decision, and start what follows. Raises `NotFound`, `DecisionRefused`, and exceptions of
        the definition's code: the caller then records the decision by `on_failure` in another transaction.
        """
        await self._apply(tx, await self._session(tx).load(saga_id), decided)

    async def retry(self, tx: Transaction, saga_id: UUID, *, step: str | None = None, reason: str = "") -> None:
        """Retry the steps that wait for an operator or for their backoff, and a failing hook."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.RETRY, step, reason))

    async def skip(self, tx: Transaction, saga_id: UUID, *, step: str | None = None, reason: str = "") -> None:
        """Treat a step that waits for an operator as done by hand, or continue without the failing hook."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.SKIP, step, reason))

    async def compensate(self, tx: Transaction, saga_id: UUID, *, reason: str = "") -> None:
        """Start compensation, which is refused once the pivot has started; or retry failed compensations."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.COMPENSATE, None, reason))

    async def terminate(self, tx: Transaction, saga_id: UUID, *, reason: str = "") -> None:
        """End the instance in its present state: nothing more is sent, nothing is compensated."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.TERMINATE, None, reason))

    async def _apply(self, tx: Transaction, record: SagaRecord, arrived: Input) -> None:
        await self._advance(tx, record, *self._read(record), arrived)

    def _record(self, tx: Transaction, record: SagaRecord, arrived: Input, lost: BaseException | None = None) -> bool:
        """Record an input. True where something follows from it that was not begun."""
        definition, instance = self._read(record)
        now = self._saga_time(record, instance)
        handover = self._session(tx).handover
        kept = self._kept(record, definition, instance, arrived, now, handover.free)
        handover.take(kept.effects)
        calls = [effect for effect in kept.effects if isinstance(effect, RunCall)]
        result = TransitionResult(kept.instance, now, [*kept.entries], calls)
        if lost is not None and any(each.body is None for each in kept.instance.unmerged):
            failed = record_failure(definition, kept.instance, lost, now)
            result = TransitionResult(failed.instance, now, [*kept.entries, *failed.entries], [])
            log_failure(self.context.service, failed)
        self._save(tx, record, result)
        follows = result.instance.pending_continuation and result.instance.hook_failure is None
        if not (follows and isinstance(arrived, CallEnded)):  # its runner goes on at once
            self._wake(tx, result)
        return follows

    def _kept(
        self,
        record: SagaRecord,
        definition: SagaDefinition,
        instance: Instance,
        arrived: Input,
        now: datetime,
        places: int,
    ) -> Transition:
        """Record an input. What a call returned is merged as well, where no code of the definition does that, and the
        state can be stored then. A reply is only recorded: it may have crashed a process.
        """
        if isinstance(arrived, CallEnded) and arrived.body not in EMPTY_REPLIES:
            with contextlib.suppress(FreeholdError):
                merged = record_input(definition, instance, arrived, now, places=places, merging=True)
                write_record(merged.instance, record.version, now, definition.state_type)
                return merged
        return record_input(definition, instance, arrived, now, places=places)

    async def _advance(
        self, tx: Transaction, record: SagaRecord, definition: SagaDefinition, instance: Instance, arrived: Input
    ) -> None:
        now = self._saga_time(record, instance)
        handover = self._session(tx).handover
        first = advance(definition, instance, arrived, now, places=handover.free)
        handover.take(first.effects)
        result = TransitionResult(first.instance, now, list(first.entries), [])
        result = await carry_out(tx, self.context, definition, result, first.effects, handover)
        self._save(tx, record, result)
        self._wake(tx, result)

    def _saga_time(self, record: SagaRecord, instance: Instance) -> datetime:
        """The present time for the timers of an instance: `due`, less what is left of it by the database's clock.

        So processes with different clocks agree, and after an outage not everything times out at once.
        """
        if instance.due is None or record.due_seconds is None:
            return self.clock.now()
        return instance.due - timedelta(seconds=record.due_seconds)

    def _save(self, tx: Transaction, record: SagaRecord, result: TransitionResult) -> None:
        """Save the instance and its journal when the transaction is written. Journal times are wall-clock times."""
        wall = self.clock.now()
        entries = [dataclasses.replace(entry, at=wall) for entry in result.entries]
        definition = self._definition(record)
        at = result.made_by
        with calling(at.step, at.hook, at.code):
            written = write_record(result.instance, record.version, result.now, definition.state_type)
        self._session(tx).put(written, entries)
        self._hand_over(tx, record, result)

    def _hand_over(self, tx: Transaction, record: SagaRecord, result: TransitionResult) -> None:
        if result.calls:
            handover = self._session(tx).handover
            handover.add(record.id, self._definition(record), result.instance.state, result.calls)
            tx.staging.after_commit(handover.caller.begin)

    def _session(self, tx: Transaction, caller: Caller | None = None) -> Session:
        return tx.staging.companion(
            self,
            lambda: Session(self.store, tx.db_tx, caller or self.caller),
            lambda session: session.save(last=tx.staging.pending.last),
            left=Session.has_changes,
        )

    def _wake(self, tx: Transaction, result: TransitionResult) -> None:
        """Wake the runner after the commit where the instance is due before it looks by itself."""
        due = result.instance.due
        if due is not None and (due - result.now).total_seconds() < self.poll_seconds:
            tx.staging.after_commit(self.on_due)

    def _read(self, record: SagaRecord) -> tuple[SagaDefinition, Instance]:
        """The definition and the instance of a record. Raises `UnknownSaga`, `CodecError`."""
        definition = self._definition(record)
        return definition, read_instance(record, definition)

    def _definition(self, record: SagaRecord) -> SagaDefinition:
        found = self._definitions.get((record.definition, record.definition_version))
        if found is None:
            raise UnknownSaga(
                f"saga '{record.definition}' version {record.definition_version} is not declared in this process",
                hint="keep service.orchestrates(...) of a version until its instances have ended",
            )
        return found
