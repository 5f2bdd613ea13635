"""The checks of `freehold doctor` on projections. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.eventstore.store import EVENTS
from freehold.pattern import is_role_running
from freehold.projection.declaration import Projection
from freehold.projection.status import GenerationStatus, read_status
from freehold.projection.store import CHECKPOINTS, GenerationState

__all__ = ["probe"]


async def probe(context: ServiceContext, projections: Mapping[str, Projection]) -> Sequence[CheckResult]:
    """Check that the live generations keep up with the events. Raises `Unavailable`."""
    if not projections:
        return []
    report = await read_status(context.stores[CHECKPOINTS], context.stores[EVENTS], projections, context.clock)
    live = [each for each in report.generations if each.state is GenerationState.LIVE]
    limit_seconds = context.settings.overdue_alarm_seconds
    return [_check(each, context.service, limit_seconds) for each in live if each.projection in projections]


def _check(status: GenerationStatus, service: str, limit_seconds: float) -> CheckResult:
    subject = f"projection {status.projection}"
    late = status.lag_seconds > limit_seconds
    waiting = (
        f"{status.lag_events} events wait, the oldest for {duration(status.lag_seconds)}" if status.lag_events else ""
    )
    if status.paused is not None and status.lag_events:
        detail = f"paused by {status.paused.actor} ({status.paused.reason}); {waiting}"
        fix = f"freehold projection resume {status.projection} --service {service}"
        return CheckResult(subject, ok=not late, detail=detail, fix=fix)
    if status.parked:
        which = "one stream is" if status.parked == 1 else f"{status.parked} streams are"
        detail = f"{which} parked{f'; {waiting}' if waiting else ''}"
        return CheckResult(subject, False, detail, f"freehold projection show {status.projection} --service {service}")
    if late:
        return CheckResult(subject, ok=False, detail=waiting, fix=is_role_running("projections"))
    return CheckResult(subject, ok=True, detail=waiting or "up to date")
