"""A wait until running services have no work left. Testing: imports the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from freehold.errors import FreeholdError, OperationTimeout
from freehold.eventstore.store import EVENTS
from freehold.inbox.store import INBOX
from freehold.outbox.store import OUTBOX
from freehold.projection.operations import ProjectionOperations
from freehold.projection.store import GenerationState
from freehold.runtime import RunningService
from freehold.saga.store import SAGAS, SagaStatus
from freehold.schedule.store import SCHEDULE
from freehold.testing.clock import ManualClock
from freehold.testing.recorder import all_of

__all__ = ["NotSettled", "settled", "unsettled"]

_LOOKS: Final = 3
"""How often in a row no work must be found: a message may move during a check, and be missed."""
_BETWEEN_SECONDS: Final = 0.01
_STEP_SECONDS: Final = 1.0
_DEFERRED_SHOWN: Final = 3


class NotSettled(OperationTimeout):
    """Work was still in progress at the time limit; the text lists it by service."""


async def settled(
    *services: RunningService | Iterable[RunningService],
    timeout_seconds: float = 10.0,
    clock: ManualClock | None = None,
) -> None:
    """Wait until running services, or those of a `Runtime`, have no work left.

    That is: nothing in an outbox, nothing unread or deferred, no scheduled message due, no saga running, no projection
    behind. Messages that are scheduled for later, dead letters and sagas that wait for an operator do not count. With
    `clock`, the one that the services use, time is advanced as long as there is work. Raises `NotSettled` after
    `timeout_seconds` of real time.
    """
    running = all_of(services)
    found: Sequence[str] = ["nothing was checked"]
    empty = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            while empty < _LOOKS:
                found = await unsettled(*running)
                empty = 0 if found else empty + 1
                if found and clock is not None:
                    clock.advance(_STEP_SECONDS)
                # A poll in real time: work of the broker and of other processes wakes nobody here.
                await asyncio.sleep(_BETWEEN_SECONDS)
    except TimeoutError as error:
        raise NotSettled(
            f"not settled after {timeout_seconds:g} s: {'; '.join(found) or 'new work appears again and again'}",
            hint="raise timeout_seconds, pass the clock of the services, or find out why this work is not done",
        ) from error


async def unsettled(*services: RunningService | Iterable[RunningService]) -> list[str]:
    """The work in progress, a line for each kind of work, after the name of its service; empty for none.

    A message that moves during the check may be missed: `settled` checks several times.
    """
    found: list[str] = []
    for running in all_of(services):
        name = running.service.name
        try:
            lines = [
                *await _outbox(running),
                *await _unread(running),
                *await _deferred(running),
                *await _scheduled(running),
                *await _sagas(running),
                *await _projections(running),
                *await _outbox(running),
            ]
        except FreeholdError as error:
            lines = [f"cannot be read ({type(error).__name__}: {error.message})"]
        found += [f"{name}: {line}" for line in dict.fromkeys(lines)]
    return found


async def _outbox(running: RunningService) -> list[str]:
    stats = await running.stores[OUTBOX].stats()
    return [f"{stats.pending} messages in the outbox"] if stats.pending else []


async def _unread(running: RunningService) -> list[str]:
    if not running.service.topics:
        return []
    lags = await running.broker.lag(running.service.name)
    lines = [f"{each.pending} messages of {each.topic} unread" for each in lags if each.pending]
    # Until a consumer has joined, its group has no partitions, and the broker counts no message as unread.
    unjoined = running.service.topics - {each.topic for each in lags} if running.loops.running.get("consumer") else ()
    return lines + [f"the consumer has not joined {topic}" for topic in sorted(unjoined)]


async def _deferred(running: RunningService) -> list[str]:
    stats = await running.stores[INBOX].stats()
    if not stats.pending:
        return []
    next_seconds = await running.stores[INBOX].next_due_seconds(running.service.name)
    kept = await running.stores[INBOX].deferred(running.service.name, _DEFERRED_SHOWN)
    why = ", ".join(dict.fromkeys(each.reason for each in kept))
    when = "" if next_seconds is None else f", next attempt in {max(0.0, next_seconds):.1f} s"
    return [f"{stats.pending} deferred messages ({why}{when})"]


async def _scheduled(running: RunningService) -> list[str]:
    seconds = await running.stores[SCHEDULE].next_due_seconds()
    return ["scheduled messages are due"] if seconds is not None and seconds <= 0 else []


async def _sagas(running: RunningService) -> list[str]:
    active = (SagaStatus.RUNNING, SagaStatus.COMPENSATING)
    counts = await running.stores[SAGAS].count()
    return [
        f"{number} sagas {definition} {status.value}"
        for (definition, status), number in sorted(counts.items())
        if status in active and number
    ]


async def _projections(running: RunningService) -> list[str]:
    declared = {name for name, each in running.service.projections.items() if not each.inline}
    if not declared:
        return []
    status = await ProjectionOperations(running.context).read_status()
    lines = [
        f"projection {each.projection} is {each.lag_events} events behind"
        for each in status.generations
        if each.lag_events and each.paused is None
    ]
    live = {each.projection for each in status.generations if each.state is GenerationState.LIVE}
    if declared - live and await running.stores[EVENTS].high_water_mark():
        lines += [f"projection {name} has not started" for name in sorted(declared - live)]
    return lines
