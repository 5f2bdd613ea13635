"""The loop that takes the timers of sagas and makes their calls. Pattern: imports the engine and the lifecycle.

A round claims instances that are due and saves them in one transaction, which makes the calls' intention durable; then
it makes the calls, outside of any transaction, each within its step's time limit, and records each outcome in a
transaction of its own, guarded by the attempt and the row's version: who comes too late changes nothing. Whoever dies
in between leaves a row whose `due` brings it to another instance, after the time limit. Any number of runners share
the work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from freehold.clock import Clock
from freehold.errors import ConcurrencyConflict, FreeholdError, NotFound, Unavailable
from freehold.inbox.outcome import Rejected
from freehold.lifecycle import Runner
from freehold.policy import Retry, RetryAfter
from freehold.saga.engine import PendingCall, SagaEngine
from freehold.saga.exchange import CallEnded, Outcome
from freehold.saga.steps import CallContext, Direction
from freehold.saga.store import SagaRecord
from freehold.transaction import Post

__all__ = ["SagaRunner"]

_log = logging.getLogger("freehold.saga")
_RECORD: Final = Retry(attempts=6, delay_seconds=0.05, delay_seconds_max=1.0)
_TAKEN_BY_OTHERS_SECONDS: Final = 0.05
"""Idle time when what is due is locked by another instance just now."""
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


class SagaRunner(Runner):
    """Takes due timers and makes calls. Safe in any number of instances.

    poll_seconds  longest idle time: timers set by other processes are seen this late at most.
    batch         instances claimed in one transaction; `calls_max` limits the calls under way.
    """

    def __init__(
        self,
        engine: SagaEngine,
        post: Post,
        *,
        poll_seconds: float = 1.0,
        batch: int = 50,
        calls_max: int = 64,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(f"{post.service}.sagas", clock=clock or post.clock)
        self._engine = engine
        self._post = post
        self._poll_seconds = poll_seconds
        self._batch = batch
        self._calls_max = calls_max
        self._calls: set[asyncio.Task[None]] = set()
        engine.on_due = self.wake

    async def run(self) -> None:
        """Take what is due until stopped; then wait for the calls under way. Cancelled, they are cancelled too."""
        try:
            while not self.stopping:
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
        """Wait until the calls under way have been recorded."""
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def take_due(self) -> int:
        """One round; returns how many instances were due. Calls go on in tasks of their own."""
        room = min(self._batch, self._calls_max - len(self._calls))
        if room <= 0:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            return 1
        calls: list[PendingCall] = []
        try:
            async with self._post.transaction() as tx:
                records = await self._engine.store.claim_due(tx.unit, room)
                for record in records:
                    calls.extend(await self._engine.on_due_record(tx, record))
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad instance must not hold up the others
            _log.warning("a batch of due sagas failed (%s), taking them one by one", type(error).__name__)
            return await self._take_singly()
        self._begin(calls)
        return len(records)

    async def _take_singly(self) -> int:
        """Take due instances in a transaction each, so that a failing one is put off alone."""
        taken = 0
        for _ in range(self._batch):
            claimed: SagaRecord | None = None
            calls: Sequence[PendingCall] = ()
            try:
                async with self._post.transaction() as tx:
                    for claimed in await self._engine.store.claim_due(tx.unit, 1):
                        calls = await self._engine.on_due_record(tx, claimed)
                if claimed is None:
                    break
                self._begin(calls)
            except ConcurrencyConflict:
                continue
            except Unavailable:
                raise
            except Exception as error:
                if claimed is None:
                    raise
                await self._put_off(claimed, error)
            taken += 1
        return taken

    async def _put_off(self, record: SagaRecord, error: Exception) -> None:
        _log.warning("the timer of saga %s failed (%s)", record.id, type(error).__name__)
        _log.debug("the timer of saga %s failed", record.id, exc_info=error)
        async with self._post.transaction() as tx:
            await self._engine.on_trouble(tx, record.id, error)

    def _begin(self, calls: Sequence[PendingCall]) -> None:
        for pending in calls:
            task = asyncio.create_task(self._call(pending), name=f"{self.name}:{pending.effect.step}")
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _call(self, pending: PendingCall) -> None:
        await self._record(pending, await carry_out(pending))
        self.wake()

    async def _record(self, pending: PendingCall, ended: CallEnded) -> None:
        """Record the outcome; given up after some conflicts and failures, when the row's timer takes over."""
        for attempt in range(1, _RECORD.attempts + 1):
            try:
                async with self._post.transaction() as tx:
                    await self._engine.on_call_ended(tx, pending.saga_id, ended)
            except NotFound:
                return
            except (FreeholdError, OSError) as error:
                decision = _RECORD.decide(attempt)
                if not isinstance(decision, RetryAfter):
                    _log.warning(
                        "outcome of %s of saga %s was not recorded", ended.step, pending.saga_id, exc_info=error
                    )
                    return
                await self.clock.sleep(decision.delay_seconds)
            else:
                return

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
    function: Any = step.action if effect.direction is Direction.ACTION else step.undo

    def ended(outcome: Outcome, body: bytes = b"{}", code: str = "", error: Exception | None = None) -> CallEnded:
        return CallEnded(effect.step, effect.direction, effect.attempt, outcome, body, code, error)

    try:
        async with asyncio.timeout(step.timeout_seconds):
            reply = await function(pending.state, context)
        return ended(Outcome.DONE, b"{}" if reply is None else _encoder.encode(reply))
    except Rejected as refusal:
        return ended(Outcome.REJECTED, code=refusal.code)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the effect is in doubt and the policy decides
        _log.info("call %s of saga %s failed (%s)", effect.step, pending.saga_id, type(error).__name__)
        return ended(Outcome.FAILED, error=error)
