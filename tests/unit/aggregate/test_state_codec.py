"""A state becomes a snapshot only where it comes back whole."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

import pytest

from freehold import event
from freehold.aggregate import Aggregate, applies
from freehold.aggregate.base import model_of
from freehold.aggregate.model import check_category
from freehold.aggregate.snapshots import StateCodec
from freehold.errors import DeclarationError


@event("state-codec.counted")
class Counted:
    number: int


class Undeclared(Aggregate, category="undeclared"):
    total: int = 0

    @applies(Counted)
    def counted(self, counted: Counted) -> None:
        self.total += counted.number
        self.last = counted.number


class NotCompared(Aggregate, category="not_compared"):
    total: int = 0
    last: Any = field(default=None, compare=False)

    @applies(Counted)
    def counted(self, counted: Counted) -> None:
        self.total += counted.number
        self.last = UUID(int=counted.number)


class Cached(Aggregate, category="cached"):
    total: int = 0

    @applies(Counted)
    def counted(self, counted: Counted) -> None:
        self.total += counted.number

    @cached_property
    def label(self) -> str:
        return f"{self.total} pieces"


def state_of(cls: type[Aggregate]) -> tuple[StateCodec[Any], Any]:
    model: Any = model_of(cls)
    return StateCodec(model), model.evolve(model.begin("1"), Counted(3))


@pytest.mark.parametrize("cls", [Undeclared, NotCompared])
def test_a_state_that_would_lose_something_is_not_kept(cls: type[Aggregate]) -> None:
    """What the equality of a dataclass does not look at is part of the state all the same."""
    codec, state = state_of(cls)
    assert codec.snapshot("any-1", 1, uuid4(), state) is None


def test_what_is_computed_from_the_state_is_no_part_of_it() -> None:
    codec, state = state_of(Cached)
    assert state.label == "3 pieces"
    snapshot = codec.snapshot("cached-1", 1, uuid4(), state)
    assert snapshot is not None
    read = codec.read(snapshot)
    assert read is not None
    assert read[1].label == "3 pieces"


@pytest.mark.parametrize("category", ["", "Order", "order\n", "1order"])
def test_what_no_name_begins_with_is_no_category(category: str) -> None:
    with pytest.raises(DeclarationError, match="not a category"):
        check_category(category)
