"""What people write: a composition, its parts, and what each of them needs. Imports the foundation and sources.

What is declared is checked where it is declared. A part comes after parts that are there already, so that no circle can
be written down.
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
    """A part of an answer, declared by `Composition.part`; what was found of it is looked up by it."""

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
        """Whose the part is."""
        return self.source.service

    def __repr__(self) -> str:
        return f"<part {self.name} of {self.service}>"


class PartInputs(Generic[G]):
    """What a part's key is made from: what the whole was asked with, and the parts that this one comes after."""

    def __init__(self, given: G, part: Part[Any], values: Mapping[Part[Any], Any]) -> None:
        self.given = given
        self._part = part
        self._values = values

    def __getitem__(self, part: Part[T]) -> T:
        """What was found of a part. Raises `DeclarationError` where this part does not say that it comes after it."""
        if part not in self._part.after:
            raise DeclarationError(
                f"the part '{self._part.name}' looks at '{part.name}', which it does not come after",
                hint=f"declare it with after={part.name}",
            )
        value: T = self._values[part]
        return value


class Composition(Generic[G]):
    """An answer that is joined from several services within one time budget.

    `G` is what it is asked with: an id, or whatever the keys are made from. Raises `DeclarationError` for a name that
    is none, and a budget of no time.
    """

    def __init__(self, name: str, *, budget_seconds: float) -> None:
        self.name = _checked(name)
        if not (isfinite(budget_seconds) and budget_seconds > 0):
            raise DeclarationError(
                f"the composition '{name}' has no time", hint="budget_seconds is a finite number greater than 0"
            )
        self.budget_seconds = budget_seconds
        self._parts: dict[str, Part[Any]] = {}

    @property
    def parts(self) -> tuple[Part[Any], ...]:
        """The parts, as declared; each comes after those it needs."""
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

        It is asked for as soon as the parts that it comes after are there; `by` may look at these and no others. Where
        one of them is missing, it is missing; where one of them does not exist, neither does it, and nobody is asked.

        required    the whole fails where this part is missing.
        must_exist  the whole does not exist where this part does not.

        Raises `DeclarationError` for a name twice, and for parts of another composition.
        """
        if _checked(name) in self._parts:
            raise DeclarationError(f"the composition '{self.name}' has a part '{name}' already", hint="rename one")
        needed = (after,) if isinstance(after, Part) else tuple(after)
        for part in needed:
            if part not in self._parts.values():
                raise DeclarationError(
                    f"the part '{name}' comes after something that is no part of '{self.name}'",
                    hint="after= takes what part() of the same composition returned",
                )
        declared: Part[T] = Part(name, source, by, after=needed, required=required, must_exist=must_exist)
        self._parts[name] = declared
        return declared


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DeclarationError(f"'{name}' is no name", hint="a name is lower-case letters, digits, - and _")
    return name
