"""A consumer that pins versions: what upcasters lead to them is handled, once, and the rest ends as a dead letter."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.unit.runtime.trial import envelope_of, eventually, memory_broker, put, read_topic, running

from freehold import RunningService, Service, Transaction, command, event
from freehold.deadletters.store import DEAD_LETTERS
from freehold.errors import DeclarationError
from freehold.inbox.work import MessageRouter
from freehold.messages import Envelope, Upcast, upcaster, upcasters

pytestmark = pytest.mark.timeout(60)


@event("pins.moved", version=3, key="key")
class Moved:
    key: str
    place: str
    how: str = "by hand"


@event("pins.moved", version=4, key="key")
class MovedFar:
    key: str
    place: str


@upcaster("pins.moved", from_version=1)
def at_place(body: dict[str, Any]) -> dict[str, Any]:
    return {"key": body["key"], "place": body["at"]}


@upcaster("pins.moved", from_version=2)
def real_moves(body: dict[str, Any]) -> dict[str, Any] | None:
    return None if body["place"] == "nowhere" else body


@upcaster("pins.moved", from_version=3)
def far(body: dict[str, Any]) -> dict[str, Any]:
    return {"key": body["key"], "place": f"far {body['place']}"}


@event("pins.left", key="key")
class Left:
    key: str


@event("pins.unheard", key="key")
class Unheard:
    key: str


@upcaster("pins.swapped", from_version=1, into=[Left, Moved, Unheard])
def swap(body: dict[str, Any]) -> list[Upcast]:
    key = body["key"]
    return [
        Upcast("pins.left", 1, {"key": key}),
        Upcast("pins.unheard", 1, {"key": key}),
        Upcast("pins.moved", 3, {"key": key, "place": body["place"]}),
    ]


@upcaster("pins.swapped", from_version=2, into=[Left, MovedFar])
def swap_far(body: dict[str, Any]) -> list[Upcast]:
    return [Upcast("pins.left", 1, {"key": body["key"]}), Upcast("pins.moved", 4, body)]


@command("pins.move", version=2, key="key")
class Move:
    key: str
    place: str


@upcaster("pins.move", from_version=1)
def move_to_place(body: dict[str, Any]) -> dict[str, Any]:
    return {"key": body["key"], "place": body["to"]}


def _old(name: str, version: int, **body: Any) -> Envelope:
    """What a producer of another time sent."""
    like = envelope_of(Move("k", "p")) if name == "pins.move" else envelope_of(Left("k"))
    fields = {each: getattr(like, each) for each in Envelope.__dataclass_fields__}
    return Envelope(**{**fields, "type": name, "version": version, "body": json.dumps(body).encode()})


def _listening() -> tuple[Service, list[object]]:
    service, seen = Service("pins"), list[object]()

    @service.handles(Moved)
    async def moved(event: Moved, tx: Transaction) -> None:
        seen.append(event)
        if event.place == "broken":
            raise ValueError(event.place)

    @service.handles(Left)
    async def left(event: Left, tx: Transaction) -> None:
        seen.append(event)
        tx.publish(Unheard(event.key))

    @service.handles(Move)
    async def move(command: Move, tx: Transaction) -> Left:
        seen.append(command)
        return Left(command.key)

    return service, seen


async def _dead(started: RunningService, wanted: dict[str, int]) -> None:
    async with asyncio.timeout(30):
        while await started.stores[DEAD_LETTERS].count() != wanted:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)


async def test_old_versions_are_handled_as_what_is_pinned() -> None:
    service, seen = _listening()
    broker = memory_broker()
    old = _old("pins.moved", 1, key="k", at="there")
    async with running(service, broker) as started:
        await put(broker, old, old, _old("pins.moved", 2, key="k", place="here", how="on foot", since=1))
        await put(broker, envelope_of(Moved("k", "end")))
        await eventually(lambda: Moved("k", "end") in seen)
        assert await started.stores[DEAD_LETTERS].count() == {}
    # Version 3 is pinned: the upcaster that leads on from it is not for this consumer.
    assert seen == [Moved("k", "there"), Moved("k", "here", "on foot"), Moved("k", "end")]


async def test_what_becomes_several_is_handled_in_order_and_what_becomes_nothing_is_acknowledged() -> None:
    service, seen = _listening()
    broker = memory_broker()
    async with running(service, broker) as started:
        await put(broker, _old("pins.moved", 2, key="k", place="nowhere"), _old("pins.swapped", 1, key="k", place="x"))
        await eventually(lambda: len(seen) == 2)
        (*_, published) = await read_topic(broker, "pins.events", 3)
        assert published.type == "pins.unheard"
        consumer = next(each for each in started.loops.all() if each.name.startswith("consumer"))
        await eventually(lambda: consumer.counters.handled == 2)  # type: ignore[attr-defined] # it is a ConsumerRunner
        assert await started.stores[DEAD_LETTERS].count() == {}
    assert seen == [Left("k"), Moved("k", "x")]


async def test_what_became_several_fails_as_one() -> None:
    service, seen = Service("pins"), list[object]()
    broker = memory_broker()

    @service.handles(Left)
    async def left(event: Left, tx: Transaction) -> None:
        tx.publish(Unheard(event.key))

    @service.handles(Moved)
    async def moved(event: Moved, tx: Transaction) -> None:
        seen.append(event)
        if len(seen) < 3:
            raise ValueError(event.place)

    async with running(service, broker):
        await put(broker, _old("pins.swapped", 1, key="k", place="x"))
        await eventually(lambda: len(seen) == 3)
        (_, published) = await read_topic(broker, "pins.events", 2)
        assert published.type == "pins.unheard"
    assert seen == [Moved("k", "x")] * 3


async def test_a_request_of_an_old_version_is_answered() -> None:
    service, seen = _listening()
    broker = memory_broker()
    async with running(service, broker):
        request = _old("pins.move", 1, key="k", to="there")
        fields = {each: getattr(request, each) for each in Envelope.__dataclass_fields__}
        await put(broker, Envelope(**{**fields, "reply_to": "asker.replies"}))
        (answer,) = await read_topic(broker, "asker.replies", 1)
    assert seen == [Move("k", "there")]
    assert (answer.type, answer.body) == ("pins.left", b'{"key":"k"}')


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (_old("pins.moved", 4, key="k", place="p"), "unknown-type"),
        (_old("pins.moved", 9, key="k", place="p"), "unknown-type"),
        (_old("pins.moved", 1, key="k"), "invalid-body"),
        (_old("pins.moved", 2, key="k", place=7), "invalid-body"),
        (_old("pins.move", 7, key="k"), "unknown-type"),
        (_old("pins.swapped", 2, key="k", place="p"), "unknown-type"),
    ],
)
async def test_what_leads_nowhere_is_a_dead_letter(message: Envelope, reason: str) -> None:
    service, seen = _listening()
    broker = memory_broker()
    async with running(service, broker) as started:
        await put(broker, message)
        await _dead(started, {reason: 1})
    assert seen == []


async def test_a_service_does_not_start_where_an_upcaster_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upcasters, "_by_version", {})
    upcaster("pins.lost", from_version=1)(at_place)
    with pytest.raises(DeclarationError, match=r"'pins\.lost' version 2, which is neither declared nor upcast"):
        async with running(Service("pins"), memory_broker()):
            raise AssertionError


def test_reading_never_raises_however_deeply_a_document_is_nested() -> None:
    reader = MessageRouter(_listening()[0].handlers.values())
    nest = b"[" * 100_000 + b"]" * 100_000
    unreadable = reader.route(b'{"data":' + nest + b"}", topic="pins.events", location="1")
    assert unreadable is not None
    assert unreadable.decode_failure is not None
    assert unreadable.decode_failure.reason == "invalid-envelope"


async def test_what_nobody_asked_for_leaves_nothing() -> None:
    service, seen = Service("pins"), list[object]()
    broker = memory_broker()

    @service.handles(Left)
    async def left(event: Left, tx: Transaction) -> None:
        seen.append(event)

    async with running(service, broker) as started:
        await put(
            broker, _old("pins.moved", 1, key="k", at="x"), _old("pins.moved", 9, key="k"), envelope_of(Left("k"))
        )
        await eventually(lambda: seen == [Left("k")])
        consumer = next(each for each in started.loops.all() if each.name.startswith("consumer"))
        await eventually(lambda: consumer.counters.handled == 1)  # type: ignore[attr-defined] # it is a ConsumerRunner
        assert await started.stores[DEAD_LETTERS].count() == {}
