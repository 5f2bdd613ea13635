"""Instances of sagas, for `freehold trace`. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.messages import message_type
from freehold.saga.definition import Saga
from freehold.saga.document import read_progress
from freehold.saga.instance import WaitReason
from freehold.saga.store import SAGAS, TERMINAL_STATUSES, SagaFilter, SagaRecord
from freehold.saga.timeline import problem
from freehold.trace import Traced, TraceQuery, until

__all__ = ["find_instances"]


async def find_instances(
    context: ServiceContext, query: TraceQuery, declared: Mapping[tuple[str, int], type[Saga[Any]]]
) -> Sequence[Traced]:
    """Return the instances with the query's id, correlation id or key. `declared` has their definitions."""
    find = context.stores[SAGAS].find
    found = list(await find(SagaFilter(key=query.text)))
    if query.id is not None:
        found += await find(SagaFilter(id=query.id))
        found += await find(SagaFilter(correlation_id=query.id))
    return [_saga_one(context, record, declared) for record in {record.id: record for record in found}.values()]


def _saga_one(
    context: ServiceContext, record: SagaRecord, declared: Mapping[tuple[str, int], type[Saga[Any]]]
) -> Traced:
    ended = record.status in TERMINAL_STATUSES
    return Traced(
        service=context.service,
        where="saga",
        id=record.id,
        type=f"{record.definition} ({record.status.value})",
        topic="",
        key=record.key,
        correlation_id=record.correlation_id,
        since=record.updated_at,
        due=None,
        attempts=0,
        reason=record.failure or "",
        waits_for="nothing: it has ended" if ended else _of_saga(record, declared),
    )


def _of_saga(record: SagaRecord, declared: Mapping[tuple[str, int], type[Saga[Any]]]) -> str:
    """What an instance waits for: its problem, or the steps that are in progress."""
    found = problem(record)
    if found:
        return found
    saga = declared.get((record.definition, record.definition_version))
    steps = saga.definition().by_name if saga is not None else {}
    waits: list[str] = []
    for name, progress in read_progress(record).items():
        overdue = f", overdue {until(progress.wait_until)}" if progress.wait_until is not None else ""
        match progress.wait_reason:
            case WaitReason.REPLY:
                action = steps[name].action if name in steps else None
                whom = f"the reply of {_owner(action)}" if action is not None else "a reply"
                waits.append(f"{whom} to step {name}, attempt {progress.attempt}{overdue}")
            case WaitReason.BACKOFF:
                at = f" {until(progress.wait_until)}" if progress.wait_until is not None else ""
                waits.append(f"the next attempt of step {name}{at}")
            case WaitReason.RUNNER:
                waits.append(f"the call of step {name}, attempt {progress.attempt}{overdue}")
            case _:
                continue
    if waits:
        return "; ".join(waits)
    return f"its timer, in {duration(record.due_seconds)}" if record.due_seconds is not None else "its runner"


def _owner(command: object) -> str:
    """The service that receives a command: its name is the first part of the command's type."""
    return message_type(command).name.partition(".")[0]
