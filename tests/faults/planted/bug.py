"""What a planted bug is, and the patch that plants it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from freehold.testing import Scenario

__all__ = ["Bug", "Patch", "planted", "returns"]

_MISSING: Final = object()


class Patch:
    """Replaces named functions while a bug is planted, and knows whether they were called."""

    def __init__(self) -> None:
        self.uncalled: set[str] = set()
        self._undo: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
        """Replace `owner.name`, which must exist, by what `make` makes of it. It must be called while it is planted."""
        before = inspect.getattr_static(owner, name, _MISSING)
        assert before is not _MISSING, f"{_named(owner, name)} does not exist: the bug cannot be planted"
        label = _named(owner, name)
        self.uncalled.add(label)
        made = make(getattr(owner, name))
        assert made is not before, f"{label} was not changed"

        @functools.wraps(made)
        def called(*arguments: Any, **keywords: Any) -> Any:
            self.uncalled.discard(label)
            return made(*arguments, **keywords)

        planted: Any = property(called) if isinstance(before, property) else called
        if isinstance(before, classmethod | staticmethod):
            planted = staticmethod(called)
        own = vars(owner).get(name, _MISSING)
        self._undo.append((owner, name, own))
        setattr(owner, name, planted)

    def undo(self) -> None:
        """Restore everything."""
        for owner, name, before in reversed(self._undo):
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._undo.clear()


def returns(value: object) -> Callable[[Any], Callable[..., Any]]:
    """For `replace`: a function that does nothing and returns this."""

    def make(_: Any) -> Callable[..., Any]:
        def function(*_arguments: Any, **_keywords: Any) -> object:
            return value

        return function

    return make


def _named(owner: Any, name: str) -> str:
    where = getattr(owner, "__module__", None) if inspect.isclass(owner) else None
    return f"{where}.{owner.__qualname__}.{name}" if where else f"{owner.__name__}.{name}"


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake that somebody could make in the library.

    name      of the bug, in the table.
    what      what is wrong, in a sentence.
    plant     replaces functions of the library.
    scenario  what is simulated to find it; None for a bug that a simulation cannot show.
    test      the test that finds it then: its node in pytest. It is run with the bug planted, and must fail.
    """

    name: str
    what: str
    plant: Callable[[Patch], None] = field(repr=False)
    scenario: type[Scenario] | None = None
    test: str = ""


@contextmanager
def planted(bug: Bug) -> Iterator[Patch]:
    """Plant a bug, and take it out again."""
    patch = Patch()
    try:
        bug.plant(patch)
        yield patch
    finally:
        patch.undo()
