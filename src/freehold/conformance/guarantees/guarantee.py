"""A guarantee of a port. Imports the standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Guarantee"]

Test = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A guarantee of a port in one sentence, and the tests of its suite that prove it."""

    text: str
    tests: Sequence[Test]
