"""How a running service is, as it is asked for by load balancers and people. Runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING

from freehold.broker import TopicLag
from freehold.errors import FreeholdError, Unavailable
from freehold.lifecycle import root_cause
from freehold.runtime.health import Health, Readiness, RunnerHealth

if TYPE_CHECKING:
    from freehold.runtime.running import RunningService

__all__ = ["look_at_health", "look_at_readiness"]


async def look_at_readiness(running: RunningService, timeout_seconds: float) -> Readiness:
    """See `RunningService.readiness`."""
    problems: dict[str, str] = {}
    if running.draining or not running.started:
        problems["draining" if running.draining else "starting"] = "no new work is taken"
    database, broker = await asyncio.gather(
        _answers(running.stores.database.ping(timeout_seconds)), _broker_problem(running, timeout_seconds)
    )
    if database:
        problems["database"] = database
    notices: dict[str, str] = {}
    if broker:
        may_wait = running.settings.ready_without_broker and not _refused(running)
        said = broker if database else broker + await _kept(running, timeout_seconds)
        (notices if may_wait else problems)["broker"] = said
    problems |= {runner.name: trouble for runner in running.watched if (trouble := runner.trouble)}
    notices |= {runner.name: notice for runner in running.watched if (notice := runner.notice)}
    return Readiness(ready=not problems, problems=problems, notices=notices)


async def look_at_health(running: RunningService) -> Health:
    """See `RunningService.health`."""
    stores = running.stores
    outbox, deferred, dead, (broker, lag) = await asyncio.gather(
        stores.outbox.stats(), stores.inbox.stats(), stores.dead_letters.count(), _lag(running)
    )
    return Health(running.service.name, _runners(running), outbox, deferred, dead, lag, broker)


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


async def _broker_problem(running: RunningService, timeout_seconds: float) -> str:
    """What keeps this process from the broker; of one that refuses, in whole: it will not mend by itself."""
    problem = running.link.problem
    if not running.connects:
        return ""
    if problem is not None:
        return f"{type(problem).__name__}: {problem}" if _refused(running) else type(problem).__name__
    return await _answers(running.broker.ping(timeout_seconds))


def _refused(running: RunningService) -> bool:
    return running.link.problem is not None and not isinstance(running.link.problem, Unavailable)


async def _kept(running: RunningService, timeout_seconds: float) -> str:
    """How much waits for the broker."""
    try:
        async with asyncio.timeout(timeout_seconds):
            pending = (await running.stores.outbox.stats()).pending
    except (FreeholdError, TimeoutError):
        return ""
    return f"; the outbox keeps {pending} message{'s' if pending != 1 else ''}" if pending else ""


async def _answers(ping: Awaitable[None]) -> str:
    try:
        await ping
    except FreeholdError as error:
        return type(error).__name__
    return ""
