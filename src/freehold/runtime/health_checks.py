"""How a running service is, as it is asked for by load balancers and people. Runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING

from freehold.broker import Noticing, TopicLag
from freehold.deadletters.store import DEAD_LETTERS
from freehold.errors import FreeholdError, Unavailable
from freehold.failures import root_cause
from freehold.inbox.store import INBOX, DeferredStats
from freehold.lifecycle import FAILING_SECONDS_MAX
from freehold.outages import BROKER, DATABASE
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.backlog import overdue
from freehold.runtime.health import Health, Readiness, RunnerHealth
from freehold.runtime.probes import told

if TYPE_CHECKING:
    from freehold.runtime.running_service import RunningService

__all__ = ["look_at_health", "look_at_readiness"]


async def look_at_readiness(running: RunningService, timeout_seconds: float) -> Readiness:
    """See `RunningService.readiness`."""
    problems: dict[str, str] = {}
    if running.draining or not running.started:
        problems["draining" if running.draining else "starting"] = "no new work is taken"
    looks = running.started and running.probes.database.due
    database, (broker, refused) = await asyncio.gather(
        _database_problem(running, timeout_seconds), _broker_problem(running, timeout_seconds)
    )
    if database:
        problems["database"] = database
    elif looks:
        running.probes.deferred = await _deferred(running, timeout_seconds)
        running.probes.overdue = await _overdue(running, timeout_seconds)
    told = {"deferred": running.probes.deferred, "overdue": running.probes.overdue}
    notices: dict[str, str] = {what: text for what, text in told.items() if text}
    if broker:
        may_wait = running.settings.ready_without_broker and not refused
        said = broker if database else broker + await _kept(running, timeout_seconds)
        (notices if may_wait else problems)["broker"] = said
    elif lost := _broker_notice(running):
        notices["broker"] = lost
    problems |= {runner.name: trouble for runner in running.watched if (trouble := runner.trouble)}
    notices |= {runner.name: notice for runner in running.watched if (notice := runner.notice)}
    return Readiness(ready=not problems, problems=problems, notices=notices)


async def look_at_health(running: RunningService) -> Health:
    """See `RunningService.health`."""
    stores = running.stores
    outbox, deferred, dead, (broker, lag) = await asyncio.gather(
        stores[OUTBOX].stats(), _deferred_stats(stores), _dead_letters(stores), _lag(running)
    )
    return Health(running.service.name, _runners(running), outbox, deferred, dead, lag, broker)


async def _deferred_stats(stores: Stores) -> DeferredStats:
    inbox = stores.get(INBOX)
    return DeferredStats(0, 0, 0.0) if inbox is None else await inbox.stats()


async def _dead_letters(stores: Stores) -> Mapping[str, int]:
    letters = stores.get(DEAD_LETTERS)
    return {} if letters is None else await letters.count()


def _runners(running: RunningService) -> Mapping[str, RunnerHealth]:
    return {
        runner.name: RunnerHealth(
            runner.state, type(root_cause(runner.last_error)).__name__ if runner.last_error else ""
        )
        for runner in running.watched
    }


async def _lag(running: RunningService) -> tuple[str, Sequence[TopicLag]]:
    if not (running.service.topics and running.connects):
        return "", ()
    try:
        return "", await running.broker.lag(running.service.name)
    except Unavailable as error:
        return type(running.link.problem or error).__name__, ()


async def _broker_problem(running: RunningService, timeout_seconds: float) -> tuple[str, bool]:
    """What keeps this process from the broker; of one that refuses, in whole: it will not mend by itself. And whether
    it refuses: the link may hear something else before the answer is complete.
    """
    problem = running.link.problem
    if not running.connects:
        return "", False
    if problem is not None:
        refused = not isinstance(problem, Unavailable)
        return f"{type(problem).__name__}: {problem}" if refused else told(problem), refused
    probe = running.probes.broker
    if running.started and not probe.trusted:
        written = await probe.problem(timeout_seconds)
    else:
        written = await _answers(running.broker.ping(timeout_seconds))
    return written or running.outages.lasting(BROKER, FAILING_SECONDS_MAX), False


async def _database_problem(running: RunningService, timeout_seconds: float) -> str:
    """What keeps the database from being written or, where that went well just now, from answering; or what a loop
    hears of it, round after round: a table may have no room where another has some.
    """
    probe = running.probes.database
    if running.started and not probe.trusted:
        problem = await probe.problem(timeout_seconds)
    else:
        problem = await _answers(running.stores.database.ping(timeout_seconds))
    return problem or running.outages.lasting(DATABASE, FAILING_SECONDS_MAX)


async def _deferred(running: RunningService, timeout_seconds: float) -> str:
    """What consumers have put off for longer than is to be expected; empty for nothing."""
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await _deferred_stats(running.stores)
    except (FreeholdError, TimeoutError):
        return ""
    if not found.pending or found.oldest_seconds <= running.settings.deferred_alarm_seconds:
        return ""
    which = "one message is" if found.pending == 1 else f"{found.pending} messages are"
    return f"{which} deferred, the oldest for {found.oldest_seconds / 60:.0f} min: freehold doctor says why"


async def _overdue(running: RunningService, timeout_seconds: float) -> str:
    """What should have been sent or tried long ago, by this process or another one; empty for nothing."""
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await overdue(running.context, running.patterns)
    except (FreeholdError, TimeoutError):
        return ""
    late = {what: seconds for what, seconds in found.items() if seconds > running.settings.overdue_alarm_seconds}
    return "; ".join(f"{what} are due for {seconds / 60:.0f} min and not taken" for what, seconds in late.items())


def _broker_notice(running: RunningService) -> str:
    """What the broker has lost lately, as this process has found out."""
    broker: object = running.broker if running.connects else None
    return broker.notice if isinstance(broker, Noticing) else ""


async def _kept(running: RunningService, timeout_seconds: float) -> str:
    """How much waits for the broker."""
    try:
        async with asyncio.timeout(timeout_seconds):
            pending = (await running.stores[OUTBOX].stats()).pending
    except (FreeholdError, TimeoutError):
        return ""
    return f"; the outbox keeps {pending} message{'s' if pending != 1 else ''}" if pending else ""


async def _answers(ping: Awaitable[None]) -> str:
    try:
        await ping
    except FreeholdError as error:
        return told(error)
    return ""
