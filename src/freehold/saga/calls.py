"""The calls of a runner: begun behind the commits that lead to them, made, and their outcomes recorded. Pattern:
imports the engine and the lifecycle.

Outcomes that arrive while a transaction is in progress are recorded together in the next one. It reads nothing, and
saves on the records that this process saved last, under the guard of their versions. If one outcome of a group fails,
or an instance was saved by somebody else meanwhile, nothing of the group is written, and each outcome is recorded in a
transaction of its own, which loads the instance.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from freehold.crash_points import crash_point
from freehold.errors import ConcurrencyConflict, FreeholdError, NotFound, Unavailable
from freehold.failures import describe
from freehold.inbox.reply import Rejected
from freehold.life import LifeState
from freehold.lifecycle import Runner
from freehold.messages.codec import encoder
from freehold.policy import Retry, RetryAfter
from freehold.saga.engine import SagaEngine
from freehold.saga.exchange import CallEnded, Outcome
from freehold.saga.handover import Handover, PendingCall
from freehold.saga.hooks import Hook, calling
from freehold.saga.outcomes import OutcomeGroup
from freehold.saga.steps import CallContext, StepDirection
from freehold.saga.store import SagaRecord
from freehold.tasks import contained
from freehold.transaction import Transaction, Transactions

__all__ = ["Calls"]

_log = logging.getLogger("freehold.saga")
_RECORD: Final = Retry(attempts=6, delay_seconds=0.05, delay_seconds_max=1.0)
_LOOK_SECONDS: Final = 0.05
"""How often a stop looks whether open transactions have ended: a rollback is not signalled."""
_OPEN: Final = frozenset({LifeState.OPEN, LifeState.COMMITTING})
_UNDECIDED: Final = _OPEN | {LifeState.UNKNOWN}


class Calls:
    """The calls of one runner, as its `Caller`.

    calls_max  limits the calls in progress and those that transactions hand over; others are left due.
    proceed    starts what else follows from a recorded outcome.
    """

    def __init__(
        self,
        runner: Runner,
        engine: SagaEngine,
        transactions: Transactions,
        *,
        calls_max: int,
        proceed: Callable[[UUID], Awaitable[None]],
    ) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._runner = runner
        self._engine = engine
        self._transactions = transactions
        self._context = transactions.context
        self._calls_max = calls_max
        self._proceed = proceed
        self._in_progress = 0
        self._claimed = 0
        self._expected: set[Handover] = set()
        self._group = OutcomeGroup[tuple[PendingCall, CallEnded], bool](self._record_together)
        self._of_instance = Counter[UUID]()
        self._saved: dict[UUID, tuple[SagaRecord, float]] = {}

    @property
    def places(self) -> int:
        """How many more calls can be taken over; 0 while the runner stops."""
        taken = self._in_progress + self._claimed + sum(handover.taken for handover in self._expected)
        return 0 if self._runner.stopping else max(0, self._calls_max - taken)

    def expect(self, handover: Handover) -> None:
        """Look whether the handover's transaction has ended: at the next `begin`, or in the next round."""
        self._expected.add(handover)

    def begin(self) -> None:
        """Begin the calls of all transactions that have committed. A transaction whose task was cancelled during the
        commit does not call this: its calls begin in the next round.
        """
        for handover in [each for each in self._expected if each.state not in _UNDECIDED]:
            self._expected.discard(handover)
            if handover.state is LifeState.COMMITTED:
                self.make(handover.calls)

    async def look_whether_committed(self) -> None:
        """Begin the calls of transactions whose commits were not answered, as after a lost connection, where the
        instances are as they were saved. Raises `Unavailable`.
        """
        for handover in [each for each in self._expected if each.state is LifeState.UNKNOWN]:
            calls = handover.calls
            async with self._transactions.begin() as tx:
                found = await self._engine.store.load_many(tx.db_tx, {call.saga_id for call in calls})
            if handover in self._expected:
                self._expected.discard(handover)
                self.make([call for call in calls if call.record.is_stored_as(found.get(call.saga_id))])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction whose calls are begun here, also in a round that is driven by hand."""
        async with self._transactions.begin() as tx:
            self._engine.hand_over_to(tx, self)
            yield tx

    @contextmanager
    def claiming(self, number: int) -> Iterator[int]:
        """Take places for the calls of due instances, `number` at most, before they are claimed; yields how many."""
        taken = min(number, self.places)
        self._claimed += taken
        try:
            yield taken
        finally:
            self._claimed -= taken

    async def free_place(self) -> None:
        """Wait until a call has ended."""
        if self.tasks:
            await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        else:
            await self._runner.wait(_LOOK_SECONDS)

    async def finish(self) -> None:
        """Finish the calls in progress, and those of transactions that are still open. `stop` limits the time."""
        self.begin()
        while self.tasks or any(handover.state in _OPEN for handover in self._expected):
            if self.tasks:
                await asyncio.wait(self.tasks)
            else:
                await self._runner.clock.sleep(_LOOK_SECONDS)
            self.begin()

    async def cancel(self) -> None:
        """Cancel the calls in progress; each is overdue after its time limit."""
        for task in self.tasks:
            task.cancel()
        await self._group.cancel()
        while self.tasks:
            await asyncio.wait(self.tasks)

    def make(self, calls: Sequence[PendingCall]) -> None:
        """Make calls whose intentions are committed, each in a task of its own."""
        for pending in calls:
            self._in_progress += 1
            self._of_instance[pending.saga_id] += 1
            self._keep(pending.record)
            task = asyncio.create_task(self._call(pending), name=f"{self._runner.name}:{pending.effect.step}")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _keep(self, record: SagaRecord) -> None:
        """Keep the last saved record of an instance while calls of it are in progress here."""
        known = self._saved.get(record.id)
        if self._of_instance[record.id] and (known is None or known[0].version < record.version):
            self._saved[record.id] = record, self._runner.clock.monotonic()

    def _ended(self, saga_id: UUID) -> None:
        self._of_instance[saga_id] -= 1
        if not self._of_instance[saga_id]:
            del self._of_instance[saga_id]
            self._saved.pop(saga_id, None)

    async def _call(self, pending: PendingCall) -> None:
        """Make a call, record its outcome and continue the instance. After a failure here the row's timer retries."""
        try:
            try:
                crash_point("saga.before-call")
                ended = await make_call(pending)
                crash_point("saga.called")
            finally:
                self._in_progress -= 1
            if ended.error is not None and (trace := self._context.failures.traceback(ended.error)):
                step = pending.effect.step
                text = "%s: call %s of saga %s failed (%s); the retry policy of the step decides what follows%s"
                _log.warning(text, self._context.service, step, pending.saga_id, describe(ended.error), trace)
            follows = await self._group.add((pending, ended))
            if follows is None:
                self._saved.pop(pending.saga_id, None)
                follows = await self._record_alone(pending, ended)
            crash_point("saga.outcome-recorded")
            if follows:
                await self._proceed(pending.saga_id)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: the error would be lost
            self._runner.last_error = error
            trace = self._context.failures.traceback(error)
            text = "%s: the outcome of call %s of saga %s was not recorded (%s); retry after its time limit%s"
            _log.error(text, self._context.service, pending.effect.step, pending.saga_id, describe(error), trace)
        finally:
            self._ended(pending.saga_id)

    async def _record_together(self, group: Sequence[tuple[PendingCall, CallEnded]]) -> Sequence[bool] | None:
        """Record a group of outcomes in one transaction, none of them where one fails."""
        now = self._runner.clock.monotonic()
        saga_ids = {pending.saga_id for pending, _ in group}
        known = [_aged(*self._saved[saga_id], now) for saga_id in saga_ids if saga_id in self._saved]
        try:
            async with self.transaction() as tx:
                await self._engine.assume(tx, known, saga_ids)
                follows = [await self._engine.on_call_ended(tx, pending.saga_id, ended) for pending, ended in group]
                crash_point("saga.before-outcome-commit")
                handover = self._engine.handover(tx)
        except Exception as error:  # noqa: BLE001 - each is recorded alone, and its own error is shown there
            _log.debug("%s: %d outcomes are recorded one by one (%s)", self._runner.name, len(group), describe(error))
            return None
        for saga_id in saga_ids:
            if saga_id in handover.records:
                self._keep(handover.records[saga_id])
        return follows

    async def _record_alone(self, pending: PendingCall, ended: CallEnded) -> bool:
        """Record an outcome. No other process knows it, so this waits for the end of an outage, or for a stop. True
        where something follows from it that was not begun.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                # The commit before may have succeeded without an answer: its calls are still as it saved them.
                await self.look_whether_committed()
                async with self.transaction() as tx:
                    follows = await self._engine.on_call_ended(tx, pending.saga_id, ended)
                    crash_point("saga.before-lone-outcome-commit")
            except NotFound:
                return False
            except (FreeholdError, OSError) as error:
                transient = isinstance(error, Unavailable | ConcurrencyConflict | OSError) and not self._runner.stopping
                decision = _RECORD.decide(min(attempt, _RECORD.attempts - 1) if transient else attempt)
                if not isinstance(decision, RetryAfter):
                    raise
                await self._runner.clock.sleep(decision.delay_seconds)
            else:
                return follows


def _aged(record: SagaRecord, saved_at: float, now: float) -> SagaRecord:
    """A saved record as a load would return it now: less time is left until its timer is due."""
    if record.due_seconds is None:
        return record
    return replace(record, due_seconds=max(0.0, record.due_seconds - (now - saved_at)))


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
