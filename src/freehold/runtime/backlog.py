"""The overdue work of a service, read from its tables, whichever process should do it. Runtime: iterates over the
declarations of patterns.

A runner that hangs in another process, or that no process runs, reports nothing, but its work stays in the tables. So
the age of the oldest due row is compared with `overdue_alarm_seconds`, by the database's time if it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.pattern import Due, Pattern, is_role_running
from freehold.runtime.prune_runner import PRUNE

__all__ = ["check_patterns", "overdue"]


async def overdue(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> Mapping[str, float]:
    """For how many seconds the oldest row of each kind of work has been due (`Pattern.due`); a kind of which nothing is
    due is left out. Raises `Unavailable`.
    """
    due = {each.what: await each.seconds(context) for each in _due(context, patterns)}
    return {what: -seconds for what, seconds in due.items() if seconds is not None and seconds < 0}


async def check_patterns(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[CheckResult]:
    """For `doctor`: the probes of the patterns, overdue work, and rows to prune. Raises `Unavailable`."""
    probes = [probe for pattern in patterns for probe in pattern.probes]
    found = [finding for probe in probes for finding in await probe(context)]
    return [*found, *await _check_due(context, patterns), await _check_pruning(context, patterns)]


def _due(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[Due]:
    declared = [each for pattern in patterns for each in pattern.due]
    return [each for each in declared if each.port in context.stores and each.needed(context)]


async def _check_due(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[CheckResult]:
    late = await overdue(context, patterns)
    found: list[CheckResult] = []
    for each in _due(context, patterns):
        seconds = late.get(each.what, 0.0)
        ok = seconds <= context.settings.overdue_alarm_seconds
        detail = "none is overdue" if ok else f"the oldest has been due for {duration(seconds)}, and was not done"
        fix = "" if ok else is_role_running(each.role)
        found.append(CheckResult(f"due {each.what}", ok=ok, detail=detail, fix=fix))
    return found


async def _check_pruning(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> CheckResult:
    """One result for the prune runner, from the tables that grow with each message."""
    settings = context.settings
    behind = {
        each.title: await each.oldest_seconds(context) - each.keep_seconds(settings)
        for pattern in patterns
        for each in pattern.pruning
        if each.oldest_seconds is not None and each.port in context.stores
    }
    allowed_seconds = settings.prune_interval_seconds + settings.overdue_alarm_seconds
    late = {what: seconds for what, seconds in behind.items() if seconds > allowed_seconds}
    if not late:
        return CheckResult("pruning", ok=True, detail="nothing is kept much longer than its retention")
    detail = ", ".join(f"{what} are {duration(seconds)} past their retention" for what, seconds in late.items())
    return CheckResult("pruning", ok=False, detail=detail, fix=is_role_running(PRUNE))
