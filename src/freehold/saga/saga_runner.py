"""The loop that takes the timers of sagas and makes their calls. Pattern: imports the engine and the lifecycle.

A round claims instances that are due and saves them in one transaction, which makes the calls' intention durable; then
it makes the calls, outside of any transaction, each within its step's time limit. Each outcome is put on record in a
transaction of its own, before any code of the definition runs with it; what follows is begun in the next one. Both are
guarded by the attempt and the row's version: who comes too late changes nothing. Whoever dies in between leaves a row
whose `due` brings it to another instance: after the time limit before the outcome is on record, at once after it. What
fails is put down in the instance, and is nobody else's hindrance. Any number of runners share the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import msgspec

from freehold.clock import Clock
from freehold.errors import ConcurrencyConflict, FreeholdError, NotFound, Unavailable
from freehold.failures import ProcessCrashed, describe
from freehold.inbox.reply import Rejected
from freehold.lifecycle import Runner, contained
from freehold.policy import Retry, RetryAfter
from freehold.saga.engine import PendingCall, SagaEngine
from freehold.saga.exchange import CallEnded, Outcome
from freehold.saga.hooks import Hook, HookTimeout, calling
from freehold.saga.steps import CallContext, StepDirection
from freehold.saga.store import SagaRecord
from freehold.transaction import Transactions

__all__ = ["SagaRunner"]

_log = logging.getLogger("freehold.saga")
_RECORD: Final = Retry(attempts=6, delay_seconds=0.05, delay_seconds_max=1.0)
_TAKEN_BY_OTHERS_SECONDS: Final = 0.05
"""Idle time when what is due is locked by another instance just now."""
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


class SagaRunner(Runner):
    """Takes due timers and makes calls. Safe in any number of instances.

    poll_seconds          longest idle time: timers set by other processes are seen this late at most.
    batch                 instances claimed in one transaction; `calls_max` limits the calls in progress.
    hook_timeout_seconds  what the hooks of one transaction may take.
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
        self._unsaved: dict[UUID, tuple[Exception, int]] = {}
        engine.on_due = self.wake

    @property
    def pending_correction(self) -> str:
        """Failures of hooks that are to be put down as outages."""
        return f"the record of failed hooks of {len(self._unsaved)} sagas" if self._unsaved else ""

    async def release(self) -> None:
        """Put down what an outage has kept from it."""
        await self._save_failures()

    async def run(self) -> None:
        """Take what is due until stopped; then wait for the calls in progress. Cancelled, they are cancelled too."""
        try:
            while not self.stopping:
                await self._save_failures()
                idle_seconds = await self._idle_seconds()
                if idle_seconds <= 0 and await self.take_due() == 0:
                    idle_seconds = _TAKEN_BY_OTHERS_SECONDS
                self.healthy()
                if idle_seconds > 0:
                    await self.wait(idle_seconds)
            await self.finish_calls()
        except asyncio.CancelledError:
            for task in self._calls:
                task.cancel()
            await self.finish_calls()
            raise

    async def finish_calls(self) -> None:
        """Wait until the calls in progress, and what follows from them, have been recorded."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def take_due(self) -> int:
        """One round; returns how many instances were due. Calls go on in tasks of their own."""
        room = min(self._batch, self._calls_max - len(self._calls))
        if room <= 0:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            return 1
        calls: list[PendingCall] = []
        isolated: list[UUID] = []
        taken: SagaRecord | None = None
        try:
            async with self._transactions.begin() as tx:
                records = await self._engine.store.claim_due(tx.db_tx, room)
                async with self._limited():
                    for taken in records:
                        found = await self._engine.on_due_record(tx, taken)
                        isolated += [taken.id] if found is None else []
                        calls.extend(found or ())
                    taken = None
        except Exception as error:  # noqa: BLE001 - one bad instance must not block the others
            if not isinstance(error, Unavailable):
                text = "%s: a batch of due sagas failed (%s); they are taken one by one"
                _log.info(text, self._context.service, describe(error))
            if taken is None:
                return await self._take_singly()
            await self._put_off(taken.id, error, taken.version)
            return 1 + await self._take_singly()
        self._begin(calls)
        for saga_id in isolated:
            await self._try_alone(saga_id)
        return len(records)

    async def _take_singly(self) -> int:
        """Take due instances in a transaction each, so that a failing one is put off alone."""
        taken = 0
        for _ in range(self._batch):
            claimed: SagaRecord | None = None
            calls: Sequence[PendingCall] | None = ()
            try:
                async with self._transactions.begin() as tx:
                    for claimed in await self._engine.store.claim_due(tx.db_tx, 1):
                        async with self._limited():
                            calls = await self._engine.on_due_record(tx, claimed)
                if claimed is None:
                    break
                self._begin(calls or ())
                if calls is None:
                    await self._try_alone(claimed.id)
            except Exception as error:
                if claimed is None:
                    raise
                await self._put_off(claimed.id, error, claimed.version)
            taken += 1
        return taken

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Bound the time that hooks take. Raises `HookTimeout`."""
        scope = asyncio.timeout(self._hook_timeout_seconds)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise HookTimeout(f"it took more than {self._hook_timeout_seconds:g} s") from error

    async def _save_failures(self) -> None:
        """Put down what could not be put down while the database was away: hooks that an outage ended have not ended
        this process, and must not be counted as if they had.
        """
        for saga_id, (error, version) in list(self._unsaved.items()):
            with contextlib.suppress(NotFound):
                await self._put_off(saga_id, error, version)
            del self._unsaved[saga_id]

    async def _put_off(self, saga_id: UUID, error: Exception, version: int) -> None:
        """Put a failure down in its instance; where not even that can be stored, leave the instance alone for a while.

        Raises `Unavailable`; it is put down later then.
        """
        trace = self._context.failures.traceback(self._context.database.translate_error(error) or error)
        if trace:
            text = "%s: saga %s: code of its definition failed (%s); its hook_retry says when it is tried again%s"
            _log.warning(text, self._context.service, saga_id, describe(error), trace)
        try:
            async with self._transactions.begin() as tx:
                await self._engine.on_failure(tx, saga_id, error, version=version)
        except Unavailable:
            self._unsaved[saga_id] = error, version
            raise
        except Exception as failure:  # noqa: BLE001 - it is one instance's
            self.last_error = failure
            text = "%s: the failure of saga %s was not put down (%s); it is left alone for a while"
            _log.warning(text, self._context.service, saga_id, describe(failure))
            async with self._transactions.begin() as tx:
                await self._engine.leave(tx, await self._engine.store.load(tx.db_tx, saga_id))

    def _begin(self, calls: Sequence[PendingCall]) -> None:
        for pending in calls:
            task = asyncio.create_task(self._call(pending), name=f"{self.name}:{pending.effect.step}")
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _call(self, pending: PendingCall) -> None:
        """Make a call, put its outcome on record, go on. What fails is logged and kept, and the row's timer follows."""
        try:
            ended = await carry_out(pending)
            if ended.error is not None and (trace := self._context.failures.traceback(ended.error)):
                step = pending.effect.step
                text = "%s: call %s of saga %s failed (%s); its step's retry says what follows%s"
                _log.warning(text, self._context.service, step, pending.saga_id, describe(ended.error), trace)
            if await self._record(pending, ended):
                await self._go_on(pending.saga_id)
        except Exception as error:  # noqa: BLE001 - a task of its own: nobody else would see it
            self.last_error = error
            trace = self._context.failures.traceback(error)
            text = "%s: how call %s of saga %s ended was not recorded (%s); it is made again after its time limit%s"
            _log.error(text, self._context.service, pending.effect.step, pending.saga_id, describe(error), trace)
        finally:
            self.wake()

    async def _record(self, pending: PendingCall, ended: CallEnded) -> bool:
        """Put the outcome on record. Nobody else knows it, so an outage is waited out, but for a stop."""
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._transactions.begin() as tx:
                    await self._engine.on_call_ended(tx, pending.saga_id, ended)
            except NotFound:
                return False
            except (FreeholdError, OSError) as error:
                transient = isinstance(error, Unavailable | ConcurrencyConflict | OSError) and not self.stopping
                decision = _RECORD.decide(min(attempt, _RECORD.attempts - 1) if transient else attempt)
                if not isinstance(decision, RetryAfter):
                    raise
                await self.clock.sleep(decision.delay_seconds)
            else:
                return True

    async def _try_alone(self, saga_id: UUID) -> None:
        """Try hooks that may end the process, while no other hooks are: the count tells which instance it was."""
        version = 0
        try:
            async with self._transactions.begin() as tx:
                record = await self._engine.store.load(tx.db_tx, saga_id)
                version = record.version
                mine = await self._engine.mark_started(tx, record, self._hook_timeout_seconds * 2)
        except NotFound:
            return
        except ProcessCrashed as error:
            await self._put_off(saga_id, error, version)
        else:
            if mine:
                await self._go_on(saga_id)

    async def _go_on(self, saga_id: UUID) -> None:
        """Begin what follows from an outcome that is on record; if that fails, the outcome stays."""
        version = 0
        try:
            async with self._transactions.begin() as tx:
                record = await self._engine.store.load(tx.db_tx, saga_id)
                version = record.version
                async with self._limited():
                    calls = await self._engine.go_on(tx, record)
        except NotFound:
            return
        except Exception as error:
            if not version:
                raise
            await self._put_off(saga_id, error, version)
        else:
            self._begin(calls)

    async def _idle_seconds(self) -> float:
        due_seconds = await self._engine.store.next_due_seconds()
        return self._poll_seconds if due_seconds is None else min(self._poll_seconds, max(0.0, due_seconds))


async def carry_out(pending: PendingCall) -> CallEnded:
    """Await the function of a call within its time limit and say how it ended. Never raises but for cancellation."""
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
    except Exception as error:  # noqa: BLE001 - whatever it raises, its outcome is unknown and the policy decides
        _log.info("call %s of saga %s failed (%s)", effect.step, pending.saga_id, type(error).__name__)
        return ended(Outcome.FAILED, error=error)
    if reply is None or effect.direction is StepDirection.COMPENSATION:
        return ended(Outcome.DONE)
    try:
        with calling(effect.step, Hook.REPLY, function):
            return ended(Outcome.DONE, _encoder.encode(reply))
    except Exception as error:  # noqa: BLE001 - it has taken effect all the same
        return ended(Outcome.DONE, error=error)
