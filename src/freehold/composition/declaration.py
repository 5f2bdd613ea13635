"""Declarations: a composition, its parts, and what each of them needs. Imports the foundation and sources.

Each declaration is checked when it is made. A part depends only on parts declared before it, so that there are no
circles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any, Final, Generic, TypeVar

from freehold.composition.sources import Source
from freehold.errors import DeclarationError

__all__ = ["Composition", "Part", "PartInputs"]

G = TypeVar("G")
K = TypeVar("K")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class Part(Generic[T_co]):
    """A part of a response, declared by `Composition.part`; the key of its value in `Composed`."""

    def __init__(
        self,
        name: str,
        source: Source[Any, T_co],
        by: Callable[[PartInputs[Any]], Any],
        *,
        after: tuple[Part[Any], ...],
        required: bool,
        must_exist: bool,
    ) -> None:
        self.name = name
        self.source = source
        self.by = by
        self.after = after
        self.required = required
        self.must_exist = must_exist

    @property
    def service(self) -> str:
        """The service that the part is read from."""
        return self.source.service

    def __repr__(self) -> str:
        return f"<part {self.name} of {self.service}>"


class PartInputs(Generic[G]):
    """The inputs for a part's key: what `compose` was given, and the values of parts that this one comes after."""

    def __init__(self, given: G, part: Part[Any], values: Mapping[Part[Any], Any]) -> None:
        self.given = given
        self._part = part
        self._values = values

    def __getitem__(self, part: Part[T]) -> T:
        """The value of a part. Raises `DeclarationError` for a part that is not declared with `after`."""
        if part not in self._part.after:
            raise DeclarationError(
                f"the part '{self._part.name}' reads '{part.name}', which it does not come after",
                hint=f"declare it with after={part.name}",
            )
        value: T = self._values[part]
        return value


class Composition(Generic[G]):
    """A response that is built from several services within one time budget.

    `G` is the type that the keys are made from: an id, or any other input of `compose`. Raises `DeclarationError` for
    an invalid name and for a budget that is not above 0.
    """

    def __init__(self, name: str, *, budget_seconds: float) -> None:
        self.name = _checked(name)
        if not (isfinite(budget_seconds) and budget_seconds > 0):
            raise DeclarationError(
                f"the composition '{name}' has no time budget", hint="budget_seconds is a finite number greater than 0"
            )
        self.budget_seconds = budget_seconds
        self._parts: dict[str, Part[Any]] = {}

    @property
    def parts(self) -> tuple[Part[Any], ...]:
        """The parts, in the order of declaration; each comes after those that it needs."""
        return tuple(self._parts.values())

    def part(
        self,
        name: str,
        source: Source[K, T],
        *,
        by: Callable[[PartInputs[G]], K],
        after: Part[Any] | Iterable[Part[Any]] = (),
        required: bool = False,
        must_exist: bool = False,
    ) -> Part[T]:
        """Declare a part: what `source` has under the key, or the keys, that `by` makes.

        It is read as soon as the parts of `after` were read; `by` may use these and no others. If one of them is
        missing, this part is missing; if one of them does not exist, this part does not exist and is not read.

        required    the composition fails if this part is missing.
        must_exist  the composition raises `NotFound` if this part does not exist.

        Raises `DeclarationError` for a name that exists already, and for parts of another composition.
        """
        if _checked(name) in self._parts:
            raise DeclarationError(f"the composition '{self.name}' has a part '{name}' already", hint="rename one")
        needed = (after,) if isinstance(after, Part) else tuple(after)
        for part in needed:
            if part not in self._parts.values():
                raise DeclarationError(
                    f"the part '{name}' comes after something that is not a part of '{self.name}'",
                    hint="after= takes what part() of the same composition returned",
                )
        declared: Part[T] = Part(name, source, by, after=needed, required=required, must_exist=must_exist)
        self._parts[name] = declared
        return declared


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DeclarationError(f"'{name}' is not a name", hint="a name is lower-case letters, digits, - and _")
    return name
