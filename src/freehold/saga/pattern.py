"""The saga pattern: its engine, the runner of timers and calls, and pruning. Pattern: a declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.inbox.handler import ReplyRouter
from freehold.lifecycle import Runner
from freehold.pattern import Column, Due, Metric, Need, Pattern, Pruning, Role
from freehold.saga.definition import Saga
from freehold.saga.description import describe, flows, lines
from freehold.saga.engine import SagaEngine
from freehold.saga.metrics import readings
from freehold.saga.probes import probe
from freehold.saga.saga_runner import SagaRunner
from freehold.saga.store import DUE, SAGAS, SagaStatus
from freehold.saga.trace import find_instances
from freehold.trace import Trace, Traced, TraceQuery
from freehold.transaction import Transactions

__all__ = ["PATTERN"]

Sagas = dict[tuple[str, int], type[Saga[Any]]]


def _wire(context: ServiceContext) -> None:
    declared = context.of(PATTERN)
    if not declared:
        return
    engine = SagaEngine(declared, context.stores[SAGAS], context)
    engine.on_due, engine.poll_seconds = lambda: context.emit(DUE), context.settings.poll_seconds
    context.offer(SagaEngine, engine)
    context.resource(ReplyRouter).handler = engine


def _runners(context: ServiceContext) -> Sequence[Runner]:
    engine = context.find(SagaEngine)
    if engine is None:
        return []
    settings = context.settings
    runner = SagaRunner(
        engine,
        context.resource(Transactions),
        poll_seconds=settings.poll_seconds,
        hook_timeout_seconds=settings.handler_timeout_seconds,
    )
    # The signal wakes this runner, and where the role does not run here, those of other processes.
    engine.on_due = lambda: context.emit(DUE)
    return [runner]


async def _prune(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    return await context.stores[SAGAS].prune(older_than_seconds, limit)


async def _probe(context: ServiceContext) -> Sequence[CheckResult]:
    declared = context.of(PATTERN)
    return await probe(context, declared) if declared else []


def _is_used(context: ServiceContext) -> bool:
    return bool(context.of(PATTERN))


def _names(context: ServiceContext) -> frozenset[str]:
    return frozenset(name for name, _ in context.of(PATTERN))


async def _due_seconds(context: ServiceContext) -> float | None:
    return await context.stores[SAGAS].next_due_seconds()


async def _trace(context: ServiceContext, query: TraceQuery) -> Sequence[Traced]:
    return await find_instances(context, query, context.of(PATTERN))


async def _count(context: ServiceContext) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for (_, status), number in (await context.stores[SAGAS].count()).items():
        found[status.value] = found.get(status.value, 0) + number
    return found


def _show_in_flight(metrics: Mapping[str, Any]) -> int:
    found = metrics["sagas"]
    return int(found.get(SagaStatus.RUNNING, 0) + found.get(SagaStatus.COMPENSATING, 0))


def _needs(declared: Mapping[tuple[str, int], object]) -> Sequence[Need]:
    return (Need("saga", (SAGAS,), sorted({name for name, _ in declared})),) if declared else ()


PATTERN: Final = Pattern[Sagas](
    "saga",
    "runs a business transaction over several services, and compensates it if it fails",
    declares=lambda _: {},
    needs=_needs,
    traces=(Trace(SAGAS, _trace),),
    describe=describe,
    lines=lines,
    flows=flows,
    wire=_wire,
    roles=(Role("sagas", _runners, wakes_on={DUE: SagaRunner}),),
    probes=(_probe,),
    metrics=(Metric("sagas", "instances by status", SAGAS, _count),),
    readings=readings(_names),
    columns=(
        Column("sagas", "sagas", _show_in_flight),
        Column("needs attention", "sagas", lambda metrics: metrics["sagas"].get(SagaStatus.NEEDS_ATTENTION, 0)),
    ),
    due=(Due("timers of sagas", "sagas", SAGAS, _due_seconds, _is_used),),
    pruning=(Pruning("sagas", SAGAS, _prune, lambda settings: settings.saga_retention_seconds),),
    commands={"saga": "freehold.saga.commands:command"},
)
