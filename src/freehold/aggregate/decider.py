"""The decider style of aggregates: two pure functions and a first state. Pattern: imports the foundation.

`decide(state, command)` returns the events that follow, or raises an error that rejects the command; `evolve(state,
event)` returns the next state. Neither reads a clock, a database or a random number: the command brings what they need.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from freehold.aggregate.model import check_category, check_event_types, check_pure, refuse_event
from freehold.errors import DeclarationError

__all__ = ["Decider"]

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")
_UNSAID: Final = object()


@dataclass(frozen=True, slots=True)
class Decider(Generic[S, C, E]):
    """An aggregate as functions. It is checked here: `DeclarationError` says what to write instead.

    category        what the names of its streams begin with: `order` makes `order-1042`.
    initial         the state before the first event.
    events          the events that `evolve` takes; by default read from the annotation of its second parameter. If that
                    names no events (`object`), `evolve` gets every event.
    state           the type of the state, for snapshots; by default read from the annotation of what `evolve` returns.
    schema_version  of the state: raise it when `evolve` makes another state of the same events.
    kind            the name under which snapshots are stored; by default the category. Two deciders that read the same
                    streams into states of their own need one each.
    """

    category: str
    initial: S
    decide: Callable[[S, C], Sequence[E]]
    evolve: Callable[[S, E], S]
    events: Sequence[type[Any]] | None = None
    state: Any = None
    schema_version: int = 1
    kind: str = ""

    def __post_init__(self) -> None:
        """Check the declaration."""
        check_category(self.category)
        check_pure(self.category, "decide", self.decide)
        check_pure(self.category, "evolve", self.evolve)
        if self.schema_version < 1:
            raise DeclarationError(f"'{self.category}': schema_version must be 1 or more, not {self.schema_version}")
        object.__setattr__(self, "kind", self.kind or self.category)
        hints = _hints(self.evolve)
        events = self.events if self.events is not None else _members(_second(self.evolve, hints))
        if events is not None:
            events = tuple(events)
            if not events:
                raise DeclarationError(f"'{self.category}': no events", hint="name what evolve takes in `events`")
            check_event_types(self.category, events)
        object.__setattr__(self, "events", events)
        if self.state is None:
            object.__setattr__(self, "state", _state_type(hints.get("return", _UNSAID), self.initial))

    @property
    def state_type(self) -> Any:
        """The type of the state."""
        return self.state

    @property
    def event_types(self) -> frozenset[type[Any]] | None:
        """The events that `evolve` takes; None if they are not declared."""
        return None if self.events is None else frozenset(self.events)

    @property
    def folding(self) -> tuple[Callable[..., Any], ...]:
        """`evolve`."""
        return (self.evolve,)

    def begin(self, id: str) -> S:
        """The first state; a copy of it if it is mutable."""
        mutable = getattr(type(self.initial), "__hash__", None) is None
        return copy.deepcopy(self.initial) if mutable else self.initial

    def restore(self, id: str, state: S) -> S:
        """The state itself."""
        return state

    def act(self, state: S, command: Any) -> tuple[Sequence[object], S]:
        """Decide, and fold the events. Raises `DeclarationError` for events that are not of this aggregate."""
        decided = self.decide(state, command)
        if not isinstance(decided, (list, tuple)):
            raise DeclarationError(
                f"'{self.category}': decide returned a {type(decided).__name__}",
                hint="return a list of events, an empty one for nothing",
            )
        taken = self.event_types
        for event in decided:
            if taken is not None and type(event) not in taken:
                raise refuse_event(self, type(event))
            state = self.evolve(state, event)
        return decided, state


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations; none if they cannot be read, for example of a class that was declared inside a function."""
    try:
        return get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def _second(function: Callable[..., Any], hints: dict[str, Any]) -> Any:
    try:
        parameters = list(signature(function).parameters.values())
    except (TypeError, ValueError):
        return _UNSAID
    positional = [
        each for each in parameters if each.kind in {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
    ]
    return hints.get(positional[1].name, _UNSAID) if len(positional) > 1 else _UNSAID


def _members(annotation: Any) -> Sequence[type[Any]] | None:
    """The classes of a union, or one declared event class; None for an annotation that names no events."""
    if get_origin(annotation) in {Union, UnionType}:
        return [each for each in get_args(annotation) if each is not NoneType]
    is_message = isinstance(annotation, type) and "__freehold_message__" in vars(annotation)
    return [annotation] if is_message else None


def _state_type(annotation: Any, initial: object) -> Any:
    says_nothing = annotation is _UNSAID or annotation is Any or annotation is object or isinstance(annotation, TypeVar)
    return type(initial) if says_nothing else annotation
