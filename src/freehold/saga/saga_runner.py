"""The runner of sagas' timers and calls. Pattern: imports the engine and the lifecycle.

1. A transaction that leads to a call saves the call's intention and hands the call over: the transaction that starts
   the instance, applies a reply, or records the outcome of the call before. What was not handed over is due: one
   transaction claims the instances that are due, applies their timers and saves them.
2. After the commit make the call, outside of any transaction, within the time limit of its step.
3. Record the outcome of the call, before any code of the definition runs with it, and the intentions of the calls that
   follow without such code.
4. Start what else follows in the next transaction.

Steps 3 and 4 check the attempt and the row's version, so a late runner changes nothing. If a process crashes in
between, the row's `due` brings the instance to another runner: before step 3 after the call's time limit, after step 3
at once. A failure is recorded in its instance and does not block others. Any number of runners share the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from freehold.clock import Clock
from freehold.errors import ConcurrencyConflict, FreeholdError, NotFound, Unavailable
from freehold.failures import ProcessCrashed, describe
from freehold.inbox.reply import Rejected
from freehold.life import LifeState
from freehold.lifecycle import Runner, contained
from freehold.messages.codec import encoder
from freehold.policy import Retry, RetryAfter
from freehold.saga.engine import SagaEngine
from freehold.saga.exchange import CallEnded, Outcome
from freehold.saga.handover import NOBODY, Handover, PendingCall
from freehold.saga.hooks import Hook, HookTimeout, calling
from freehold.saga.steps import CallContext, StepDirection
from freehold.saga.store import SagaRecord
from freehold.transaction import Transaction, Transactions

__all__ = ["SagaRunner"]

_log = logging.getLogger("freehold.saga")
_RECORD: Final = Retry(attempts=6, delay_seconds=0.05, delay_seconds_max=1.0)
_TAKEN_BY_OTHERS_SECONDS: Final = 0.05
"""Idle time while all due instances are locked by other runners."""
_OPEN: Final = frozenset({LifeState.OPEN, LifeState.COMMITTING})
_UNDECIDED: Final = _OPEN | {LifeState.UNKNOWN}


class SagaRunner(Runner):
    """Applies due timers and makes calls. Any number of runners may work at the same time.

    poll_seconds          longest idle time, and so the longest delay of timers that other processes set.
    batch                 instances claimed in one transaction.
    calls_max             limits the calls in progress and those that transactions hand over; others are left due.
    hook_timeout_seconds  time limit of all hooks of one transaction.
    """

    def __init__(
        self,
        engine: SagaEngine,
        transactions: Transactions,
        *,
        poll_seconds: float = 1.0,
        batch: int = 50,
        calls_max: int = 64,
        hook_timeout_seconds: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(f"{transactions.context.service}.sagas", clock=clock or transactions.context.clock)
        self._engine = engine
        self._transactions = transactions
        self._context = transactions.context
        self._poll_seconds = poll_seconds
        self._batch = batch
        self._calls_max = calls_max
        self._hook_timeout_seconds = hook_timeout_seconds
        self._calls: set[asyncio.Task[None]] = set()
        self._in_progress = 0
        self._expected: set[Handover] = set()
        self._unsaved: dict[UUID, tuple[Exception, int]] = {}
        engine.on_due = self.wake

    @property
    def pending_correction(self) -> str:
        """The failures of hooks that could not be recorded yet."""
        return f"the record of failed hooks of {len(self._unsaved)} sagas" if self._unsaved else ""

    async def release(self) -> None:
        """Record the failures that could not be recorded during an outage."""
        await self._save_failures()

    @property
    def places(self) -> int:
        """How many more calls this runner can take over; 0 while it stops."""
        taken = self._in_progress + sum(handover.taken for handover in self._expected)
        return 0 if self.stopping else max(0, self._calls_max - taken)

    def expect(self, handover: Handover) -> None:
        """Look whether the handover's transaction has ended: at the next `begin`, or in the next round."""
        self._expected.add(handover)

    def begin(self) -> None:
        """Begin the calls of all transactions that have committed. A transaction whose caller was cancelled during the
        commit does not call this: its calls begin in the next round.
        """
        for handover in [each for each in self._expected if each.state not in _UNDECIDED]:
            self._expected.discard(handover)
            if handover.state is LifeState.COMMITTED:
                self._make(handover.calls)

    async def _look_whether_committed(self) -> None:
        """Begin the calls of transactions whose commits were not answered, as after a lost connection, where the
        instances are as they were saved. Raises `Unavailable`.
        """
        for handover in [each for each in self._expected if each.state is LifeState.UNKNOWN]:
            calls = handover.calls
            async with self._transactions.begin() as tx:
                found = await self._engine.store.load_many(tx.db_tx, {call.saga_id for call in calls})
            if handover in self._expected:
                self._expected.discard(handover)
                self._make([call for call in calls if call.record.is_stored_as(found.get(call.saga_id))])

    async def run(self) -> None:
        """Process due instances until stopped; then wait for the calls in progress. Cancellation cancels them too."""
        self._engine.caller = self
        try:
            while not self.stopping:
                self.begin()
                await self._look_whether_committed()
                await self._save_failures()
                idle_seconds = await self._idle_seconds()
                if idle_seconds <= 0 and await self.take_due() == 0:
                    idle_seconds = _TAKEN_BY_OTHERS_SECONDS
                self.healthy()
                if idle_seconds > 0:
                    await self.wait(idle_seconds)
            await self._finish()
        except asyncio.CancelledError:
            for task in self._calls:
                task.cancel()
            await self.finish_calls()
            raise
        finally:
            if self._engine.caller is self:
                self._engine.caller = NOBODY

    async def _finish(self) -> None:
        """Finish the calls in progress, and those of transactions that are still open. `stop` limits the time."""
        self.begin()
        while self._calls or any(handover.state in _OPEN for handover in self._expected):
            if self._calls:
                await self.finish_calls()
            else:
                await self.clock.sleep(_TAKEN_BY_OTHERS_SECONDS)  # a rollback is not signalled
            self.begin()

    async def finish_calls(self) -> None:
        """Wait until the outcomes of the calls in progress, and what follows from them, are recorded."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def take_due(self) -> int:
        """Do one round; returns how many instances were due. Calls run in their own tasks."""
        room = min(self._batch, self._calls_max - len(self._calls))
        if room <= 0:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            return 1
        isolated: list[UUID] = []
        taken: SagaRecord | None = None
        try:
            async with self._begin_transaction() as tx:
                records = await self._engine.store.claim_due(tx.db_tx, room)
                async with self._limited():
                    for taken in records:
                        isolated += [] if await self._engine.on_due_record(tx, taken) else [taken.id]
                    taken = None
        except Exception as error:  # noqa: BLE001 - one bad instance must not block the others
            if not isinstance(error, Unavailable):
                text = "%s: a batch of due sagas failed (%s); its instances are processed one by one"
                _log.info(text, self._context.service, describe(error))
            if taken is None:
                return await self._take_one_by_one()
            await self._record_failure(taken.id, error, taken.version)
            return 1 + await self._take_one_by_one()
        for saga_id in isolated:
            await self._try_isolated(saga_id)
        return len(records)

    async def _take_one_by_one(self) -> int:
        """Process due instances in one transaction each, so that only a failing one is rescheduled."""
        taken = 0
        for _ in range(self._batch):
            claimed: SagaRecord | None = None
            applied = True
            try:
                async with self._begin_transaction() as tx:
                    for claimed in await self._engine.store.claim_due(tx.db_tx, 1):
                        async with self._limited():
                            applied = await self._engine.on_due_record(tx, claimed)
                if claimed is None:
                    break
                if not applied:
                    await self._try_isolated(claimed.id)
            except Exception as error:
                if claimed is None:
                    raise
                await self._record_failure(claimed.id, error, claimed.version)
            taken += 1
        return taken

    @asynccontextmanager
    async def _begin_transaction(self) -> AsyncIterator[Transaction]:
        """A transaction whose calls this runner begins, also in a round that is driven by hand."""
        async with self._transactions.begin() as tx:
            self._engine.hand_over_to(tx, self)
            yield tx

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Limit the time of the hooks in the block. Raises `HookTimeout`."""
        scope = asyncio.timeout(self._hook_timeout_seconds)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise HookTimeout(f"the hooks took more than {self._hook_timeout_seconds:g} s") from error

    async def _save_failures(self) -> None:
        """Record the failures that could not be recorded while the database was unavailable. Otherwise hooks that an
        outage ended would count as hooks that crashed the process.
        """
        for saga_id, (error, version) in list(self._unsaved.items()):
            with contextlib.suppress(NotFound):
                await self._record_failure(saga_id, error, version)
            del self._unsaved[saga_id]

    async def _record_failure(self, saga_id: UUID, error: Exception, version: int) -> None:
        """Record a failure in its instance; if that fails too, reschedule the instance without a record.

        Raises `Unavailable`: the failure is recorded later then.
        """
        trace = self._context.failures.traceback(self._context.database.translate_error(error) or error)
        if trace:
            text = "%s: saga %s: code of its definition failed (%s); it is retried by hook_retry%s"
            _log.warning(text, self._context.service, saga_id, describe(error), trace)
        try:
            async with self._transactions.begin() as tx:
                await self._engine.on_failure(tx, saga_id, error, version=version)
        except Unavailable:
            self._unsaved[saga_id] = error, version
            raise
        except Exception as failure:  # noqa: BLE001 - one instance must not stop the others
            self.last_error = failure
            text = "%s: the failure of saga %s could not be recorded (%s); it is processed again later"
            _log.warning(text, self._context.service, saga_id, describe(failure))
            async with self._transactions.begin() as tx:
                await self._engine.reschedule(tx, await self._engine.store.load(tx.db_tx, saga_id))

    def _make(self, calls: Sequence[PendingCall]) -> None:
        for pending in calls:
            self._in_progress += 1
            task = asyncio.create_task(self._call(pending), name=f"{self.name}:{pending.effect.step}")
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _call(self, pending: PendingCall) -> None:
        """Make a call, record its outcome and continue the instance. After a failure here the row's timer retries."""
        try:
            try:
                ended = await make_call(pending)
            finally:
                self._in_progress -= 1
            if ended.error is not None and (trace := self._context.failures.traceback(ended.error)):
                step = pending.effect.step
                text = "%s: call %s of saga %s failed (%s); the retry policy of the step decides what follows%s"
                _log.warning(text, self._context.service, step, pending.saga_id, describe(ended.error), trace)
            if await self._record(pending, ended):
                await self._continue(pending.saga_id)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: the error would be lost
            self.last_error = error
            trace = self._context.failures.traceback(error)
            text = "%s: the outcome of call %s of saga %s was not recorded (%s); retry after its time limit%s"
            _log.error(text, self._context.service, pending.effect.step, pending.saga_id, describe(error), trace)
        finally:
            self.wake()

    async def _record(self, pending: PendingCall, ended: CallEnded) -> bool:
        """Record the outcome. No other process knows it, so this waits for the end of an outage, or for a stop. True
        where something follows from it that was not begun.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                if attempt > 1:  # the commit may have succeeded without an answer: its calls are still as it saved them
                    await self._look_whether_committed()
                async with self._begin_transaction() as tx:
                    follows = await self._engine.on_call_ended(tx, pending.saga_id, ended)
            except NotFound:
                return False
            except (FreeholdError, OSError) as error:
                transient = isinstance(error, Unavailable | ConcurrencyConflict | OSError) and not self.stopping
                decision = _RECORD.decide(min(attempt, _RECORD.attempts - 1) if transient else attempt)
                if not isinstance(decision, RetryAfter):
                    raise
                await self.clock.sleep(decision.delay_seconds)
            else:
                return follows

    async def _try_isolated(self, saga_id: UUID) -> None:
        """Run hooks that may crash the process while no others run: the count then shows which instance crashed it."""
        version = 0
        try:
            async with self._transactions.begin() as tx:
                record = await self._engine.store.load(tx.db_tx, saga_id)
                version = record.version
                mine = await self._engine.mark_started(tx, record, self._hook_timeout_seconds * 2)
        except NotFound:
            return
        except ProcessCrashed as error:
            await self._record_failure(saga_id, error, version)
        else:
            if mine:
                await self._continue(saga_id)

    async def _continue(self, saga_id: UUID) -> None:
        """Start what follows from a recorded outcome; if that fails, the outcome stays recorded."""
        version = 0
        try:
            async with self._begin_transaction() as tx:
                record = await self._engine.store.load(tx.db_tx, saga_id)
                version = record.version
                async with self._limited():
                    await self._engine.continue_instance(tx, record)
        except NotFound:
            return
        except Exception as error:
            if not version:
                raise
            await self._record_failure(saga_id, error, version)

    async def _idle_seconds(self) -> float:
        due_seconds = await self._engine.store.next_due_seconds()
        return self._poll_seconds if due_seconds is None else min(self._poll_seconds, max(0.0, due_seconds))


async def make_call(pending: PendingCall) -> CallEnded:
    """Call the function of a step within its time limit, and return the outcome. Raises on cancellation only."""
    effect = pending.effect
    step = pending.definition.by_name[effect.step]
    context = CallContext(
        saga_id=pending.saga_id,
        step=effect.step,
        direction=effect.direction,
        idempotency_key=effect.idempotency_key,
        attempt=effect.attempt,
        action_key=effect.action_key,
    )
    function: Any = step.action if effect.direction is StepDirection.ACTION else step.compensation

    def ended(outcome: Outcome, body: bytes = b"{}", code: str = "", error: Exception | None = None) -> CallEnded:
        return CallEnded(effect.step, effect.direction, effect.attempt, outcome, body, code, error)

    try:
        async with asyncio.timeout(step.timeout_seconds):
            with contained():
                reply = await function(pending.state, context)
    except Rejected as refusal:
        return ended(Outcome.REJECTED, code=refusal.code)
    except Exception as error:  # noqa: BLE001 - after any error the outcome is unknown, and the policy decides
        _log.info("call %s of saga %s failed (%s)", effect.step, pending.saga_id, type(error).__name__)
        return ended(Outcome.FAILED, error=error)
    if reply is None or effect.direction is StepDirection.COMPENSATION:
        return ended(Outcome.DONE)
    try:
        with calling(effect.step, Hook.REPLY, function):
            return ended(Outcome.DONE, encoder.encode(reply))
    except Exception as error:  # noqa: BLE001 - the call has taken effect nevertheless
        return ended(Outcome.DONE, error=error)
