"""A fast check of a value, in Python code that is generated for its class. Imports the checks only.

Nearly every value fits. The generated function only says whether it does, without a path or a reason, in a third of the
time of the checks. If it says no, the checks decide, and raise the error.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Union, get_args, get_origin
from uuid import UUID

from freehold.messages.checks import INT_MAX, INT_MIN, Check

__all__ = ["fast_check"]

_PLAIN: Final = frozenset({str, bool, UUID, bytes})
_COLLECTIONS: Final = (tuple, list)


def fast_check(
    cls: type[Any], hints: Callable[[type[Any]], dict[str, Any]], compile_check: Callable[[Any], Check]
) -> Callable[[Any], bool]:
    """Return a function that returns True for values that certainly fit the dataclass. For others it returns False, or
    raises `Misfit` or `AttributeError`. `hints` and `compile_check` are the compiler's.
    """
    writer = _Writer(hints, compile_check)
    writer.record(cls, "v", 1)
    source = "\n".join(["def fits(v):", *writer.lines, "    return True"])
    made: dict[str, Any] = {}
    exec(source, writer.names, made)  # noqa: S102 - as dataclasses do; the source contains field names only
    fits: Callable[[Any], bool] = made["fits"]
    return fits


class _Writer:
    """Writes the source lines, and keeps the objects that their names stand for."""

    def __init__(self, hints: Callable[[type[Any]], dict[str, Any]], compile_check: Callable[[Any], Check]) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self._hints = hints
        self._compile_check = compile_check
        self._variables = 0

    def record(self, cls: type[Any], variable: str, depth: int) -> None:
        """Write the checks of all fields of a dataclass."""
        self._require(f"type({variable}) is {self._name(cls)}", depth)
        hints = self._hints(cls)
        for field in dataclasses.fields(cls):
            inner = self._variable()
            self._write(f"{inner} = {variable}.{field.name}", depth)
            self._value(hints.get(field.name, Any), inner, depth)

    def _value(self, hint: Any, variable: str, depth: int) -> None:
        origin, arguments = get_origin(hint), get_args(hint)
        if isinstance(hint, type) and (hint in _PLAIN or issubclass(hint, Enum)):
            self._require(f"type({variable}) is {self._name(hint)}", depth)
        elif hint is int:
            self._require(f"type({variable}) is int and {INT_MIN} <= {variable} <= {INT_MAX}", depth)
        elif hint is float:
            self._require(f"type({variable}) is float and {variable} - {variable} == 0.0", depth)
        elif origin in {Union, types.UnionType} and len(arguments) == 2 and type(None) in arguments:
            inner = next(each for each in arguments if each is not type(None))
            self._write(f"if {variable} is not None:", depth)
            self._value(inner, variable, depth + 1)
        elif origin in _COLLECTIONS and (origin is list or arguments[1:] == (Ellipsis,)):
            self._require(f"type({variable}) is {origin.__name__}", depth)
            element = self._variable()
            self._write(f"for {element} in {variable}:", depth)
            self._value(arguments[0], element, depth + 1)
        elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
            self.record(hint, variable, depth)
        else:
            self._write(f"{self._name(self._compile_check(hint))}({variable})", depth)

    def _require(self, condition: str, depth: int) -> None:
        self._write(f"if not ({condition}): return False", depth)

    def _write(self, line: str, depth: int) -> None:
        self.lines.append("    " * depth + line)

    def _variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def _name(self, of: Any) -> str:
        name = f"n{len(self.names)}"
        self.names[name] = of
        return name
