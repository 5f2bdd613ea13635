"""The saga engine: carries the machine's decisions into the service's database and outbox. Pattern.

Imports the inbox' words for answers and the transaction. Everything here happens in a transaction that the caller ends:
the business transaction that starts a saga, the consumer's for a reply, the runner's for a timer, the command line's
for a decision. For a reply it is three round trips: load and lock, save with the journal, and the staging of what is
sent. Calls are not made here: they are left to `SagaRunner`, which is woken after the commit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from freehold.clock import Clock
from freehold.context import ServiceContext
from freehold.errors import CodecError, ConcurrencyConflict, FreeholdError, NotFound, Unavailable
from freehold.failures import CrashLimit
from freehold.ids import new_id
from freehold.inbox.reply import HEADER_SAGA
from freehold.messages import Envelope
from freehold.messages.values import check_id
from freehold.saga.definition import Saga, SagaDefinition, not_orchestrated
from freehold.saga.document import NewerFormat, check_state, read_instance, write_record
from freehold.saga.effects import TransitionResult, carry_out, read_reply
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
from freehold.saga.hooks import calling
from freehold.saga.instance import Instance
from freehold.saga.machine import advance, begin, hold_up, mark_started
from freehold.saga.machine import record as record_input
from freehold.saga.session import Session
from freehold.saga.store import JournalEntry, SagaRecord, SagaStatus, SagaStore
from freehold.saga.transition import Transition
from freehold.transaction import Transaction

__all__ = ["PendingCall", "SagaEngine", "UnknownSaga"]

_log = logging.getLogger("freehold.saga")
_CRASHES: Final = CrashLimit()
"""Tries of hooks of which nothing was heard again, after which an operator is asked for."""
_UNKNOWN_RECHECK_SECONDS = 30.0
_LOOKED_AT_AGAIN = f"it is looked at again in {_UNKNOWN_RECHECK_SECONDS:g} s"
"""An instance whose definition is not declared here is left alone for so long, for a process that has it."""


class UnknownSaga(FreeholdError):
    """The definition of an instance in flight is not declared in this process; the instance was left as it is."""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call whose intention is committed: to be carried out, once, by who committed it."""

    saga_id: UUID
    definition: SagaDefinition
    state: Any
    effect: RunCall


class SagaEngine:
    """Starts sagas and takes what happens to them, each in the transaction given.

    sagas    the definitions by name and version, as in `Service.sagas`; also old versions with instances in flight.
    on_due   called after the commit of a transaction that leaves something due at once; `SagaRunner` sets it.
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
        self._definitions = {key: saga.definition() for key, saga in sagas.items()}

    async def start(
        self, tx: Transaction, saga: type[Saga[Any]], state: object, *, saga_id: UUID | None = None
    ) -> UUID:
        """Begin a saga with the commit of this transaction; returns its id. A second start with the same `saga_id`
        changes nothing. Raises `DeclarationError` where this service does not direct it, `InvalidValue` for a state
        that its class would not read again, and for an id or a key that is none.
        """
        definition = saga.definition()
        if (definition.name, definition.version) not in self._definitions:
            raise not_orchestrated(definition, self.context.service)
        saga_id = new_id() if saga_id is None else check_id("saga_id", saga_id)
        correlation_id = tx.correlation_id or saga_id
        now = self.clock.now()
        check_state(definition, state)
        instance = begin(definition, state, saga_id, correlation_id, now)
        first = advance(definition, instance, Started(), now)
        local = any(isinstance(effect, RunLocal) for effect in first.effects)
        # Who catches what a local function raises, and commits, leaves an instance that goes on from its beginning.
        stored = dataclasses.replace(instance, unsettled=True, due=now) if local else first.instance
        record = write_record(stored, 1, now)
        if not await self.store.create(tx.db_tx, record, first.entries):
            return saga_id
        turned = await carry_out(
            tx, self.context, definition, TransitionResult(first.instance, now, [], []), first.effects
        )
        if local:
            self._save(tx, record, turned)
        self._wake(tx, turned)
        return saga_id

    async def prepare(self, replies: Sequence[Envelope], tx: Transaction) -> None:
        """Load the instances that a batch of replies is for, in one round trip; `on_reply` follows for each of them."""
        wanted: set[UUID] = set()
        for envelope in replies:
            with contextlib.suppress(KeyError, ValueError):  # on_reply tells what is wrong with such a reply
                wanted.add(UUID(envelope.headers[HEADER_SAGA]))
        await self._session(tx).prefetch(wanted)

    async def on_reply(self, envelope: Envelope, tx: Transaction, *, cautious: bool = False) -> None:
        """Take a reply in the consumer's transaction, and begin what follows. `cautious`: only put it on record, and
        leave what follows to `SagaRunner`; for a reply that was delivered before and may have ended its process.

        A reply to an instance that is gone (pruned), and a late or duplicate one, change nothing. Raises `UnknownSaga`,
        `CodecError` for a reply that cannot be read, and what the code of the definition raises: see `keep_reply`.
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
        """Put a reply on record whose transaction failed with `error`, in another one: what follows from it is tried
        again by `SagaRunner`. Raises `UnknownSaga`, and `CodecError` where reply or instance cannot be read.
        """
        saga_id, reply = read_reply(envelope)
        with contextlib.suppress(NotFound):  # pruned meanwhile
            await self.on_failure(tx, saga_id, error, reply)

    async def on_call_ended(self, tx: Transaction, saga_id: UUID, ended: CallEnded) -> None:
        """Put on record how a call ended, and nothing else: `go_on` follows, in a transaction of its own."""
        record = await self._session(tx).load(saga_id)
        self._record(tx, record, ended, lost=ended.error if ended.outcome is Outcome.DONE else None)

    async def mark_started(self, tx: Transaction, record: SagaRecord, visible_seconds: float) -> bool:
        """Count a try of an instance's hooks before it begins, with `go_on` in the next transaction; false where
        somebody else has. Raises `ProcessCrashed` where nothing was heard of the tries before.
        """
        instance = read_instance(record, self._definition(record.definition, record.definition_version))
        if not instance.isolated or record.due_seconds is None or record.due_seconds > 0:
            return False
        if _CRASHES.reached(instance.started_attempts):
            raise _CRASHES.error(
                instance.started_attempts, "hooks of this saga were tried", "its hooks probably crash the process"
            )
        now = self._saga_time(record, instance)
        self._save(tx, record, TransitionResult(mark_started(instance, now, visible_seconds), now, [], []))
        return True

    async def go_on(self, tx: Transaction, record: SagaRecord) -> Sequence[PendingCall]:
        """Begin what follows from what is on record, where nobody else has; like `on_due_record`."""
        definition = self._definition(record.definition, record.definition_version)
        instance = read_instance(record, definition)
        if instance.ended or not instance.started_attempts:
            return ()
        return await self._take_timer(tx, record, definition, instance)

    async def on_due_record(self, tx: Transaction, record: SagaRecord) -> Sequence[PendingCall] | None:
        """Take the timer of an instance that `claim_due` returned in this transaction.

        Returns the calls that the caller has to carry out after the commit. An instance whose definition is unknown is
        put off and otherwise left alone; one that does not fit its definition needs attention until it does. None, and
        nothing is done, where its hooks may have ended a process: they are tried alone, see `mark_started`. Raises what
        the code of the definition raises.
        """
        try:
            definition = self._definition(record.definition, record.definition_version)
            instance = read_instance(record, definition)
        except (UnknownSaga, NewerFormat) as error:
            _log.warning("%s: saga %s is left alone: %s; %s", self.context.service, record.id, error, _LOOKED_AT_AGAIN)
            await self.leave(tx, record)
            return ()
        except CodecError as error:
            _log.warning("%s: saga %s cannot be read: %s; %s", self.context.service, record.id, error, _LOOKED_AT_AGAIN)
            await self.leave(tx, record, error)
            return ()
        if instance.isolated:
            return None
        return await self._take_timer(tx, record, definition, instance)

    async def leave(self, tx: Transaction, record: SagaRecord, error: CodecError | None = None) -> None:
        """Put an instance off, and otherwise leave it alone; with `error`, why it cannot be read, for an operator."""
        put_off = dataclasses.replace(record, due_seconds=_UNKNOWN_RECHECK_SECONDS)
        entries: list[JournalEntry] = []
        if error is not None and record.status is not SagaStatus.NEEDS_ATTENTION:
            put_off = dataclasses.replace(put_off, status=SagaStatus.NEEDS_ATTENTION)
            entries = [JournalEntry(self.clock.now(), "", SagaStatus.NEEDS_ATTENTION.value, detail=str(error))]
        await self.store.save(tx.db_tx, put_off, entries)

    async def on_failure(
        self,
        tx: Transaction,
        saga_id: UUID,
        error: BaseException,
        arrived: Input | None = None,
        *,
        version: int | None = None,
    ) -> None:
        """Put down that a transaction of an instance failed with `error`, and what `arrived` in it: it is not lost.

        `version` is that of the record at which it failed: where somebody else has moved it on since, nothing is put
        down. Raises `NotFound`, `UnknownSaga`, `CodecError`, `DecisionRefused`.
        """
        record = await self._session(tx).load(saga_id)
        if version is not None and record.version != version:
            return
        definition = self._definition(record.definition, record.definition_version)
        instance = read_instance(record, definition)
        now = self._saga_time(record, instance)
        entries: list[JournalEntry] = []
        if arrived is not None:
            kept = record_input(definition, instance, arrived, now)
            instance, entries = kept.instance, [*kept.entries]
        if arrived is None or instance.unsettled:
            outage = isinstance(
                self.context.database.translate_error(error) or error, Unavailable | ConcurrencyConflict
            )
            held = hold_up(definition, instance, error, now, outage=outage)
            instance, entries = held.instance, [*entries, *held.entries]
            _tell(self.context.service, held)
        turned = TransitionResult(instance, now, entries, [])
        self._save(tx, record, turned)
        self._wake(tx, turned)

    async def decide(self, tx: Transaction, saga_id: UUID, decided: OperatorDecided) -> None:
        """Take an operator's decision, and begin what follows from it. Raises `NotFound`, `DecisionRefused`, and what
        the code of the definition raises: `on_failure` keeps the decision then, in another transaction.
        """
        await self._apply(tx, await self._session(tx).load(saga_id), decided)

    async def retry(self, tx: Transaction, saga_id: UUID, *, step: str | None = None, reason: str = "") -> None:
        """Repeat what waits for an operator, or for its backoff, and a hook that fails."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.RETRY, step, reason))

    async def skip(self, tx: Transaction, saga_id: UUID, *, step: str | None = None, reason: str = "") -> None:
        """Take a step that waits for an operator as settled by hand, or go on without the hook that fails."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.SKIP, step, reason))

    async def compensate(self, tx: Transaction, saga_id: UUID, *, reason: str = "") -> None:
        """Start compensation, as long as the pivot has not started; retry failed compensations, where it has."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.COMPENSATE, None, reason))

    async def terminate(self, tx: Transaction, saga_id: UUID, *, reason: str = "") -> None:
        """End it as it stands: nothing more is sent, nothing is compensated."""
        await self.decide(tx, saga_id, OperatorDecided(OperatorAction.TERMINATE, None, reason))

    async def _apply(self, tx: Transaction, record: SagaRecord, arrived: Input) -> None:
        definition = self._definition(record.definition, record.definition_version)
        await self._turn(tx, record, definition, read_instance(record, definition), arrived)

    def _record(self, tx: Transaction, record: SagaRecord, arrived: Input, lost: BaseException | None = None) -> None:
        definition = self._definition(record.definition, record.definition_version)
        instance = read_instance(record, definition)
        now = self._saga_time(record, instance)
        kept = record_input(definition, instance, arrived, now)
        turned = TransitionResult(kept.instance, now, [*kept.entries], [])
        if lost is not None and any(each.body is None for each in kept.instance.unmerged):
            held = hold_up(definition, kept.instance, lost, now)
            turned = TransitionResult(held.instance, now, [*kept.entries, *held.entries], [])
            _tell(self.context.service, held)
        self._save(tx, record, turned)
        if not isinstance(arrived, CallEnded):
            self._wake(tx, turned)

    async def _take_timer(
        self, tx: Transaction, record: SagaRecord, definition: SagaDefinition, instance: Instance
    ) -> Sequence[PendingCall]:
        turned = await self._turn(tx, record, definition, instance, TimerDue())
        return [PendingCall(record.id, definition, turned.instance.state, effect) for effect in turned.calls]

    async def _turn(
        self, tx: Transaction, record: SagaRecord, definition: SagaDefinition, instance: Instance, arrived: Input
    ) -> TransitionResult:
        now = self._saga_time(record, instance)
        first = advance(definition, instance, arrived, now)
        turned = TransitionResult(first.instance, now, list(first.entries), [])
        turned = await carry_out(tx, self.context, definition, turned, first.effects)
        self._save(tx, record, turned)
        self._wake(tx, turned)
        return turned

    def _saga_time(self, record: SagaRecord, instance: Instance) -> datetime:
        """Now, on the time line of the instance's timers: what is left of `due` is told by the database's clock.

        So processes whose clocks differ agree, and an outage does not let everything time out at once.
        """
        if instance.due is None or record.due_seconds is None:
            return self.clock.now()
        return instance.due - timedelta(seconds=record.due_seconds)

    def _save(self, tx: Transaction, record: SagaRecord, turned: TransitionResult) -> None:
        """Save when the transaction is written, with the journal, whose times are for operators: the wall clock's."""
        wall = self.clock.now()
        entries = [dataclasses.replace(entry, at=wall) for entry in turned.entries]
        definition = self._definition(record.definition, record.definition_version)
        at = turned.made_by
        with calling(at.step, at.hook, at.code):
            written = write_record(turned.instance, record.version, turned.now, definition.state_type)
        self._session(tx).put(written, entries)

    def _session(self, tx: Transaction) -> Session:
        return tx.staging.companion(self, lambda: Session(self.store, tx.db_tx), Session.save, left=Session.has_changes)

    def _wake(self, tx: Transaction, turned: TransitionResult) -> None:
        """The runner idles until the next time it knows of; tell it of an earlier one."""
        due = turned.instance.due
        if due is not None and (due - turned.now).total_seconds() < 1.0:
            tx.staging.after_commit(self.on_due)

    def _definition(self, name: str, version: int) -> SagaDefinition:
        found = self._definitions.get((name, version))
        if found is None:
            raise UnknownSaga(
                f"saga '{name}' version {version} is not declared in this process",
                hint="keep service.orchestrates(...) of a version until its instances have ended",
            )
        return found


def _tell(service: str, held: Transition) -> None:
    """Tell the log which hook fails: class, file and line, and nothing that the error says. Once it is known, no more
    than the journal.
    """
    instance, failing = held.instance, held.instance.hook_failure
    if failing is None or not held.entries:
        return
    level = logging.ERROR if failing.attention else logging.WARNING
    follows = (
        "it waits for an operator"
        if failing.wait_until is None
        else f"it is tried again at {failing.wait_until:%H:%M:%S} UTC"
    )
    _log.log(
        level,
        "%s: saga %s of %s: %s (failed %d times); %s",
        service,
        instance.id,
        instance.definition,
        failing,
        failing.failures,
        follows,
    )
