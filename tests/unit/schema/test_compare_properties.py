"""What the comparison calls compatible is read: bodies of either side, decoded by the other with the codec itself."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta
from tests.unit.schema.declaring import catalogued, declared, report

from freehold.messages import MessageType, decode_body, encode_body
from freehold.schema.compare import differences
from freehold.schema.jsonschema import message_schema


class Few(Enum):
    A = "a"
    B = "b"


class More(Enum):
    A = "a"
    B = "b"
    C = "cc"


@dataclass
class Line:
    sku: str
    amount: int = 1


@dataclass
class LongerLine:
    sku: str
    amount: int
    note: str | None = None


@dataclass
class Link:
    name: str
    next: Link | None = None


@dataclass
class LongerLink:
    name: str | int
    next: LongerLink | None = None


@dataclass(frozen=True)
class Kind:
    """A type of a field, and values of it."""

    type: Any
    values: st.SearchStrategy[Any] = field(repr=False)


_ints = st.integers(-(2**53), 2**53)
_floats = st.floats(allow_nan=False, allow_infinity=False)
_texts = st.text(st.characters(codec="utf-8"), max_size=4)
_links = st.builds(Link, name=_texts, next=st.none() | st.builds(Link, name=_texts))
_longer_links = st.builds(LongerLink, name=_texts | _ints, next=st.none() | st.builds(LongerLink, name=_texts | _ints))
_plain = [
    Kind(int, _ints),
    Kind(float, _floats),
    Kind(bool, st.booleans()),
    Kind(str, _texts),
    Kind(bytes, st.binary(max_size=4)),
    Kind(UUID, st.uuids()),
    Kind(Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    Kind(date, st.dates()),
    Kind(datetime, st.datetimes(timezones=st.none() | st.just(UTC))),
    Kind(Annotated[datetime, Meta(tz=True)], st.datetimes(timezones=st.just(UTC))),
    Kind(Annotated[datetime, Meta(tz=False)], st.datetimes()),
    Kind(Few, st.sampled_from(Few)),
    Kind(More, st.sampled_from(More)),
    Kind(Literal["a"], st.just("a")),
    Kind(Literal[1, "b"], st.sampled_from([1, "b"])),
    Kind(int | str, _ints | _texts),
    Kind(Annotated[int, Meta(ge=1, le=5)], st.integers(1, 5)),
    Kind(Annotated[int, Meta(gt=0)], st.integers(1, 2**53)),
    Kind(Annotated[float, Meta(ge=0)], _floats.map(abs)),
    Kind(Annotated[int, Meta(multiple_of=3)], st.integers(-99, 99).map(lambda each: 3 * each)),
    Kind(Annotated[str, Meta(min_length=1)], _texts.filter(bool)),
    Kind(Annotated[str, Meta(max_length=2)], _texts.map(lambda each: each[:2])),
    Kind(Annotated[str, Meta(pattern="^[ab]+$")], st.text("ab", min_size=1, max_size=3)),
    Kind(Line, st.builds(Line, sku=_texts, amount=_ints)),
    Kind(LongerLine, st.builds(LongerLine, sku=_texts, amount=_ints, note=st.none() | _texts)),
    Kind(Link, _links),
    Kind(LongerLink, _longer_links),
    Kind(set[int], st.sets(_ints, max_size=3)),
    Kind(Any, st.none() | _ints | _texts | st.lists(_ints, max_size=2)),
]


def _nest(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.one_of(
        inner.map(lambda kind: Kind(kind.type | None, st.none() | kind.values)),
        inner.map(lambda kind: Kind(list[kind.type], st.lists(kind.values, max_size=3))),  # type: ignore[name-defined] # made at run time
        inner.map(lambda kind: Kind(tuple[kind.type, ...], st.lists(kind.values, max_size=3).map(tuple))),  # type: ignore[name-defined] # as above
        inner.map(lambda kind: Kind(tuple[kind.type, int], st.tuples(kind.values, _ints))),  # type: ignore[name-defined] # as above
        inner.map(lambda kind: Kind(dict[str, kind.type], st.dictionaries(_texts, kind.values, max_size=3))),  # type: ignore[name-defined] # as above
        inner.map(lambda kind: Kind(dict[Few, kind.type], st.dictionaries(st.sampled_from(Few), kind.values))),  # type: ignore[name-defined] # as above
        inner.map(lambda kind: Kind(dict[UUID, kind.type], st.dictionaries(st.uuids(), kind.values, max_size=3))),  # type: ignore[name-defined] # as above
    )


_kinds = st.recursive(st.sampled_from(_plain), _nest, max_leaves=3)


@dataclass(frozen=True)
class Version:
    """A generated class, and how to make bodies of it, also of the time before its optional fields were added."""

    message: MessageType
    kinds: dict[str, Kind]
    optional: frozenset[str]

    def bodies(self) -> st.SearchStrategy[bytes]:
        values = {name: kind.values for name, kind in self.kinds.items()}
        whole = st.fixed_dictionaries(values).map(lambda given: json.loads(encode_body(self.message.cls(**given))))
        left_out = st.sets(st.sampled_from(sorted(self.optional))) if self.optional else st.just(set[str]())
        return st.builds(
            lambda body, names: json.dumps({k: v for k, v in body.items() if k not in names}).encode(), whole, left_out
        )


@st.composite
def _versions(draw: st.DrawFn, *, like: Version | None = None) -> Version:
    """A class of a few fields; `like` another one, some fields are the same."""
    names = draw(st.lists(st.sampled_from("abc"), min_size=0 if like else 1, max_size=3, unique=True))
    kinds, optional = {}, set()
    for name in sorted(names):
        same = like is not None and name in like.kinds and draw(st.booleans())
        kinds[name] = like.kinds[name] if same and like is not None else draw(_kinds)
        if draw(st.booleans()):
            optional.add(name)
    ordered = sorted(kinds, key=lambda name: name in optional)
    fields: list[Any] = [
        (name, kinds[name].type, field(default_factory=lambda: None)) if name in optional else (name, kinds[name].type)
        for name in ordered
    ]
    return Version(declared(make_dataclass("Body", fields, frozen=True)), kinds, frozenset(optional))


_seen: Counter[str] = Counter()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def _reads_what_is_called_compatible(data: st.DataObject) -> None:
    before = data.draw(_versions())
    now = data.draw(_versions(like=before))
    for direction, writer, reader in (("backward", before, now), ("forward", now, before)):
        found = differences(message_schema(writer.message), message_schema(reader.message))
        told = report(catalogued(before.message), catalogued(now.message), direction)
        assert (found == []) == (told.findings == ())
        _seen["refused" if found else "taken"] += 1
        if not found:
            decode_body(data.draw(writer.bodies()), reader.message)


def test_what_is_called_compatible_is_read() -> None:
    _seen.clear()
    _reads_what_is_called_compatible()
    assert _seen["taken"] > 50, "the generator makes too few compatible pairs to say anything"
    assert _seen["refused"] > 50


@settings(max_examples=200, deadline=None)
@given(_kinds, _kinds, st.data())
def test_a_type_that_is_called_compatible_is_read(written: Kind, read: Kind, data: st.DataObject) -> None:
    writer, reader = (declared(make_dataclass("Body", [("f", kind.type)])) for kind in (written, read))
    assert differences(message_schema(writer), message_schema(writer)) == []
    if differences(message_schema(writer), message_schema(reader)) == []:
        decode_body(encode_body(writer.cls(data.draw(written.values))), reader)


def test_every_pair_of_plain_types_that_is_called_compatible_is_read() -> None:
    @settings(max_examples=5, deadline=None, database=None)
    @given(st.data())
    def reads(data: st.DataObject) -> None:
        decode_body(encode_body(writer.cls(data.draw(written.values))), reader)

    taken = 0
    for written in _plain:
        for read in _plain:
            writer, reader = (declared(make_dataclass("Body", [("f", kind.type)])) for kind in (written, read))
            if differences(message_schema(writer), message_schema(reader)) == []:
                taken += 1
                reads()
    assert taken > len(_plain)
