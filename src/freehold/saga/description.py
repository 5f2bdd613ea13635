"""The sagas of a service as `freehold describe` shows them. Pattern: imports its package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.description import Flow
from freehold.messages import message_type
from freehold.saga.definition import Saga
from freehold.saga.steps import StepDirection, StepKind

__all__ = ["describe", "flows", "lines"]

Sagas = Mapping[tuple[str, int], type[Saga[Any]]]


def describe(declared: Sagas) -> Mapping[str, Any]:
    """Return each saga with its steps."""
    return {"sagas": [_saga(saga) for _, saga in sorted(declared.items())]}


def lines(described: Mapping[str, Any]) -> Sequence[str]:
    """Return the description as lines of text."""
    found: list[str] = []
    for saga in described["sagas"]:
        found.append(f"orchestrates {saga['name']} version {saga['version']}")
        found += [f"  {_step(step)}" for step in saga["steps"]]
    return found


def flows(service: str, declared: Sagas) -> Sequence[Flow]:
    """Return one flow for each command of a step, compensations included: to the service that owns the command."""
    commands = [
        message_type(each)
        for saga in declared.values()
        for step in saga.definition().steps
        if step.kind is StepKind.COMMAND
        for each in (step.action, step.compensation)
        if each is not None
    ]
    return [Flow(each, service, each.service) for each in commands]


def _saga(saga: Any) -> dict[str, Any]:
    definition = saga.definition()
    steps = [
        {
            "name": step.name,
            "kind": step.kind,
            "action": getattr(step.action, "__name__", ""),
            "compensation": getattr(step.compensation, "__name__", None),
            "after": list(step.predecessors),
            "pivot": step.pivot,
            "optional": step.optional,
            "timeout_seconds": step.timeout_seconds,
            "attempts": step.policy(StepDirection.ACTION).attempts,
        }
        for step in definition.steps
    ]
    return {"name": definition.name, "version": definition.version, "key": definition.key, "steps": steps}


def _step(step: Mapping[str, Any]) -> str:
    after = f" after {', '.join(step['after'])}" if step["after"] else ""
    compensation = f", compensated by {step['compensation']}" if step["compensation"] else ""
    marks = [mark for mark in ("pivot", "optional") if step[mark]]
    return f"{step['name']}: {step['action']}{after}{compensation}" + (f" ({', '.join(marks)})" if marks else "")
