"""The schedule pattern: the runner that sends due messages. Pattern: a declaration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.context import ServiceContext
from freehold.lifecycle import Runner
from freehold.outbox.store import STAGED
from freehold.pattern import Due, Need, Pattern, Role
from freehold.schedule.schedule_runner import ScheduleRunner
from freehold.schedule.store import SCHEDULE, SCHEDULED
from freehold.schedule.trace import TRACES

__all__ = ["PATTERN"]

_POLLS: Final = 5
"""How many times longer than other loops this one waits: what it finds is due later, most often."""


def _runners(context: ServiceContext) -> Sequence[Runner]:
    return [
        ScheduleRunner(
            context.service,
            context.stores,
            on_moved=lambda: context.emit(STAGED),
            clock=context.clock,
            poll_seconds=_POLLS * context.settings.poll_seconds,
        )
    ]


async def _due_seconds(context: ServiceContext) -> float | None:
    return await context.stores[SCHEDULE].next_due_seconds()


PATTERN: Final = Pattern[None](
    "schedule",
    "sends messages at their due time",
    declares=lambda _: None,
    traces=TRACES,
    needs=lambda _: (Need("schedule", (SCHEDULE,)),),
    due=(Due("scheduled messages", "schedule", SCHEDULE, _due_seconds),),
    roles=(Role("schedule", _runners, wakes_on={SCHEDULED: ScheduleRunner}),),
    commands={"schedule": "freehold.schedule.commands:command"},
)
