"""The checks of `freehold doctor` on replicas that are compared on a schedule. Pattern: imports ports, its package."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.pattern import is_role_running
from freehold.reconcile.dataset import Datasets, Replica
from freehold.reconcile.store import RECONCILIATIONS

__all__ = ["probe"]


async def probe(context: ServiceContext, declared: Datasets) -> Sequence[CheckResult]:
    """Check that each replica was compared in time, and has no drift. Raises `Unavailable`."""
    replicas = [each for each in declared.replicas.values() if each.every_seconds is not None]
    return [await _check_replica(replica, context) for replica in replicas]


async def _check_replica(replica: Replica, context: ServiceContext) -> CheckResult:
    subject = f"replica of {replica.dataset.name}"
    last = await context.stores[RECONCILIATIONS].last(replica.dataset.name)
    if last is None or replica.every_seconds is None:
        return CheckResult(subject, ok=True, detail="not compared yet")
    age_seconds = (context.clock.now() - last.finished_at).total_seconds()
    again = f"freehold reconcile {replica.dataset.name} --service {context.service}"
    if last.error:
        return CheckResult(
            subject, False, f"the last comparison, {duration(age_seconds)} ago, failed: {last.error}", again
        )
    if last.drifted > last.repaired:
        detail = f"{last.drifted - last.repaired} rows had drifted {duration(age_seconds)} ago, and are not repaired"
        return CheckResult(subject, ok=False, detail=detail, fix=f'{again} --repair --reason "…"')
    detail = f"compared {duration(age_seconds)} ago, and due every {duration(replica.every_seconds)}"
    ok = age_seconds <= replica.every_seconds + context.settings.overdue_alarm_seconds
    return CheckResult(subject, ok=ok, detail=detail, fix="" if ok else is_role_running("reconcile"))
