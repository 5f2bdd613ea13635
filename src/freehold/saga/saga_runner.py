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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.errors import NotFound, Unavailable
from freehold.failures import ProcessCrashed, describe
from freehold.lifecycle import Runner
from freehold.saga.calls import Calls
from freehold.saga.engine import SagaEngine
from freehold.saga.handover import NOBODY
from freehold.saga.hooks import HookTimeout
from freehold.saga.store import SagaRecord
from freehold.transaction import Transactions

__all__ = ["SagaRunner"]

_log = logging.getLogger("freehold.saga")
_TAKEN_BY_OTHERS_SECONDS: Final = 0.05
_UNBEGUN_MAX: Final = 1000
"""Idle time while all due instances are locked by other runners."""


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
        self._hook_timeout_seconds = hook_timeout_seconds
        self._due = False
        self._unsaved: dict[UUID, tuple[Exception, int]] = {}
        self._unbegun: dict[UUID, None] = {}
        self.calls = Calls(self, engine, transactions, calls_max=calls_max, proceed=self._continue)
        engine.on_due = self._on_due

    @property
    def pending_correction(self) -> str:
        """The failures of hooks that could not be recorded yet."""
        return f"the record of failed hooks of {len(self._unsaved)} sagas" if self._unsaved else ""

    async def release(self) -> None:
        """Record the failures that could not be recorded during an outage."""
        await self._save_failures()

    async def run(self) -> None:
        """Process due instances until stopped; then wait for the calls in progress. Cancellation cancels them too."""
        self._engine.caller = self.calls
        try:
            while not self.stopping:
                self.calls.begin()
                await self.calls.look_whether_committed()
                await self._save_failures()
                idle_seconds = 0.0 if self._due else await self._idle_seconds()
                if idle_seconds <= 0:
                    idle_seconds = await self._round()
                self.healthy()
                if idle_seconds > 0:
                    await self.wait(idle_seconds)
            await self.calls.finish()
        except asyncio.CancelledError:
            await self.calls.cancel()
            raise
        finally:
            if self._engine.caller is self.calls:
                self._engine.caller = NOBODY

    async def _round(self) -> float:
        """Take what is due; returns how long nothing else is, as far as is known."""
        self._due = False  # before the claim: what becomes due during it sets this again
        if await self.take_due() > 0:
            return 0.0
        return max(_TAKEN_BY_OTHERS_SECONDS, await self._idle_seconds())

    def _on_due(self) -> None:
        """A transaction of this process has left an instance due, or nearly: look without asking first."""
        self._due = True
        self.wake()

    async def finish_calls(self) -> None:
        """Wait until the outcomes of the calls in progress, and what follows from them, are recorded."""
        while self.calls.tasks:
            await asyncio.wait(self.calls.tasks)

    async def take_due(self) -> int:
        """Do one round; returns how many instances were due. Calls run in their own tasks."""
        isolated: list[UUID] = []
        with self.calls.claiming(self._batch) as room:
            taken = await self._take(room, isolated) if room > 0 else 0
        if room <= 0:
            await self.calls.free_place()
            return 1
        for saga_id in isolated:
            await self._try_isolated(saga_id)
        return taken

    async def _take(self, room: int, isolated: list[UUID]) -> int:
        taken: SagaRecord | None = None
        try:
            async with self.calls.transaction() as tx:
                records = await self._engine.store.claim_due(tx.db_tx, room)
                crash_point("saga.due-claimed")
                async with self._limited():
                    for taken in records:
                        isolated += [] if await self._engine.on_due_record(tx, taken) else [taken.id]
                    crash_point("saga.before-due-commit")
                    taken = None
        except Exception as error:  # noqa: BLE001 - one bad instance must not block the others
            if not isinstance(error, Unavailable):
                text = "%s: a batch of due sagas failed (%s); its instances are processed one by one"
                _log.info(text, self._context.service, describe(error))
            isolated.clear()
            if taken is None:
                return await self._take_one_by_one(room)
            await self._record_failure(taken.id, error, taken.version)
            return 1 + await self._take_one_by_one(room)
        crash_point("saga.due-committed")
        return len(records)

    async def _take_one_by_one(self, room: int) -> int:
        """Process due instances in one transaction each, so that only a failing one is rescheduled."""
        taken = 0
        for _ in range(room):
            claimed: SagaRecord | None = None
            applied = True
            try:
                async with self.calls.transaction() as tx:
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
                crash_point("saga.before-failure-commit")
        except Unavailable:
            self._unsaved[saga_id] = error, version
            raise
        except Exception as failure:  # noqa: BLE001 - one instance must not stop the others
            self.last_error = failure
            text = "%s: the failure of saga %s could not be recorded (%s); it is processed again later"
            _log.warning(text, self._context.service, saga_id, describe(failure))
            async with self._transactions.begin() as tx:
                await self._engine.reschedule(tx, await self._engine.store.load(tx.db_tx, saga_id))

    async def _try_isolated(self, saga_id: UUID) -> None:
        """Run hooks that may crash the process while no others run: the count then shows which instance crashed it.

        Where the answer to the count's commit is lost, the attempt may be counted, and does not begin: that is noted,
        since an outage must not count as a crash.
        """
        version, mine = 0, False
        try:
            async with self._transactions.begin() as tx:
                record = await self._engine.store.load(tx.db_tx, saga_id)
                version = record.version
                unbegun = int(saga_id in self._unbegun)
                mine = await self._engine.mark_started(tx, record, self._hook_timeout_seconds * 2, unbegun)
                crash_point("saga.before-isolation-commit")
        except NotFound:
            return
        except Unavailable:
            if mine:
                self._note_unbegun(saga_id)
            raise
        except ProcessCrashed as error:
            await self._record_failure(saga_id, error, version)
        else:
            crash_point("saga.isolated")
            if mine:
                self._unbegun.pop(saga_id, None)
                await self._continue(saga_id)

    def _note_unbegun(self, saga_id: UUID) -> None:
        """The next count takes one back. In the order in which they came, so that the oldest is forgotten first."""
        self._unbegun[saga_id] = None
        if len(self._unbegun) > _UNBEGUN_MAX:
            del self._unbegun[next(iter(self._unbegun))]

    async def _continue(self, saga_id: UUID) -> None:
        """Start what follows from a recorded outcome; if that fails, the outcome stays recorded."""
        version = 0
        try:
            async with self.calls.transaction() as tx:
                record = await self._engine.store.load(tx.db_tx, saga_id)
                version = record.version
                async with self._limited():
                    await self._engine.continue_instance(tx, record)
                    crash_point("saga.before-continue-commit")
        except NotFound:
            return
        except Exception as error:
            if not version:
                raise
            await self._record_failure(saga_id, error, version)

    async def _idle_seconds(self) -> float:
        due_seconds = await self._engine.store.next_due_seconds()
        return self._poll_seconds if due_seconds is None else min(self._poll_seconds, max(0.0, due_seconds))
