"""One upcaster: a declared function, and what may come of calling it. Imports the foundation."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from freehold.errors import CodecError

__all__ = ["Place", "Upcast", "Upcaster", "UpcasterFunction"]

Place: TypeAlias = tuple[str, int]
"""Name and version."""


@dataclass(frozen=True, slots=True)
class Upcast:
    """A message that an upcaster made of an older one: its name, its version, and its body as JSON has it."""

    name: str
    version: int
    body: Mapping[str, Any] = field(repr=False)


UpcasterFunction: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any] | Sequence[Upcast] | None]


@dataclass(frozen=True, slots=True)
class Upcaster:
    """A declared function: from one version of a message into what it may make of it."""

    name: str
    from_version: int
    function: UpcasterFunction
    into: tuple[Place, ...]

    @property
    def place(self) -> str:
        """Where it is, for people: module and function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def apply(self, body: dict[str, Any]) -> Sequence[tuple[Place, dict[str, Any]]]:
        """Call the function. Raises `CodecError` where it fails, or returns what it did not declare; never content."""
        try:
            result = self.function(body)
        except Exception as error:  # noqa: BLE001 - whatever a function raises may hold content
            line = traceback.extract_tb(error.__traceback__, limit=2)[-1].lineno
            raise CodecError(
                f"{self._described} failed with {type(error).__name__} in line {line}",
                hint="an upcaster must take every body that was ever written in its version",
            ) from None
        if result is None:
            return ()
        if isinstance(result, Mapping):
            if len(self.into) != 1:
                raise CodecError(
                    f"{self._described} returned one body for {len(self.into)} targets", hint="return Upcast(...)s"
                )
            return ((self.into[0], dict(result)),)
        if not isinstance(result, (list, tuple)):
            raise CodecError(
                f"{self._described} returned {type(result).__name__}", hint="return a dict, None or a list of Upcast"
            )
        made = [self._made(each) for each in result]
        # Results may share parts of the old body, and upcasters may change what they are given.
        return [(place, copy.deepcopy(part)) for place, part in made] if len(made) > 1 else made

    def _made(self, each: object) -> tuple[Place, dict[str, Any]]:
        if not isinstance(each, Upcast):
            raise CodecError(f"{self._described} returned a list of {type(each).__name__}", hint="return Upcast(...)s")
        if (each.name, each.version) not in self.into:
            raise CodecError(
                f"{self._described} made '{each.name}' version {each.version}, which it did not declare",
                hint="name it in `into`",
            )
        return (each.name, each.version), dict(each.body)

    @property
    def _described(self) -> str:
        return f"the upcaster of '{self.name}' version {self.from_version} ({self.place})"
