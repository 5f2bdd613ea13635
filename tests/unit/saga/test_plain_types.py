"""Which states are merged in the transaction that records an outcome: those that run no code of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Self
from uuid import UUID

import pytest
from tests.unit.saga.shapes import Order

from freehold.saga.plain_types import is_plain


class Colour(Enum):
    RED = "red"


class Guessed(Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> Guessed | None:
        return cls.RED if value else None


@dataclass(frozen=True)
class Line:
    item: UUID
    price: Decimal
    colour: Colour | None = None


@dataclass(frozen=True, slots=True)
class Basket:
    lines: tuple[Line, ...]
    notes: Mapping[str, Sequence[str]]
    at: datetime
    kind: Literal["a", "b"] = "a"
    more: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    count: int

    def __post_init__(self) -> None:
        """Code of the service."""


@dataclass(frozen=True)
class Inherits(Checked):
    name: str = ""


@dataclass(frozen=True)
class Holds:
    line: tuple[Checked, ...]


@dataclass
class Watched:
    name: str

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)


@dataclass
class OwnInit:
    name: str

    def __init__(self, name: str = "x") -> None:
        self.name = name


@dataclass(frozen=True)
class Computed:
    name: str = field(default_factory=lambda: "x")


@dataclass(frozen=True)
class OwnNew:
    name: str

    def __new__(cls, *_: object, **__: object) -> Self:
        return object.__new__(cls)


class Other:
    pass


@pytest.mark.parametrize("kind", [Order, Basket, Line, str, Any, list[int], int | None, dict[str, Line], Colour])
def test_what_runs_no_code_of_the_service(kind: Any) -> None:
    assert is_plain(kind)


@pytest.mark.parametrize(
    "kind", [Checked, Inherits, Holds, Watched, OwnInit, OwnNew, Computed, Guessed, Other, list[Checked], Line | Other]
)
def test_what_may_run_code_of_the_service(kind: Any) -> None:
    assert not is_plain(kind)


def test_a_class_whose_annotations_cannot_be_resolved_may_run_code() -> None:
    class Hidden(Enum):
        A = "a"

    @dataclass(frozen=True)
    class Local:
        hidden: Hidden

    assert not is_plain(Local)
