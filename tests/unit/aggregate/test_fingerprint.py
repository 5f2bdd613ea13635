"""A snapshot fits as long as nothing has changed that a state depends on, and no longer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import pytest

from freehold import event
from freehold.aggregate.fingerprint import fingerprint

_FOLD = """
def evolve(state, event):
    if event.kind in {"placed", "changed", "moved"}:
        return state + [line.amount for line in event.lines]
    return state
"""
_SAME = '''
# A comment, and a line more.

def evolve(order, happened):
    """What an order becomes: "placed", 1."""
    if happened.kind in {"placed", "changed", "moved"}:
        return order + [each.amount for each in happened.lines]
    return order
'''


@event("fingerprint.counted")
class Counted:
    number: int


@event("fingerprint.emptied")
class Emptied:
    """Everything is gone."""


@dataclass
class Line:
    title: str
    amount: int = 0


@dataclass
class Order:
    """An order, as it stands."""

    description: str = ""
    lines: list[Line] = field(default_factory=list)


def compiled(source: str) -> Callable[..., Any]:
    names: dict[str, Any] = {}
    exec(source, names)
    function: Callable[..., Any] = names["evolve"]
    return function


def of(source: str = _FOLD, state: Any = Order) -> str:
    return fingerprint(state, [Counted], [compiled(source)])


def test_words_and_places_do_not_matter() -> None:
    assert of(_SAME) == of("\n\n\n" + _FOLD) == of()


@pytest.mark.parametrize(
    ("before", "after"),
    [('"moved"', '"removed"'), ("line.amount", "line.number"), ("state + [", "[] + ["), ("return state\n", "return\n")],
)
def test_code_that_folds_otherwise_matters(before: str, after: str) -> None:
    """Constants, attributes and calls, in a comprehension too."""
    assert before in _FOLD
    assert of(_FOLD.replace(before, after)) != of()


def test_names_of_classes_and_their_docstrings_do_not_matter() -> None:
    @dataclass
    class Position:
        """Another name for it."""

        title: str
        amount: int = 0

    @dataclass
    class Purchase:
        description: str = ""
        lines: list[Position] = field(default_factory=list)

    Purchase.__annotations__ = {"description": str, "lines": list[Position]}
    assert of(state=Purchase) == of()


def test_fields_matter_whatever_they_are_called() -> None:
    """Also those that bear the name of a word of JSON Schema."""

    @dataclass
    class Untitled:
        amount: int = 0

    @dataclass
    class Shorter:
        lines: list[Line] = field(default_factory=list)

    @dataclass
    class Poorer:
        description: str = ""
        lines: list[Untitled] = field(default_factory=list)

    Shorter.__annotations__ = {"lines": list[Line]}
    Poorer.__annotations__ = {"description": str, "lines": list[Untitled]}
    assert len({of(), of(state=Shorter), of(state=Poorer)}) == 3


def test_the_events_matter() -> None:
    assert fingerprint(int, [Counted], []) != fingerprint(int, [Counted, Emptied], [])
    assert fingerprint(int, [Counted, Emptied], []) == fingerprint(int, [Emptied, Counted], [])


def test_every_case_of_a_dispatched_function_matters() -> None:
    def evolve_by(number: int) -> Callable[..., Any]:
        @singledispatch
        def evolve(happened: object, state: int) -> int:
            return state

        counted = compiled(f"def evolve(happened, state):\n    return state + {number}\n")
        evolve.register(Counted, counted)
        return evolve

    assert fingerprint(int, [Counted], [evolve_by(1)]) == fingerprint(int, [Counted], [evolve_by(1)])
    assert fingerprint(int, [Counted], [evolve_by(1)]) != fingerprint(int, [Counted], [evolve_by(2)])


def test_what_is_made_of_no_python_is_passed_over() -> None:
    assert fingerprint(int, [Counted], [max]) == fingerprint(int, [Counted], [min])


@pytest.mark.parametrize("seed", ["1", "2"])
def test_every_process_comes_to_the_same(seed: str) -> None:
    """Sets have another order in each, and objects another address."""
    program = (
        "from freehold.aggregate.fingerprint import fingerprint\nnames = {}\n"
        f"exec({_FOLD!r}, names)\nprint(fingerprint(dict[str, int], [], [names['evolve']]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == fingerprint(dict[str, int], [], [compiled(_FOLD)])
