"""The runner that compares a service's replicas on a schedule. Pattern: imports the foundation and its package.

Each replica has a lease, so that one instance of the service compares it at a time. A comparison that was interrupted
starts again from the beginning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.errors import FreeholdError
from freehold.failures import describe, name_of
from freehold.lifecycle import Runner
from freehold.reconcile.dataset import Replica
from freehold.reconcile.reconciler import Reconciliation
from freehold.reconcile.store import ReconciliationRecord, ReconciliationStore

__all__ = ["ReconcileRunner", "lease_of", "record_of"]

_log = logging.getLogger("freehold.reconcile")
_LOOK_SECONDS = 5.0
_LOOK_SECONDS_MAX = 60.0
"""The wall clock may be set, so a replica that is due later is looked at nevertheless."""

Compare = Callable[[Replica], Awaitable[Reconciliation]]


def lease_of(replica: Replica) -> str:
    """The lease of a replica's schedule."""
    return f"reconcile/{replica.dataset.name}"


class ReconcileRunner(Runner):
    """Compares each replica when its last result in the database is `every_seconds` old.

    A failure is stored as a result, and retried when the replica is due again; other replicas are not affected.
    """

    def __init__(
        self,
        service: str,
        replicas: Collection[Replica],
        store: ReconciliationStore,
        compare: Compare,
        held: Callable[[], Mapping[str, int]],
        clock: Clock,
    ) -> None:
        super().__init__(f"reconcile {service}", clock=clock)
        self._replicas = tuple(each for each in replicas if each.every_seconds is not None)
        self._store = store
        self._compare = compare
        self._held = held

    async def run(self) -> None:
        """Look for replicas that are due, until stopped."""
        while not self.stopping:
            idle_seconds = _LOOK_SECONDS_MAX
            for replica in self._replicas:
                due_seconds = _LOOK_SECONDS
                if lease_of(replica) in self._held():
                    due_seconds = await self._due_seconds(replica)
                    if due_seconds <= 0:
                        await self._until_stopped(replica)
                        due_seconds = _LOOK_SECONDS
                idle_seconds = min(idle_seconds, due_seconds)
            self.healthy()
            await self.wait(idle_seconds)

    async def _due_seconds(self, replica: Replica) -> float:
        """In how many seconds a replica is due; 0 or less for now."""
        last = await self._store.last(replica.dataset.name)
        if last is None or replica.every_seconds is None:
            return 0.0
        return replica.every_seconds - (self.clock.now() - last.finished_at).total_seconds()

    async def _until_stopped(self, replica: Replica) -> None:
        if self.stopping:
            return
        comparing = asyncio.create_task(self._one(replica))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({comparing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            comparing.cancel()
            await asyncio.wait({comparing})
        if not comparing.cancelled():
            comparing.result()

    async def _one(self, replica: Replica) -> None:
        started = self.clock.monotonic()
        try:
            result = await self._compare(replica)
        except FreeholdError as error:
            seconds = self.clock.monotonic() - started
            every = replica.every_seconds or _LOOK_SECONDS
            name = replica.dataset.name
            text = "%s: '%s' was not compared (%s); it is compared again in %g s"
            _log.warning(text, self.outages.titled(self.name), name, describe(error), every)
            await self._add(ReconciliationRecord(name, self.clock.now(), seconds, 0, 0, 0, 0, name_of(error)))
            return
        if result.drift or result.inconclusive:
            _log.warning(
                "%s: replica of '%s': %d rows drifted, %d were repaired, %d are inconclusive",
                self.outages.titled(self.name),
                result.dataset,
                len(result.drift),
                len(result.repaired),
                len(result.inconclusive),
            )
        await self._add(record_of(result, self.clock))

    async def _add(self, record: ReconciliationRecord) -> None:
        crash_point("reconcile.before-record")
        await self._store.add(record)
        crash_point("reconcile.recorded")


def record_of(result: Reconciliation, clock: Clock) -> ReconciliationRecord:
    """The record of a result."""
    return ReconciliationRecord(
        dataset=result.dataset,
        finished_at=clock.now(),
        seconds=result.seconds,
        compared=result.compared,
        drifted=len(result.drift),
        repaired=len(result.repaired),
        inconclusive=len(result.inconclusive),
    )
