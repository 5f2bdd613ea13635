"""A saga's definition as a Mermaid state diagram: actions, the pivot, and compensations. Pattern: plain data."""

from __future__ import annotations

from freehold.saga.definition import SagaDefinition
from freehold.saga.steps import StepDefinition, StepKind

__all__ = ["mermaid"]


def mermaid(definition: SagaDefinition) -> str:
    """Return the state diagram. A compensation is the state `compensate_<step>`. The failure of an optional step leads
    nowhere.
    """
    lines = ["stateDiagram-v2", "    direction TB"]
    lines += [f'    state "{_label(step)}" as {step.name}' for step in definition.steps]
    lines += [
        f'    state "compensate {step.name}: {_name(step.compensation)}" as compensate_{step.name}'
        for step in _compensable(definition)
    ]
    lines += [f"    {edge}" for edge in [*_forward(definition), *_failures(definition), *_back(definition)]]
    return "\n".join(lines) + "\n"


def _compensable(definition: SagaDefinition) -> list[StepDefinition]:
    return [step for step in definition.steps if step.compensation is not None]


def _label(step: StepDefinition) -> str:
    marks = [mark for mark, holds in (("pivot", step.pivot), ("optional", step.optional)) if holds]
    return f"{step.name}: {_name(step.action)}" + (f" ({', '.join(marks)})" if marks else "")


def _name(action: object) -> str:
    return str(getattr(action, "__name__", type(action).__name__))


def _forward(definition: SagaDefinition) -> list[str]:
    edges = []
    for step in definition.steps:
        edges += [f"{before} --> {step.name}" for before in step.predecessors] or [f"[*] --> {step.name}"]
    edges += [f"{step.name} --> completed" for step in definition.steps if not step.descendants]
    return [*edges, "completed --> [*]"]


def _failures(definition: SagaDefinition) -> list[str]:
    """Edges from each step whose failure starts compensation to what is compensated first."""
    edges = []
    for step in definition.steps:
        if step.optional or not step.before_pivot:
            continue
        edges += [f"{step.name} --> {target}: rejected" for target in _next_back(definition, step)]
        if step.compensation is not None and step.kind is not StepKind.LOCAL:
            edges.append(f"{step.name} --> compensate_{step.name}: attempts exhausted")
    return edges


def _back(definition: SagaDefinition) -> list[str]:
    edges = [
        f"compensate_{step.name} --> {target}"
        for step in _compensable(definition)
        for target in _next_back(definition, step)
    ]
    turns = any(step.before_pivot and not step.optional for step in definition.steps)
    return [*edges, "compensated --> [*]"] if turns else edges


def _next_back(definition: SagaDefinition, step: StepDefinition) -> list[str]:
    """The next compensations: those of the nearest predecessors that have one."""
    found: list[str] = []
    waiting = list(step.predecessors)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        before = definition.by_name[name]
        if before.compensation is not None:
            found.append(f"compensate_{name}")
        else:
            waiting += before.predecessors
    return found or ["compensated"]
