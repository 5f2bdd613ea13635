"""What is due in a service and is not done: seen from its tables, whichever process should do it. Runtime: imports the
patterns.

A loop that stands still in another process, or that nobody runs, tells of nothing; what it should have done stays. So
the age of the oldest that is due is compared with `overdue_alarm_seconds`, by the database's time where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from freehold.clock import Clock
from freehold.database import Finding
from freehold.eventstore.store import EVENTS
from freehold.inbox.store import INBOX
from freehold.outbox.sent import SENT
from freehold.ports import Stores
from freehold.projection.status import GenerationStatus, look
from freehold.projection.store import CHECKPOINTS, GenerationState
from freehold.reconcile.dataset import Copy
from freehold.reconcile.store import RECONCILIATIONS
from freehold.saga.store import SAGAS
from freehold.schedule.store import SCHEDULE
from freehold.service import Service
from freehold.settings import Settings

__all__ = ["examine_backlog", "overdue"]

_RUNNING: Final = "does a process run the role '{}'? see /readyz and the log of the service"
_MINUTES_FROM_SECONDS: Final = 120.0


async def overdue(service: Service, stores: Stores) -> Mapping[str, float]:
    """For how long the oldest has been due of what is sent or tried at a time, by what it is; nothing for what is not
    due. Raises `Unavailable`.
    """
    due = {
        "scheduled messages": await stores[SCHEDULE].next_due_seconds(),
        "timers of sagas": await stores[SAGAS].next_due_seconds() if service.sagas else None,
        "deferred messages": await stores[INBOX].next_due_seconds(service.name) if INBOX in stores else None,
    }
    return {what: -seconds for what, seconds in due.items() if seconds is not None and seconds < 0}


async def examine_backlog(service: Service, settings: Settings, stores: Stores, clock: Clock) -> list[Finding]:
    """For `doctor`. Raises `Unavailable`."""
    limit_seconds = settings.overdue_alarm_seconds
    return [
        *await _examine_due(service, stores, limit_seconds),
        *await _examine_projections(service, stores, clock, limit_seconds),
        *[
            await _examine_copy(copy, service.name, stores, clock, limit_seconds)
            for copy in service.copied.values()
            if copy.every_seconds is not None
        ],
        await _examine_pruning(settings, stores),
    ]


async def _examine_due(service: Service, stores: Stores, limit_seconds: float) -> list[Finding]:
    late = await overdue(service, stores)
    roles = {"scheduled messages": "schedule", "deferred messages": "deferred"}
    roles |= {"timers of sagas": "sagas"} if service.sagas else {}
    found: list[Finding] = []
    for what, role in roles.items():
        seconds = late.get(what, 0.0)
        ok = seconds <= limit_seconds
        detail = "none is overdue" if ok else f"the oldest has been due for {_for(seconds)}, and was not taken"
        found.append(Finding(f"due {what}", ok=ok, detail=detail, remedy="" if ok else _RUNNING.format(role)))
    return found


async def _examine_projections(service: Service, stores: Stores, clock: Clock, limit_seconds: float) -> list[Finding]:
    if not service.projections:
        return []
    seen = await look(stores[CHECKPOINTS], stores[EVENTS], service.projections, clock)
    live = [each for each in seen.generations if each.state is GenerationState.LIVE]
    return [_judge(each, service.name, limit_seconds) for each in live if each.projection in service.projections]


def _judge(status: GenerationStatus, service: str, limit_seconds: float) -> Finding:
    subject = f"projection {status.projection}"
    late = status.lag_seconds > limit_seconds
    waiting = f"{status.lag_events} events wait, the oldest for {_for(status.lag_seconds)}" if status.lag_events else ""
    if status.paused is not None and status.lag_events:
        detail = f"paused by {status.paused.actor} ({status.paused.reason}); {waiting}"
        remedy = f"freehold projection resume {status.projection} --service {service}"
        return Finding(subject, ok=not late, detail=detail, remedy=remedy)
    if status.parked:
        which = "one stream is" if status.parked == 1 else f"{status.parked} streams are"
        detail = f"{which} parked{f'; {waiting}' if waiting else ''}"
        return Finding(subject, False, detail, f"freehold projection show {status.projection} --service {service}")
    if late:
        return Finding(subject, ok=False, detail=waiting, remedy=_RUNNING.format("projections"))
    return Finding(subject, ok=True, detail=waiting or "up to date")


async def _examine_copy(copy: Copy, service: str, stores: Stores, clock: Clock, limit_seconds: float) -> Finding:
    subject = f"copy of {copy.dataset.name}"
    last = await stores[RECONCILIATIONS].last(copy.dataset.name)
    if last is None or copy.every_seconds is None:
        return Finding(subject, ok=True, detail="not compared yet")
    age_seconds = (clock.now() - last.finished_at).total_seconds()
    again = f"freehold reconcile {copy.dataset.name} --service {service}"
    if last.error:
        return Finding(subject, False, f"the last comparison, {_for(age_seconds)} ago, failed: {last.error}", again)
    if last.drifted > last.repaired:
        detail = f"{last.drifted - last.repaired} rows were found wrong {_for(age_seconds)} ago, and are not repaired"
        return Finding(subject, ok=False, detail=detail, remedy=f'{again} --repair --reason "…"')
    detail = f"compared {_for(age_seconds)} ago, and due every {_for(copy.every_seconds)}"
    ok = age_seconds <= copy.every_seconds + limit_seconds
    return Finding(subject, ok=ok, detail=detail, remedy="" if ok else _RUNNING.format("reconcile"))


async def _examine_pruning(settings: Settings, stores: Stores) -> Finding:
    """What one loop deletes is seen from the two tables that grow with each message."""
    kept = await stores[SENT].kept()
    sent_seconds = 0.0 if kept.oldest_at is None else (kept.now - kept.oldest_at).total_seconds()
    receipt_seconds = await stores[INBOX].oldest_receipt_seconds(settings.service) if INBOX in stores else 0.0
    behind = {
        "receipts": receipt_seconds - settings.dedup_window_seconds,
        "sent messages": sent_seconds - settings.outbox_sent_retention_seconds,
    }
    allowed_seconds = settings.prune_interval_seconds + settings.overdue_alarm_seconds
    late = {what: seconds for what, seconds in behind.items() if seconds > allowed_seconds}
    if not late:
        return Finding("pruning", ok=True, detail="nothing is kept much longer than its retention")
    told = ", ".join(f"{what} are {_for(seconds)} past their retention" for what, seconds in late.items())
    return Finding("pruning", ok=False, detail=told, remedy=_RUNNING.format("prune"))


def _for(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= _MINUTES_FROM_SECONDS else f"{max(0.0, seconds):.0f} s"
