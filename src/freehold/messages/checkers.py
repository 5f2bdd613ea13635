"""Checkers of values, compiled once for each declared class. Imports the standard library and msgspec only.

A dataclass does not check its fields. A checker compares a value with the annotations of its class, and raises `Misfit`
for the first field that the codec would refuse, change or lose: another type, a number that is not finite or does not
fit 64 bits, a time without a time zone. If there are rules that only the codec knows, `Checker.read_back` is set: then
the encoded value is decoded once.

Characters of texts are not checked here: `values` searches the encoded body for them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from freehold.messages import checks
from freehold.messages.checks import LEAVES, Check
from freehold.messages.fastcheck import fast_check

__all__ = ["Checker", "checker_of"]

_SIMPLE: Final[Mapping[Any, Check]] = {
    **LEAVES,
    **{each: checks.bare(each) for each in (list, tuple, set, frozenset, dict)},
    None: checks.nothing,
    Any: checks.anything,
    object: checks.anything,
}


@dataclass(frozen=True, slots=True)
class Checker:
    """The checker of one class. `fits` is a fast check: if it returns True, `check` need not be called. `read_back`:
    the encoded value must also be decoded, because there are rules that only the codec knows.
    """

    check: Check
    read_back: bool
    fits: Callable[[Any], bool]


def checker_of(cls: type[Any]) -> Checker:
    """Return the checker of a class; the same one each time."""
    found = _checkers.get(cls)
    if found is None:
        compiler = _Compiler()
        check = compiler.compile(cls)
        bounded = checks.no_deeper(check) if compiler.recursive else check
        fits = fast_check(cls, compiler.hints, compiler.compile) if compiler.plain(cls) else _unknown
        found = _checkers[cls] = Checker(bounded, compiler.read_back and not compiler.unresolved, fits)
    return found


_checkers: dict[type[Any], Checker] = {}


class _Compiler:
    """Makes the checks of one class and of the classes of its fields."""

    def __init__(self) -> None:
        self.read_back = False
        self.recursive = False
        self.unresolved = False
        self._open: dict[Any, list[Check]] = {}

    def compile(self, hint: Any) -> Check:
        """Return the check of an annotation."""
        if isinstance(hint, NewType):
            return self.compile(hint.__supertype__)
        if isinstance(hint, TypeVar):
            return checks.anything
        if hint in _SIMPLE:
            return _SIMPLE[hint]
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in _GENERIC:
            return _GENERIC[origin](self, arguments)
        if origin is None:
            return self._class(hint)
        self.read_back = True  # a generic class of the application: only the codec checks its parameters
        return self._class(origin)

    def _class(self, hint: Any) -> Check:
        if not isinstance(hint, type):
            check: Check = _let_pass
        elif issubclass(hint, Enum):
            return checks.enum(hint)
        elif typing.is_typeddict(hint):
            check = checks.typed_dict({name: self.compile(inner) for name, inner in self.hints(hint).items()})
        elif dataclasses.is_dataclass(hint):
            return self._record(hint, [each.name for each in dataclasses.fields(hint)])
        elif issubclass(hint, tuple) and hasattr(hint, "_fields"):
            return self._record(hint, list(hint._fields))
        elif issubclass(hint, msgspec.Struct):
            check = self._record(hint, list(hint.__struct_fields__))
        else:
            check = _let_pass
        self.read_back = True
        return check

    def several(self, classes: tuple[type[Any], ...], arguments: tuple[Any, ...]) -> Check:
        return checks.elements(classes, self.compile(arguments[0]))

    def mapping(self, arguments: tuple[Any, ...]) -> Check:
        return checks.mapping(self.compile(arguments[0]), self.compile(arguments[1]))

    def annotated(self, arguments: tuple[Any, ...]) -> Check:
        """Return the check of an `Annotated` type. The codec checks the bounds in it; `tz=False` is checked here."""
        metas = [each for each in arguments[1:] if isinstance(each, msgspec.Meta)]
        self.read_back = self.read_back or bool(metas)
        if arguments[0] is datetime and any(each.tz is False for each in metas):
            return checks.local_time
        return self.compile(arguments[0])

    def union(self, arguments: tuple[Any, ...]) -> Check:
        others = [self.compile(each) for each in arguments if each is not type(None)]
        optional = len(others) != len(arguments)
        return (
            checks.optional(others[0]) if optional and len(others) == 1 else checks.any_of(others, may_be_none=optional)
        )

    def tuple_of(self, arguments: tuple[Any, ...]) -> Check:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return checks.elements((tuple,), self.compile(arguments[0]))
        return checks.fixed([self.compile(each) for each in arguments if each != ()])

    def _record(self, cls: type[Any], names: list[str]) -> Check:
        if cls in self._open:
            self.recursive = True
            later = self._open[cls]
            return lambda value: later[0](value)  # noqa: PLW0108 - `later[0]` does not exist yet
        self._open[cls] = made = []
        hints = self.hints(cls)
        fields = [(name, self.compile(hints.get(name, Any))) for name in names]
        made.append(checks.record(cls, fields))
        del self._open[cls]
        return made[0]

    def plain(self, cls: type[Any]) -> bool:
        """Whether it is a dataclass that does not contain itself."""
        return dataclasses.is_dataclass(cls) and not self.recursive

    def hints(self, cls: type[Any]) -> dict[str, Any]:
        """Return the annotations; none for a class inside a function whose annotations cannot be resolved."""
        try:
            return get_type_hints(cls, include_extras=True)
        except NameError:
            self.unresolved = True
            return {}


def _unknown(_value: Any) -> bool:
    return False


def _let_pass(_value: Any) -> None:
    """Accept any value: the codec checks it, see `Checker.read_back`."""


_Generic = Callable[[_Compiler, tuple[Any, ...]], Check]
_GENERIC: Final[Mapping[Any, _Generic]] = {
    typing.Annotated: _Compiler.annotated,
    Union: _Compiler.union,
    types.UnionType: _Compiler.union,
    Literal: lambda _, arguments: checks.literal(arguments),
    typing.Final: lambda compiler, arguments: compiler.compile(arguments[0]),
    tuple: _Compiler.tuple_of,
    list: lambda compiler, arguments: compiler.several((list,), arguments),
    set: lambda compiler, arguments: compiler.several((set,), arguments),
    frozenset: lambda compiler, arguments: compiler.several((frozenset,), arguments),
    AbstractSet: lambda compiler, arguments: compiler.several((set, frozenset), arguments),
    **{
        each: lambda compiler, arguments: compiler.several((list, tuple), arguments)
        for each in (Sequence, Collection, Iterable)
    },
    **dict.fromkeys((dict, Mapping, MutableMapping), _Compiler.mapping),
}
