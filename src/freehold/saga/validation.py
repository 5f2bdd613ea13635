"""The checks of a saga's declaration: the graph of steps, compensations, the state, and the fields of commands.

Pattern: imports the foundation. Every error says what to write instead.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from freehold.errors import DeclarationError
from freehold.messages import MessageKind, message_type
from freehold.saga.steps import StepDefinition, StepDirection, StepKind

__all__ = ["check_graph", "check_state", "check_steps"]


def check_state(saga: str, state_type: type[Any], key: str) -> None:
    """Check that the state is a frozen dataclass that can be encoded, and that the key is one of its fields."""
    if not dataclasses.is_dataclass(state_type) or not state_type.__dataclass_params__.frozen:  # type: ignore[attr-defined] # every dataclass has it
        raise DeclarationError(
            f"saga '{saga}': the state {state_type.__qualname__} is not a frozen dataclass",
            hint="@dataclass(frozen=True, slots=True)",
        )
    if key not in {field.name for field in dataclasses.fields(state_type)}:
        raise DeclarationError(f"saga '{saga}': key '{key}' is not a field of {state_type.__qualname__}")
    try:
        msgspec.json.schema(state_type)  # stricter than the decoder, which accepts unknown types
    except NameError:
        return  # a class inside a function; the codec resolves its annotations when it is used
    except TypeError as error:
        raise DeclarationError(f"saga '{saga}': the state has a field that cannot be stored: {error}") from error


def check_graph(saga: str, steps: Sequence[StepDefinition]) -> tuple[StepDefinition, ...]:
    """Return the steps in order, each with its descendants. Raises `DeclarationError` for unknown predecessors, cycles,
    more than one pivot, and steps that are neither before nor after the pivot.
    """
    if not steps:
        raise DeclarationError(
            f"saga '{saga}' has no steps", hint="reserve = step(ReserveStock, compensation=ReleaseStock)"
        )
    by_name = {step.name: step for step in steps}
    for step in steps:
        for predecessor in step.predecessors:
            if predecessor not in by_name:
                raise DeclarationError(
                    f"saga '{saga}': step '{step.name}' comes after '{predecessor}', which is not one of its steps",
                    hint=f"steps: {', '.join(by_name)}",
                )
    try:
        ordered = [by_name[name] for name in TopologicalSorter({s.name: s.predecessors for s in steps}).static_order()]
    except CycleError as error:
        raise DeclarationError(f"saga '{saga}': its steps wait for each other: {' → '.join(error.args[1])}") from error
    descendants = _descendants(ordered)
    pivots = [step for step in ordered if step.pivot]
    if len(pivots) > 1:
        raise DeclarationError(
            f"saga '{saga}' has more than one pivot: {', '.join(step.name for step in pivots)}",
            hint="the pivot is the first step that is not compensated; what follows it is repeated until it succeeds",
        )
    after_pivot = descendants[pivots[0].name] if pivots else frozenset[str]()
    if pivots:
        _check_beside_pivot(saga, pivots[0], ordered, descendants)
    return tuple(
        dataclasses.replace(step, descendants=descendants[step.name], before_pivot=step.name not in after_pivot)
        for step in ordered
    )


def check_steps(saga: str, state_type: type[Any], steps: Sequence[StepDefinition]) -> None:
    """Check that each step has a compensation where it needs one, and that its commands can be made from the state."""
    hints = _hints(state_type)
    for step in steps:
        where = f"saga '{saga}', step '{step.name}'"
        _check_compensation(where, step, steps)
        if step.kind is StepKind.COMMAND:
            _check_command(where, step, StepDirection.ACTION, hints, state_type)
            if step.compensation is not None:
                _check_command(where, step, StepDirection.COMPENSATION, hints, state_type)
        else:
            _check_function(where, step.action)
            if step.compensation is not None:
                _check_function(where, step.compensation)


def _descendants(ordered: Sequence[StepDefinition]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {step.name: set() for step in ordered}
    for step in reversed(ordered):
        for predecessor in step.predecessors:
            found[predecessor] |= {step.name, *found[step.name]}
    return {name: frozenset(names) for name, names in found.items()}


def _check_beside_pivot(
    saga: str, pivot: StepDefinition, steps: Sequence[StepDefinition], descendants: Mapping[str, frozenset[str]]
) -> None:
    if pivot.optional:
        raise DeclarationError(f"saga '{saga}': the pivot '{pivot.name}' cannot be optional")
    for step in steps:
        beside = step.name not in descendants[pivot.name] and pivot.name not in descendants[step.name]
        if beside and step is not pivot and not step.optional:
            raise DeclarationError(
                f"saga '{saga}': step '{step.name}' may run in parallel with the pivot '{pivot.name}', so its failure"
                " may come when the saga can no longer be compensated",
                hint=f"put it before the pivot (after= of '{pivot.name}') or after it (after={pivot.name}),"
                " or make it optional",
            )


def _check_compensation(where: str, step: StepDefinition, steps: Sequence[StepDefinition]) -> None:
    if step.compensation is not None and step.no_compensation:
        raise DeclarationError(f"{where}: has both a compensation and no_compensation=True")
    if step.compensation is not None and (step.pivot or not step.before_pivot):
        raise DeclarationError(
            f"{where}: its compensation would never run, since nothing is compensated from the pivot on",
            hint="remove compensation=",
        )
    if step.compensation is not None or step.no_compensation or step.pivot or not step.before_pivot:
        return
    may_fail_later = any(
        other is not step and not other.optional and step.name not in other.descendants for other in steps
    )
    if step.kind is not StepKind.LOCAL or may_fail_later:
        raise DeclarationError(
            f"{where}: has no compensation, and the saga may have to compensate it",
            hint="compensation=..., or pivot=True if the saga cannot be compensated after it, or no_compensation=True",
        )


def _check_function(where: str, function: object) -> None:
    if not inspect.iscoroutinefunction(function):
        shadowed = isinstance(function, StepDefinition)
        raise DeclarationError(
            f"{where}: needs an async function, and has a {type(function).__name__}",
            hint="a step above has the function's name; rename one of them" if shadowed else "async def",
        )
    if len(inspect.signature(function).parameters) != 2:
        raise DeclarationError(
            f"{where}: {function.__qualname__} must take two arguments",
            hint="call: (state, context), local: (state, tx)",
        )


def _check_command(
    where: str, step: StepDefinition, direction: StepDirection, state: Mapping[str, Any], state_type: type[Any]
) -> None:
    cls = step.action if direction is StepDirection.ACTION else step.compensation
    declared = message_type(cls)
    if declared.kind is not MessageKind.COMMAND:
        raise DeclarationError(f"{where}: '{declared.name}' is an event; a step sends a command")
    make, option = (
        (step.make, "make") if direction is StepDirection.ACTION else (step.make_compensation, "make_compensation")
    )
    if make is not None:
        return
    in_state = {field.name for field in dataclasses.fields(state_type)}
    wanted = _hints(cls)
    for field in dataclasses.fields(cls):
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if field.name not in in_state:
            if optional:
                continue
            raise DeclarationError(
                f"{where}: {cls.__name__}.{field.name} cannot be filled: {state_type.__name__} has no such field",
                hint=f"add it to the state, or {option}=lambda state: {cls.__name__}(...)",
            )
        if (
            direction is StepDirection.COMPENSATION
            and _takes_none(state.get(field.name))
            and not _takes_none(wanted.get(field.name, Any))
        ):
            raise DeclarationError(
                f"{where}: {cls.__name__}.{field.name} may still be None when the compensation is sent, since an action"
                " whose reply never came is compensated as well",
                hint=f"let {cls.__name__} find its target by fields that are known before, or {option}=...",
            )


def _hints(cls: type[Any]) -> Mapping[str, Any]:
    try:
        return get_type_hints(cls)
    except NameError:
        return {}  # a class declared inside a function


def _takes_none(hint: Any) -> bool:
    return hint is Any or hint is NoneType or NoneType in get_args(hint)
