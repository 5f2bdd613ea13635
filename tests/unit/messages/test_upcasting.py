"""Old versions become what is declared today, in order; what cannot says where, never what."""

from __future__ import annotations

import json
from dataclasses import make_dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import CodecError, DeclarationError, UnknownMessage
from freehold.messages import (
    Registry,
    Upcast,
    Upcaster,
    Upcasters,
    check_upcasters,
    encode_body,
    event,
    message_type,
    read_event,
    upcaster,
)

SECRET = "hunter2"


@event("upcasting.placed", version=3)
class Placed:
    id: UUID
    pence: int
    currency: str = "GBP"


@upcaster("upcasting.placed", from_version=1)
def in_pence(body: dict[str, Any]) -> dict[str, Any]:
    body["pence"] = round(body.pop("pounds") * 100)
    return body


@upcaster("upcasting.placed", from_version=2)
def renamed(body: dict[str, Any]) -> dict[str, Any] | None:
    if body.get("test"):
        return None
    return {"id": body["order"], "pence": body["pence"]}


@event("upcasting.line-added")
class LineAdded:
    sku: str


@event("upcasting.noted", version=2)
class Noted:
    text: str


@upcaster("upcasting.noted", from_version=1)
def capital(body: dict[str, Any]) -> dict[str, Any]:
    body["words"].reverse()
    return {"text": " ".join(body["words"])}


@upcaster("upcasting.changed", from_version=1, into=[LineAdded, ("upcasting.noted", 1), Noted])
def split(body: dict[str, Any]) -> list[Upcast]:
    words = body["words"]
    return [
        Upcast("upcasting.noted", 1, {"words": words}),
        Upcast("upcasting.line-added", 1, {"sku": words[0]}),
        Upcast("upcasting.noted", 1, {"words": words}),
        Upcast("upcasting.noted", 2, {"text": "end"}),
    ]


@upcaster("upcasting.pinged", from_version=1, into=[])
def nothing(body: dict[str, Any]) -> None:
    return None


@upcaster("upcasting.line-put", from_version=4, into=[LineAdded])
def moved(body: dict[str, Any]) -> dict[str, Any]:
    return body


def _json(**body: Any) -> bytes:
    return json.dumps(body).encode()


def test_a_declared_version_is_decoded_as_it_is_and_unknown_fields_are_passed_over() -> None:
    placed = Placed(uuid4(), 250)
    assert read_event("upcasting.placed", 3, encode_body(placed)) == (placed,)
    assert read_event("upcasting.placed", 3, _json(id=str(placed.id), pence=250, since="later")) == (placed,)


def test_a_body_that_does_not_fit_is_told_the_same_each_time() -> None:
    for _ in range(3):
        with pytest.raises(CodecError, match=r"'upcasting\.placed' version 3 does not fit Placed: .*\$\.id") as raised:
            read_event("upcasting.placed", 3, _json(id=SECRET, pence=1))
        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None
    with pytest.raises(CodecError, match="does not fit"):
        read_event("upcasting.placed", 3, b"\xff")


@given(st.uuids(), st.integers(0, 10**9))
def test_versions_follow_each_other(order: UUID, pence: int) -> None:
    body = _json(order=str(order), pounds=pence / 100)
    assert read_event("upcasting.placed", 1, body) == (Placed(order, pence),)
    assert read_event("upcasting.placed", 1, body) == read_event("upcasting.placed", 1, body)
    assert read_event("upcasting.placed", 2, _json(order=str(order), pence=pence)) == (Placed(order, pence),)


def test_one_becomes_many_in_order_and_they_share_nothing() -> None:
    assert read_event("upcasting.changed", 1, _json(words=["a", "b"])) == (
        Noted("b a"),
        LineAdded("a"),
        Noted("b a"),
        Noted("end"),
    )


def test_what_means_nothing_any_more_is_nothing() -> None:
    assert read_event("upcasting.placed", 1, _json(order="x", pounds=1, test=True)) == ()
    assert read_event("upcasting.pinged", 1, _json(at=1)) == ()


def test_a_renamed_message_is_the_only_thing_that_it_may_become() -> None:
    assert read_event("upcasting.line-put", 4, _json(sku="s")) == (LineAdded("s"),)


def test_what_nothing_is_known_of_names_the_versions_that_are() -> None:
    with pytest.raises(UnknownMessage, match=r"'upcasting\.placed' version 9 .*known versions: 3.*upcaster"):
        read_event("upcasting.placed", 9, b"{}")
    with pytest.raises(UnknownMessage, match="no version is known"):
        read_event("upcasting.nonsense", 1, b"{}")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (_json(order=SECRET, pounds=1), r"'upcasting\.placed' version 3 does not fit Placed: .*\$\.id"),
        (_json(order=SECRET), r"'upcasting\.placed' version 1 \(.*\.in_pence\) failed with KeyError in line \d+"),
        (json.dumps([SECRET]).encode(), "not a JSON object"),
        (SECRET.encode(), "not JSON, or"),
        (b'{"a": "\xff"}', "not JSON, or"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_does_not_fit_says_where_and_never_what(body: bytes, complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint) as raised:
        read_event("upcasting.placed", 1, body)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_body_that_can_be_read_but_not_copied_is_told_as_well() -> None:
    deep = b'{"words": ["a", ' + b"[" * 450 + b"]" * 450 + b"]}"
    with pytest.raises(CodecError):
        read_event("upcasting.changed", 1, deep)
    with pytest.raises(CodecError):
        read_event("upcasting.placed", 3, b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_a_line_number_is_that_of_the_upcaster() -> None:
    first = in_pence.__code__.co_firstlineno
    with pytest.raises(CodecError, match=rf"in line {first + 2}\b"):
        read_event("upcasting.placed", 1, b"{}")


@pytest.mark.parametrize(
    ("result", "into", "complaint"),
    [
        ({}, (("a.b", 2), ("a.c", 1)), "one body for 2 targets"),
        ("text", (("a.b", 2),), "returned str"),
        ([{}], (("a.b", 2),), "a list of dict"),
        ([Upcast("a.c", 1, {})], (("a.b", 2),), r"made 'a\.c' version 1, which it did not declare .*into"),
        ({"x": object()}, (("upcasting.line-added", 1),), "cannot be encoded as JSON"),
    ],
)
def test_a_result_that_was_not_declared_is_refused(
    result: Any, into: tuple[tuple[str, int], ...], complaint: str
) -> None:
    types = Registry()
    types.add(message_type(LineAdded))
    trial = Upcasters(types)
    trial.add(Upcaster("a.b", 1, lambda _: result, into))
    with pytest.raises(CodecError, match=complaint):
        trial.read("a.b", 1, b"{}")


def _lead(trial: Upcasters, start: tuple[str, int], *into: tuple[str, int]) -> None:
    def function(body: dict[str, Any]) -> dict[str, Any]:
        return body

    function.__qualname__ = f"from_{start[0]}_{start[1]}_{len(list(trial))}"
    trial.add(Upcaster(*start, function, into))


def test_two_upcasters_of_one_version_are_refused() -> None:
    trial = Upcasters(Registry())
    _lead(trial, ("a.b", 1), ("a.b", 2))
    with pytest.raises(DeclarationError, match=r"two upcasters start from 'a\.b' version 1"):
        _lead(trial, ("a.b", 1), ("a.b", 3))


@pytest.mark.parametrize(
    "steps",
    [
        [(("a.b", 1), ("a.b", 1))],
        [(("a.b", 1), ("a.b", 2)), (("a.b", 2), ("a.b", 1))],
        [(("a.b", 2), ("a.c", 1)), (("a.c", 1), ("a.b", 1)), (("a.b", 1), ("a.b", 2))],
    ],
)
def test_a_ring_is_refused_where_it_closes(steps: list[tuple[tuple[str, int], tuple[str, int]]]) -> None:
    trial = Upcasters(Registry())
    *before, last = steps
    for start, target in before:
        _lead(trial, start, target)
    with pytest.raises(DeclarationError, match="back to itself"):
        _lead(trial, *last)
    assert len(list(trial)) == len(before)


def test_a_chain_must_end_at_what_is_declared() -> None:
    types = Registry()
    trial = Upcasters(types)
    _lead(trial, ("upcasting.line-added", 0), ("a.b", 1))
    _lead(trial, ("a.b", 1), ("upcasting.line-added", 1))
    with pytest.raises(DeclarationError, match=r"'a\.b' version 1 to 'upcasting\.line-added' version 1, which is nei"):
        trial.check()
    types.add(message_type(LineAdded))
    trial.check()
    check_upcasters()


def test_an_upcaster_that_is_declared_later_is_followed() -> None:
    types = Registry()
    trial = Upcasters(types)
    types.add(message_type(LineAdded))
    types.add(message_type(Noted))
    assert trial.read("upcasting.line-added", 1, _json(sku="s")) == (LineAdded("s"),)
    trial.add(Upcaster("upcasting.line-added", 1, lambda body: {"text": body["sku"]}, (("upcasting.noted", 2),)))
    assert trial.read("upcasting.line-added", 1, _json(sku="s")) == (Noted("s"),)


def test_a_class_that_is_loaded_again_takes_the_place_of_the_old_one() -> None:
    types = Registry()
    trial = Upcasters(types)
    types.add(message_type(LineAdded))
    assert type(trial.read("upcasting.line-added", 1, _json(sku="s"))[0]) is LineAdded
    again = make_dataclass("LineAdded", [("sku", str)], frozen=True, namespace={"__module__": LineAdded.__module__})
    types.add(replace(message_type(LineAdded), cls=again))
    assert type(trial.read("upcasting.line-added", 1, _json(sku="s"))[0]) is again


def test_wanted_versions_end_a_chain() -> None:
    trial = Upcasters(Registry())
    _lead(trial, ("a.b", 1), ("a.b", 2))
    _lead(trial, ("a.b", 2), ("a.b", 3))
    assert trial.ends("a.b", 1) == {("a.b", 3)}
    assert trial.ends("a.b", 1, {("a.b", 2)}) == {("a.b", 2)}
    assert trial.unfold("a.b", 1, b"{}", {("a.b", 2)}) == [(("a.b", 2), {})]
    assert trial.find("a.b", 3) is None


def test_an_upcaster_is_a_plain_function_from_a_version() -> None:
    async def later(body: dict[str, Any]) -> None:
        return None

    with pytest.raises(DeclarationError, match="plain function"):
        upcaster("a.b", from_version=1)(later)  # type: ignore[type-var] # that is the point
    with pytest.raises(DeclarationError, match="1 or more, not 0"):
        upcaster("a.b", from_version=0)
