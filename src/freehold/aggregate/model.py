"""The model of an aggregate: what a repository needs of it, in either style. Pattern: imports the foundation.

`Decider` is a `Model`, and a class of `Aggregate` has one. The checks here are those that both make at declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol, TypeVar

from freehold.errors import DeclarationError
from freehold.messages import MessageKind, message_type

__all__ = ["Model", "check_category", "check_event_types", "check_pure", "refuse_event"]

S = TypeVar("S")
_CATEGORY: Final = re.compile(r"[a-z][a-z0-9_.]*")


class Model(Protocol[S]):
    """A consistency unit: how its state follows from events, and how a command becomes events."""

    @property
    def category(self) -> str:
        """What the names of its streams begin with."""

    @property
    def kind(self) -> str:
        """The name under which its snapshots are stored."""

    @property
    def schema_version(self) -> int:
        """The version of the state; raised when the same events lead to another state."""

    @property
    def state_type(self) -> Any:
        """The type that a snapshot is decoded as."""

    @property
    def event_types(self) -> frozenset[type[Any]] | None:
        """The events that `evolve` takes; None if the declaration does not say."""

    @property
    def folding(self) -> Iterable[Callable[..., Any]]:
        """The functions that compute states, for the fingerprint of snapshots."""

    def begin(self, id: str) -> S:
        """The state before the first event."""

    def restore(self, id: str, state: S) -> S:
        """A state that was read from a snapshot, ready for use."""

    def evolve(self, state: S, event: Any, /) -> S:
        """The state after an event. Pure, or with no effect but on the given state."""

    def act(self, state: S, command: object) -> tuple[Sequence[object], S]:
        """The events that a command leads to, and the state after them."""


def check_category(category: str) -> None:
    """Raise `DeclarationError` for a category that cannot begin the name of a stream."""
    if "-" in category:
        raise DeclarationError(
            f"the category '{category}' contains a '-', which ends a category in a stream's name",
            hint=f"write '{category.replace('-', '_')}'",
        )
    if not _CATEGORY.fullmatch(category):
        raise DeclarationError(f"'{category}' is not a category", hint="lower case, digits, '_' and '.': 'order'")


def check_event_types(owner: str, declared: Iterable[Any]) -> frozenset[type[Any]]:
    """Return the types as a set. Raises `DeclarationError` for duplicates, non-events, events of several services."""
    seen: set[type[Any]] = set()
    services: set[str] = set()
    for cls in declared:
        found = message_type(cls)
        if found.kind is not MessageKind.EVENT:
            raise DeclarationError(f"{owner}: '{found.name}' is a {found.kind.value}", hint="name events only")
        if cls in seen:
            raise DeclarationError(f"{owner}: '{found.name}' version {found.version} is named twice")
        seen.add(cls)
        services.add(found.service)
    if len(services) > 1:
        raise DeclarationError(
            f"{owner}: events of several services: {', '.join(sorted(services))}",
            hint="an aggregate's events belong to its own service; turn others' into commands",
        )
    return frozenset(seen)


def check_pure(owner: str, name: str, function: object) -> None:
    """Raise `DeclarationError` for a coroutine function: it could depend on more than its arguments."""
    if iscoroutinefunction(function):
        raise DeclarationError(
            f"{owner}: {name} must not be async", hint="read before what it needs, and put it into the command"
        )


def refuse_event(model: Model[Any], cls: type[Any]) -> DeclarationError:
    """The error for an event that the model does not take."""
    found = message_type(cls)
    return DeclarationError(
        f"'{model.category}' does not say what '{found.name}' version {found.version} does to its state",
        hint="handle it in evolve, or upcast it to nothing",
    )
