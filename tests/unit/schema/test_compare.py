"""Each kind of change, and which readers it breaks."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta
from tests.unit.schema.declaring import declared

from freehold.schema.compare import Change, differences
from freehold.schema.jsonschema import message_schema


class Few(Enum):
    A = "a"
    B = "b"


class More(Enum):
    A = "a"
    B = "b"
    C = "c"


class Numbers(IntEnum):
    ONE = 1
    TWO = 2


class Word(StrEnum):
    A = "a"


@dataclass
class Line:
    sku: str
    amount: int


@dataclass
class LongerLine:
    sku: str
    amount: int
    price: int


@dataclass
class DefaultedLine:
    sku: str
    amount: int
    price: int = 0


@dataclass
class Tree:
    name: str
    parts: list[Tree]
    parent: Tree | None = None


@dataclass
class OtherTree:
    name: int
    parts: list[OtherTree]
    parent: OtherTree | None = None


class Card(msgspec.Struct, tag="card"):
    number: str


class CardWithName(msgspec.Struct, tag="card"):
    number: str
    name: str


class Cash(msgspec.Struct, tag="cash"):
    pence: int


class Voucher(msgspec.Struct, tag="voucher"):
    code: str


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    sku: str


class Row(msgspec.Struct, array_like=True):
    sku: str
    amount: int


class LongerRow(msgspec.Struct, array_like=True):
    sku: str
    amount: int
    price: int


def _schema(declared_type: Any) -> dict[str, Any]:
    return message_schema(declared(make_dataclass("Body", [("f", declared_type)])))


def _differences(writer: Any, reader: Any) -> list[tuple[str, str]]:
    return [(each.path, each.change.value) for each in differences(_schema(writer), _schema(reader))]


Ints = Annotated[int, Meta(ge=1, le=9)]

# Written as the first, read as the second: what the reader takes.
WIDER = [
    (int, float),
    (int, int | None),
    (int, int | str),
    (str, Any),
    (Few, More),
    (Few, str),
    (Literal["a"], Few),
    (Literal["a"], Annotated[str, Meta(pattern="^a$", max_length=1)]),
    (Literal[2], Annotated[int, Meta(ge=1, multiple_of=2)]),
    (Numbers, int),
    (bool, bool | None),
    (None, int | None),
    (None, Literal[1] | None),
    (Literal[1, "a"], int | str),
    (Literal[1, "a"], Few | Numbers | None),
    (Literal[1] | None, int | None),
    (UUID, str),
    (datetime, str),
    (Decimal, str),
    (bytes, str),
    (Annotated[datetime, Meta(tz=True)], datetime),
    (Annotated[datetime, Meta(tz=False)], datetime),
    (Annotated[time, Meta(tz=True)], time),
    (Ints, int),
    (Ints, Annotated[int, Meta(gt=0, lt=10)]),
    (Annotated[int, Meta(gt=0)], Annotated[int, Meta(ge=1)]),
    (Annotated[float, Meta(gt=0)], Annotated[float, Meta(ge=0)]),
    (Annotated[int, Meta(multiple_of=6)], Annotated[int, Meta(multiple_of=3)]),
    (Annotated[str, Meta(min_length=2, max_length=3)], Annotated[str, Meta(min_length=1, max_length=4)]),
    (Annotated[str, Meta(pattern="a")], str),
    (LongerLine, Line),
    (Line, DefaultedLine),
    (Line, dict[str, int | str]),
    (dict[str, int], dict[str, int | None]),
    (dict[UUID, int], dict[str, int]),
    (list[Line], list[DefaultedLine]),
    (set[int], list[int]),
    (tuple[int, int], list[int]),
    (tuple[int, ...], list[int]),
    (Annotated[list[int], Meta(min_length=1)], list[int]),
    (Card | Cash, Card | Cash | Voucher),
    (CardWithName | Cash, Card | Cash | None),
    (Cash, Card | Cash | None),
    (Strict, Strict),
    (LongerRow, Row),
    (Tree, Tree),
]

# The same the other way round, and more: where the reader refuses, and what it is.
NARROWER = [
    (float, int, "$.f", "type"),
    (int, str, "$.f", "type"),
    (str, int, "$.f", "type"),
    (int | None, int, "$.f", "type"),
    (int | str, int, "$.f", "type"),
    (Any, str, "$.f", "type"),
    (More, Few, "$.f", "value"),
    (str, Few, "$.f", "value"),
    (int, Numbers, "$.f", "value"),
    (Numbers, str, "$.f", "value"),
    (Few, UUID, "$.f", "value"),
    (Word, Annotated[str, Meta(pattern="b")], "$.f", "value"),
    (Word, Annotated[str, Meta(min_length=2)], "$.f", "value"),
    (Literal[3], Annotated[int, Meta(multiple_of=2)], "$.f", "value"),
    (Literal[1, "a"], int, "$.f", "value"),
    (Literal[3, "a"], Few | Numbers | None, "$.f", "value"),
    (bool, Literal[1], "$.f", "value"),
    (bool, int, "$.f", "type"),
    (int, bool, "$.f", "type"),
    (str, UUID, "$.f", "type"),
    (str, datetime, "$.f", "type"),
    (datetime, date, "$.f", "type"),
    (timedelta, Decimal, "$.f", "type"),
    (datetime | None, UUID | None, "$.f", "type"),
    (str, bytes, "$.f", "type"),
    (datetime, Annotated[datetime, Meta(tz=True)], "$.f", "type"),
    (Annotated[datetime, Meta(tz=True)], Annotated[datetime, Meta(tz=False)], "$.f", "type"),
    (time, Annotated[time, Meta(tz=True)], "$.f", "type"),
    (int, Annotated[int, Meta(ge=0)], "$.f", "limit"),
    (int, Annotated[int, Meta(le=9)], "$.f", "limit"),
    (Annotated[float, Meta(ge=0)], Annotated[float, Meta(gt=0)], "$.f", "limit"),
    (Annotated[int, Meta(le=10)], Annotated[int, Meta(lt=10)], "$.f", "limit"),
    (int, Annotated[int, Meta(multiple_of=3)], "$.f", "limit"),
    (Annotated[int, Meta(multiple_of=3)], Annotated[int, Meta(multiple_of=6)], "$.f", "limit"),
    (str, Annotated[str, Meta(min_length=1)], "$.f", "limit"),
    (str, Annotated[str, Meta(max_length=1)], "$.f", "limit"),
    (Annotated[str, Meta(max_length=2)], Annotated[str, Meta(max_length=1)], "$.f", "limit"),
    (str, Annotated[str, Meta(pattern="a")], "$.f", "limit"),
    (Annotated[str, Meta(pattern="a")], Annotated[str, Meta(pattern="b")], "$.f", "limit"),
    (Line, LongerLine, "$.f.price", "required"),
    (DefaultedLine, LongerLine, "$.f.price", "required"),
    (list[Line], list[LongerLine], "$.f[].price", "required"),
    (dict[str, Line], dict[str, LongerLine], "$.f.*.price", "required"),
    (dict[str, int], DefaultedLine, "$.f.sku", "type"),
    (Line, dict[str, int], "$.f.sku", "type"),
    (dict[str, int], dict[str, str], "$.f.*", "type"),
    (dict[str, int], dict[UUID, int], "$.f.*", "type"),
    (dict[str, int], dict[int, int], "$.f.*", "limit"),
    (dict[str, int], dict[Few, int], "$.f.*", "value"),
    (dict[str, int], Annotated[dict[str, int], Meta(max_length=1)], "$.f", "limit"),
    (dict[str, int], Annotated[dict[str, int], Meta(min_length=1)], "$.f", "limit"),
    (Line, Annotated[dict[str, Any], Meta(min_length=3)], "$.f", "limit"),
    (Line, Strict, "$.f.amount", "unknown-field"),
    (list[int], set[int], "$.f", "limit"),
    (list[int], tuple[int, int], "$.f", "limit"),
    (tuple[int, int], tuple[int, str], "$.f[1]", "type"),
    (tuple[int, int], tuple[int, int, int], "$.f", "limit"),
    (tuple[int, int, int], tuple[int, int], "$.f", "limit"),
    (list[int], Annotated[list[int], Meta(max_length=3)], "$.f", "limit"),
    (list[int | None], list[int], "$.f[]", "type"),
    (Row, LongerRow, "$.f", "limit"),
    (Card | Cash | Voucher, Card | Cash, "$.f", "type"),
    (Card | Cash, CardWithName | Cash, "$.f.name", "required"),
    (Tree, OtherTree, "$.f.name", "type"),
    (Tree, OtherTree | None, "$.f.name", "type"),
]


@pytest.mark.parametrize(("writer", "reader"), WIDER)
def test_what_is_wider_takes_all(writer: Any, reader: Any) -> None:
    assert _differences(writer, reader) == []


@pytest.mark.parametrize("same", sorted({each for pair in WIDER for each in pair}, key=repr), ids=repr)
def test_nothing_differs_from_itself(same: Any) -> None:
    assert _differences(same, same) == []


@pytest.mark.parametrize(("writer", "reader", "path", "change"), NARROWER)
def test_what_is_narrower_refuses_something_and_says_where(writer: Any, reader: Any, path: str, change: str) -> None:
    assert (path, change) in _differences(writer, reader)


def test_fields_are_named_one_by_one() -> None:
    found = differences(_schema(Line), _schema(make_dataclass("Other", [("sku", int), ("weight", float)])))
    assert [(each.path, each.change) for each in found] == [
        ("$.f.sku", Change.TYPE),
        ("$.f.weight", Change.REQUIRED),
    ]


def test_of_a_union_the_whole_is_told() -> None:
    (found,) = differences(_schema(int | str | None), _schema(float | None))
    assert (found.written, found.read) == ("integer or text or null", "number or null")
    (found,) = differences(_schema(str | None), _schema(UUID | None))
    assert (found.written, found.read) == ("text or null", "text (uuid) or null")


def test_options_of_a_union_are_told_with_their_tags() -> None:
    (found,) = differences(_schema(Card | Cash), _schema(msgspec.defstruct("Card", [], tag="kard") | Cash))
    assert (found.written, found.read) == (
        'Card (type "card") or Cash (type "cash")',
        'Card (type "kard") or Cash (type "cash")',
    )


def test_other_dialects_of_the_same_are_understood() -> None:
    const = {"properties": {"f": {"const": "a"}}, "type": "object", "required": ["f"]}
    listed = {"properties": {"f": {"type": ["string", "null"]}}, "type": "object", "required": ["f"]}
    one_of = {"properties": {"f": {"oneOf": [{"const": "a"}, {"const": "b"}]}}, "type": "object"}
    assert differences(const, listed) == []
    assert differences(const, one_of) == []
    assert [each.path for each in differences(listed, one_of)] == ["$.f", "$.f"]
    assert differences(const, {"type": "object", "properties": {"f": True}}) == []
    assert len(differences(const, {"type": "object", "properties": {"f": False}})) == 1
