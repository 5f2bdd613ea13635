"""The class style of aggregates: an object that records events. Pattern: imports the foundation.

    class Order(Aggregate, category="order"):
        status: str = "new"

        @decides(ShipOrder)
        def ship(self, command: ShipOrder) -> None:
            if self.status != "paid":
                raise Rejected("not-paid")
            self.record(OrderShipped(...))

        @applies(OrderShipped)
        def shipped(self, event: OrderShipped) -> None:
            self.status = "shipped"

The class becomes a dataclass; its fields are the state, and a snapshot stores them. Only methods marked with `applies`
change them, so that folding the events gives the same object again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar, dataclass_transform

from freehold.aggregate.model import check_category, check_event_types, check_pure, refuse_event
from freehold.errors import DeclarationError

__all__ = ["Aggregate", "ClassModel", "applies", "decides"]

F = TypeVar("F", bound=Callable[..., Any])
A = TypeVar("A", bound="Aggregate")
_APPLIES: Final = "__freehold_applies__"
_DECIDES: Final = "__freehold_decides__"
_RESERVED: Final = frozenset({"id", "record", "recorded"})


def applies(*events: type[Any]) -> Callable[[F], F]:
    """Mark the method that changes the state for an event. Raises `DeclarationError` for a class that is no event."""
    check_event_types("applies", events)
    return _marked(_APPLIES, events)


def decides(*commands: type[Any]) -> Callable[[F], F]:
    """Mark the method that a command is given to: it records events, or raises an error that rejects the command.

    A command is an instance of any class; it need not be a declared message.
    """
    return _marked(_DECIDES, commands)


@dataclass_transform(kw_only_default=True)
class Aggregate:
    """Base class of aggregates in class style. A subclass with a `category` is checked when it is declared.

    The check raises `DeclarationError` for a category with '-', a field without a default, an event that two methods
    apply, and an async method. `schema_version` and `kind` are as for `Decider`.
    """

    __slots__ = ("__freehold_id__", "__freehold_recorded__")

    __freehold_id__: str
    __freehold_recorded__: tuple[object, ...]
    __freehold_model__: ClassVar[ClassModel[Any] | None] = None

    def __init_subclass__(cls, *, category: str = "", schema_version: int = 1, kind: str = "", **rest: Any) -> None:
        """Declare an aggregate; without a category, a base class of others."""
        super().__init_subclass__(**rest)
        taken = sorted(_RESERVED & (set(vars(cls)) | set(vars(cls).get("__annotations__", {}))))
        if taken:
            raise DeclarationError(
                f"{cls.__qualname__}: the name '{taken[0]}' is used by Aggregate",
                hint="give the field or method another name",
            )
        try:
            dataclasses.dataclass(kw_only=True)(cls)
        except (TypeError, ValueError) as error:
            raise DeclarationError(
                f"{cls.__qualname__}: {error}", hint="its fields are those of a dataclass"
            ) from error
        cls.__freehold_model__ = ClassModel(cls, category, schema_version, kind) if category else None

    @property
    def id(self) -> str:
        """The id; empty for an object that no repository has made."""
        return str(getattr(self, "__freehold_id__", ""))

    @property
    def recorded(self) -> tuple[object, ...]:
        """Events recorded and not appended yet, in order."""
        return tuple(getattr(self, "__freehold_recorded__", ()))

    def record(self, event: object) -> None:
        """Record an event: apply it to the state, and keep it to be appended.

        Raises `DeclarationError` for an event that no method applies.
        """
        model_of(type(self)).evolve(self, event)
        self.__freehold_recorded__ = (*self.recorded, event)


class ClassModel(Generic[A]):
    """The `Model` of a declared class."""

    def __init__(self, cls: type[A], category: str, schema_version: int, kind: str) -> None:
        check_category(category)
        if schema_version < 1:
            raise DeclarationError(f"{cls.__qualname__}: schema_version must be 1 or more, not {schema_version}")
        self.cls = cls
        self.category = category
        self.schema_version = schema_version
        self.kind = kind or category
        self._appliers = _methods(cls, _APPLIES)
        self._deciders = _methods(cls, _DECIDES)
        if not self._appliers:
            raise DeclarationError(f"{cls.__qualname__} applies no event", hint="mark methods with @applies(Event)")
        self.event_types: frozenset[type[Any]] | None = check_event_types(cls.__qualname__, self._appliers)
        _check_defaults(cls)

    @property
    def state_type(self) -> Any:
        """The class itself."""
        return self.cls

    @property
    def folding(self) -> tuple[Callable[..., Any], ...]:
        """The methods that apply events."""
        return tuple(self._appliers.values())

    def begin(self, id: str) -> A:
        """An object with the defaults of its fields."""
        return self.restore(id, self.cls())

    def restore(self, id: str, state: A) -> A:
        """Set the id of the object."""
        state.__freehold_id__, state.__freehold_recorded__ = id, ()
        return state

    def evolve(self, state: A, event: Any, /) -> A:
        """Call the method that applies the event."""
        try:
            apply = self._appliers[type(event)]
        except KeyError:
            raise refuse_event(self, type(event)) from None
        apply(state, event)
        return state

    def act(self, state: A, command: object) -> tuple[Sequence[object], A]:
        """Call the method that takes the command; a command that is a function is called with the object."""
        decide = self._deciders.get(type(command))
        if decide is not None:
            decide(state, command)
        elif callable(command):
            command(state)
        else:
            raise DeclarationError(
                f"{self.cls.__qualname__} takes no {type(command).__qualname__}",
                hint="mark a method with @decides(Command), or give a function that takes the aggregate",
            )
        recorded, state.__freehold_recorded__ = state.recorded, ()
        return recorded, state


def model_of(cls: type[A]) -> ClassModel[A]:
    """The model of a class. Raises `DeclarationError` for a class without a category."""
    model = cls.__freehold_model__
    if model is None:
        raise DeclarationError(
            f"{cls.__qualname__} has no category", hint='declare it with class Order(Aggregate, category="order")'
        )
    return model


def _marked(attribute: str, classes: Sequence[type[Any]]) -> Callable[[F], F]:
    if not classes:
        raise DeclarationError("name at least one class", hint="@applies(OrderPlaced)")

    def mark(function: F) -> F:
        setattr(function, attribute, (*getattr(function, attribute, ()), *classes))
        return function

    return mark


def _methods(cls: type[Any], attribute: str) -> dict[type[Any], Callable[..., Any]]:
    """Marked methods by what they take. A method of a subclass replaces the one that it overrides."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    found: dict[type[Any], Callable[..., Any]] = {}
    for name in names:
        method = getattr(cls, name, None)
        for taken in getattr(method, attribute, ()) if callable(method) else ():
            check_pure(cls.__qualname__, name, method)
            if taken in found:
                raise DeclarationError(
                    f"{cls.__qualname__}: '{found[taken].__name__}' and '{name}' both take {taken.__qualname__}",
                    hint="mark one method for each",
                )
            found[taken] = method  # type: ignore[assignment] # callable, as checked above
    return found


def _check_defaults(cls: type[Any]) -> None:
    missing = [
        each.name
        for each in dataclasses.fields(cls)
        if each.init and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise DeclarationError(
            f"{cls.__qualname__}: the field '{missing[0]}' has no default",
            hint="fields are the state before the first event: give each a default",
        )
