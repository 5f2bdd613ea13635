"""Messages travel unchanged, and what does not fit says where, never what."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import CodecError, DeclarationError, UnknownMessage
from freehold.messages import (
    Envelope,
    MessageKind,
    command,
    decode_body,
    decode_envelope,
    encode_body,
    encode_envelope,
    event,
    message_type,
    registry,
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Line:
    product: str
    price: Decimal


@event("codec.everything", version=2, key="id")
class Everything:
    id: UUID
    at: datetime
    total: Decimal
    colour: Colour
    lines: tuple[Line, ...]
    names: dict[str, int]
    note: str | None = None


_texts = st.text(st.characters(codec="utf-8"))
_decimals = st.decimals(allow_nan=False, allow_infinity=False)
_everything = st.builds(
    Everything,
    id=st.uuids(),
    at=st.datetimes(timezones=st.just(UTC)),
    total=_decimals,
    colour=st.sampled_from(Colour),
    lines=st.lists(st.builds(Line, product=_texts, price=_decimals), max_size=4).map(tuple),
    names=st.dictionaries(_texts, st.integers(-(2**63), 2**63 - 1), max_size=3),
    note=st.none() | _texts,
)


@given(_everything)
def test_a_message_comes_back_as_it_was(message: Everything) -> None:
    assert decode_body(encode_body(message), message_type(Everything)) == message


_attributes = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)
_optional = st.none() | _attributes
_envelopes = st.builds(
    Envelope,
    id=st.uuids(),
    type=_attributes,
    version=st.integers(1, 99),
    kind=st.sampled_from(MessageKind),
    source=_attributes,
    topic=_attributes,
    key=_attributes,
    time=st.datetimes(timezones=st.just(UTC)),
    hlc=st.integers(0, 2**63 - 1),
    correlation_id=st.uuids(),
    body=_everything.map(encode_body),
    causation_id=st.none() | st.uuids(),
    subject=_optional,
    trace_parent=_optional,
    trace_state=_optional,
    reply_to=_optional,
    idempotency_key=_optional,
    compensates=_optional,
    headers=st.dictionaries(_attributes, _attributes, max_size=3),
)


@given(_envelopes)
def test_an_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    assert decode_envelope(encode_envelope(envelope)) == envelope


def test_a_compensation_of_before_the_first_release_is_understood() -> None:
    envelope = replace(_plain_envelope(), compensates="action-1")
    document = encode_envelope(envelope)
    assert b'"bars"' not in document
    assert decode_envelope(document.replace(b'"compensates"', b'"bars"')) == envelope


@given(_envelopes)
def test_an_envelope_is_a_cloud_event(envelope: Envelope) -> None:
    document = json.loads(encode_envelope(envelope))
    assert document["specversion"] == "1.0"
    assert {"id", "source", "type", "time", "data"} <= set(document)
    assert all(name.isalnum() and name == name.lower() for name in document)


_TEXTS = (
    "type",
    "source",
    "topic",
    "key",
    "subject",
    "trace_parent",
    "trace_state",
    "reply_to",
    "idempotency_key",
    "compensates",
)


@pytest.mark.parametrize("name", _TEXTS)
@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "\x7f", "x" * 513, "\N{SNOWMAN}" * 171, "\ud800"])
def test_an_attribute_that_no_database_keeps_is_neither_sent_nor_taken(name: str, text: str) -> None:
    good = _plain_envelope()
    with pytest.raises(CodecError):
        encode_envelope(replace(good, **{name: text}))  # type: ignore[arg-type] # a text attribute by its name
    wire = {"key": "partitionkey"}.get(name, name.replace("_", ""))
    document = json.loads(encode_envelope(good)) | {wire: text}
    with pytest.raises(CodecError) as caught:
        decode_envelope(json.dumps(document).encode())
    assert text not in str(caught.value)


@pytest.mark.parametrize("headers", [{"a\x00": "b"}, {"a": "b\x00"}])
def test_headers_hold_no_control_characters(headers: dict[str, str]) -> None:
    with pytest.raises(CodecError):
        encode_envelope(replace(_plain_envelope(), headers=headers))


@pytest.mark.parametrize("name", ["type", "source", "topic", "key"])
def test_an_attribute_that_every_message_needs_is_not_empty(name: str) -> None:
    with pytest.raises(CodecError, match="empty"):
        encode_envelope(replace(_plain_envelope(), **{name: ""}))  # type: ignore[arg-type] # as above


def _plain_envelope() -> Envelope:
    return Envelope(
        id=uuid4(),
        type="codec.everything",
        version=2,
        kind=MessageKind.EVENT,
        source="codec",
        topic="codec.events",
        key="k",
        time=datetime.now(UTC),
        hlc=1,
        correlation_id=uuid4(),
        body=b"{}",
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_a_codec_error(document: bytes) -> None:
    with pytest.raises(CodecError):
        decode_envelope(document)


def test_a_body_that_does_not_fit_names_the_place_and_not_the_content() -> None:
    body = encode_body({"id": str(uuid4()), "at": "secret-moment"})
    with pytest.raises(CodecError, match=r"codec\.everything.*at `?\$?") as caught:
        decode_body(body, message_type(Everything))
    assert "secret-moment" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_enum_value_is_not_quoted() -> None:
    good = Everything(uuid4(), datetime.now(UTC), Decimal(1), Colour.RED, (), {})
    body = encode_body(good).replace(b'"red"', b'"4111-1111"')
    with pytest.raises(CodecError) as caught:
        decode_body(body, message_type(Everything))
    assert "4111" not in str(caught.value)


def test_unknown_fields_are_passed_over() -> None:
    good = Everything(uuid4(), datetime.now(UTC), Decimal(1), Colour.RED, (), {})
    body = encode_body(good)[:-1] + b',"later":1}'
    assert decode_body(body, message_type(Everything)) == good


def test_what_is_nested_too_deeply_is_refused_like_what_cannot_be_read() -> None:
    deep = b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(CodecError):
        decode_body(deep, message_type(Everything))
    with pytest.raises(CodecError):
        decode_envelope(deep.replace(b"id", b"data"))
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(CodecError):
        encode_body({"deep": nested})


def test_a_body_too_large_is_refused() -> None:
    good = Everything(uuid4(), datetime.now(UTC), Decimal(1), Colour.RED, (), {})
    with pytest.raises(CodecError, match="bytes, more than"):
        encode_body(replace(good, note="x" * 600_000))


def test_an_unknown_version_tells_the_known_ones() -> None:
    with pytest.raises(UnknownMessage, match="known versions: 2"):
        registry.find("codec.everything", 7)


def test_declarations_are_checked_when_they_are_made() -> None:
    with pytest.raises(DeclarationError, match="not a message name"):
        event("Orders.Placed")
    with pytest.raises(DeclarationError, match="key field 'nothing'"):

        @event("codec.no-key", key="nothing")
        class NoKey:
            name: str

    with pytest.raises(DeclarationError, match="cannot be encoded"):

        @command("codec.no-type")
        class NoType:
            thing: complex | bytes | str

    with pytest.raises(DeclarationError, match="declared twice"):

        @event("codec.everything", version=2)
        class Other:
            name: str

    with pytest.raises(DeclarationError, match="is not a message"):
        message_type(Line)


@pytest.mark.parametrize("name", ["codec.a\n", "codec.a\x00", "codec." + "a" * 200])
def test_a_message_has_a_name_that_can_be_part_of_a_topic(name: str) -> None:
    with pytest.raises(DeclarationError):
        event(name)


@pytest.mark.parametrize("version", [0, -1, 2**31, True, 1.0, float("nan")])
def test_a_version_is_a_whole_number_that_a_column_holds(version: Any) -> None:
    with pytest.raises(DeclarationError, match="version must be 1 or more"):
        event("codec.versioned", version=version)


@pytest.mark.parametrize("change", [{"hlc": str(2**63)}, {"hlc": "-1"}, {"hlc": "1_0"}, {"schemaversion": 2**31}])
def test_a_number_that_no_column_holds_is_not_taken(change: dict[str, object]) -> None:
    document = json.loads(encode_envelope(_plain_envelope())) | change
    with pytest.raises(CodecError, match="not an envelope"):
        decode_envelope(json.dumps(document).encode())


def test_a_message_is_frozen_and_knows_its_way() -> None:
    declared = message_type(Everything)
    assert (declared.service, declared.topic) == ("codec", "codec.events")
    good = Everything(uuid4(), datetime.now(UTC), Decimal(1), Colour.RED, (), {})
    assert declared.partition_key(good) == str(good.id)
    with pytest.raises(AttributeError):
        setattr(good, "note", "changed")  # noqa: B010 - the type checker knows already
