"""What a service gives out is refused where it enters, with the field's name, or it comes back as it was."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freehold.errors import CodecError, InvalidValue
from freehold.messages import decode_body, event, message_type
from freehold.messages.checkers import checker_of
from freehold.messages.values import encode_checked


class Mode(StrEnum):
    FAST = "fast"
    SLOW = "slow"


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Special(Line):
    more: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    name: str
    below: tuple[Tree, ...] = ()


@event("values.everything", key="name")
class Everything:
    name: str = "a"
    number: int = 1
    share: float = 0.5
    sure: bool = True
    price: Decimal = Decimal("1.50")
    id: UUID = UUID(int=7)
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    local: Annotated[datetime, msgspec.Meta(tz=False)] = datetime(2026, 1, 1)  # noqa: DTZ001 - declared without a zone
    mode: Mode = Mode.FAST
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    word: Literal["up", "down"] = "up"
    raw: bytes = b""
    line: Line = Line("s", 1)
    lines: tuple[Line, ...] = ()
    listed: list[int] = field(default_factory=list)
    pair: tuple[int, str] = (1, "b")
    some: Sequence[int] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    point: Point = Point(1, 2.0)
    maybe: int | None = None
    either: int | str = 1
    bounded: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    any: Any = None
    tree: Tree = Tree("t")


def changed(name: str, value: object) -> Any:
    """The message with one field changed to whatever it is."""
    whole: Any = Everything()
    return replace(whole, **{name: value})


_WRONG: list[tuple[str, object, str]] = [
    ("name", 5, "name"),
    ("name", None, "name"),
    ("name", b"a", "name"),
    ("name", "a\x00b", "name"),
    ("name", "\ud800", "name"),
    ("number", "5", "number"),
    ("number", True, "number"),
    ("number", 1.0, "number"),
    ("number", 2**63, "number"),
    ("number", -(2**63) - 1, "number"),
    ("number", 2**70, "number"),
    ("share", float("nan"), "share"),
    ("share", float("inf"), "share"),
    ("share", float("-inf"), "share"),
    ("share", "0.5", "share"),
    ("share", True, "share"),
    ("share", 2**60 + 1, "share"),
    ("sure", 1, "sure"),
    ("price", Decimal("NaN"), "price"),
    ("price", Decimal("sNaN"), "price"),
    ("price", Decimal("Infinity"), "price"),
    ("price", Decimal("1e100000"), "price"),
    ("price", 1.5, "price"),
    ("price", "1.5", "price"),
    ("id", str(UUID(int=7)), "id"),
    ("at", datetime(2026, 1, 1), "at"),  # noqa: DTZ001 - that it has no zone is the fault
    ("at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "at"),
    ("at", datetime(1912, 1, 1, tzinfo=timezone(timedelta(minutes=-16, seconds=-8))), "at"),
    ("at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), "at"),
    ("at", "2026-01-01T00:00:00Z", "at"),
    ("at", date(2026, 1, 1), "at"),
    ("day", datetime(2026, 1, 1, tzinfo=UTC), "day"),
    ("local", datetime(2026, 1, 1, tzinfo=UTC), "local"),
    ("mode", "other", "mode"),
    ("colour", "red", "colour"),
    ("level", 2, "level"),
    ("word", "sideways", "word"),
    ("raw", "text", "raw"),
    ("line", {"sku": "s", "quantity": 1}, "line"),
    ("line", Special("s", 1), "line"),
    ("line", None, "line"),
    ("line", Line("s", "1"), "line.quantity"),  # type: ignore[arg-type] # it is wrong
    ("lines", (Line("s", 1), Line("t", None)), "lines[1].quantity"),  # type: ignore[arg-type] # it is wrong
    ("lines", (Line("s", 1), Line("t\x00", 1)), "lines[1].sku"),
    ("lines", [Line("s", 1)], "lines"),
    ("listed", (1,), "listed"),
    ("listed", [1, None], "listed[1]"),
    ("pair", (1, 2), "pair[1]"),
    ("pair", (1,), "pair"),
    ("some", "12", "some"),
    ("counts", {"a": "1"}, "counts[…]"),
    ("counts", {1: 1}, "counts"),
    ("counts", {"a\x00": 1}, "counts[…]"),
    ("tags", {"a"}, "tags"),
    ("point", (1, 2.0), "point"),
    ("point", Point(1, float("nan")), "point.y"),
    ("maybe", "1", "maybe"),
    ("either", 1.5, "either"),
    ("bounded", 10, "bounded"),
    ("any", {"deep": [float("nan")]}, "any[…][0]"),
    ("any", object(), "value"),
    ("tree", Tree("t", (Tree("u", (Tree(5),)),)), "tree.below[0].below[0].name"),  # type: ignore[arg-type] # wrong
]


@pytest.mark.parametrize(("name", "value", "place"), _WRONG)
def test_a_value_that_does_not_fit_its_field_is_refused_by_name(name: str, value: object, place: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        encode_checked(changed(name, value), of="values.everything")
    assert caught.value.field == place
    assert caught.value.reason.startswith(("must ", "has ", "does not fit"))
    assert "values.everything" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "slow"),
        ("number", Level.LOW),
        ("share", 3),
        ("price", 2),
        ("name", Mode.FAST),
        ("some", (1, 2)),
        ("some", [1, 2]),
        ("either", "text"),
        ("maybe", 2**63 - 1),
        ("name", "a \\u0000 that is six characters"),
        ("any", {"deep": [1, "a", None, {"b": 0.5}]}),
        ("tree", Tree("t", (Tree("u"), Tree("v", (Tree("w"),))))),
        ("lines", tuple(Line("s", each) for each in range(3))),
    ],
)
def test_what_the_reader_takes_for_the_same_passes(name: str, value: Any) -> None:
    message = changed(name, value)
    body = encode_checked(message, of="values.everything")
    assert getattr(decode_body(body, message_type(Everything)), name) == (list(value) if name == "some" else value)


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: list[Any] = []
    tree = Tree("leaf")
    for _ in range(5_000):
        deep, tree = [deep], Tree("t", (tree,))
    ring: list[Any] = []
    ring.append(ring)
    for name, value in (("any", deep), ("any", ring), ("tree", tree)):
        with pytest.raises(InvalidValue, match="nested deeper"):
            encode_checked(changed(name, value), of="values.everything")


def test_the_quick_look_sees_what_the_checks_see() -> None:
    """It says yes for good values, or every publish takes the slow way; it never says yes for bad ones."""
    checker = checker_of(Line)
    assert checker.fits(Line("s", 1))
    assert not checker.fits(Line("s", True))
    assert not checker.fits(Line("s", 2**63))
    assert not checker.fits(Special("s", 1))
    assert not checker.read_back


_anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text()
    | st.binary(max_size=4)
    | st.uuids()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.dates()
    | st.sampled_from([Mode.SLOW, Colour.RED, Level.LOW, Line("s", 1), Point(1, 2.0), Tree("t")])
    | st.lists(st.integers() | st.text(), max_size=2)
    | st.lists(st.integers(), max_size=2).map(tuple)
    | st.dictionaries(st.text(max_size=2), st.integers() | st.floats(), max_size=2)
)
_NAMES = sorted(set(Everything.__annotations__) - {"any", "some"})


@given(st.sampled_from(_NAMES), _anything)
@example("price", Decimal("sNaN"))
def test_a_message_is_refused_or_comes_back_equal(name: str, value: Any) -> None:
    message = changed(name, value)
    try:
        body = encode_checked(message, of="values.everything")
    except InvalidValue as error:
        refused = error.field
    else:
        back = getattr(decode_body(body, message_type(Everything)), name)
        assert back == value
        return
    assert refused.startswith(name)


def test_the_error_says_the_field_and_never_the_value() -> None:
    with pytest.raises(InvalidValue) as caught:
        encode_checked(changed("number", "4111-1111"), of="values.everything")
    assert "4111" not in str(caught.value)
    assert isinstance(caught.value, CodecError)
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert (again.field, again.reason, str(again)) == ("number", "must be int, and is str", str(caught.value))
