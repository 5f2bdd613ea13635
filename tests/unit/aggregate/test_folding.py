from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from tests.unit.aggregate.shapes import ACCOUNT, Account, Balance, Deposited, Opened, Renamed

from freehold.aggregate import Decider
from freehold.aggregate.base import model_of
from freehold.aggregate.loader import fold
from freehold.aggregate.snapshots import StateCodec
from freehold.errors import CodecError, DeclarationError, UnknownMessage
from freehold.eventstore.store import Body
from freehold.messages import Upcast, encode_body, event, message_type, upcaster


@event("fold.moved", version=2)
class Moved:
    metres: int


@event("fold.turned", version=1)
class Turned:
    degrees: int


@upcaster("fold.moved", from_version=1)
def in_metres(body: dict[str, Any]) -> dict[str, Any]:
    return {"metres": body["kilometres"] * 1000}


@upcaster("fold.danced", from_version=1, into=[Moved, Turned])
def danced(body: dict[str, Any]) -> list[Upcast]:
    return [Upcast("fold.moved", 2, {"metres": body["steps"]}), Upcast("fold.turned", 1, {"degrees": 360})]


@upcaster("fold.sneezed", from_version=1, into=[])
def sneezed(body: dict[str, Any]) -> None:
    """It means nothing any more."""


@upcaster("fold.jumped", from_version=1, into=[Renamed])
def jumped(body: dict[str, Any]) -> list[Upcast]:
    return [Upcast("bank.renamed", 1, {"owner": "x"})]


Walk = tuple[int | str, ...]


def walk(state: Walk, happened: Moved | Turned) -> Walk:
    match happened:
        case Moved(metres):
            return (*state, metres)
        case Turned(degrees):
            return (*state, f"{degrees}°")


ANY: Decider[Any, Any, Any] = ACCOUNT
WALK: Decider[Walk, Any, Any] = Decider("walk", (), lambda *_: [], walk)


def stored(*events: object) -> list[Body]:
    return [
        (number, message_type(each).name, message_type(each).version, encode_body(each))
        for number, each in enumerate(events, 1)
    ]


def test_events_are_folded_in_order() -> None:
    assert fold(WALK, (), stored(Moved(1), Turned(90), Moved(2))) == (1, "90°", 2)
    assert fold(ACCOUNT, Balance(), stored(Opened("Ada"), Deposited(5))) == Balance("Ada", 5, 1)


def test_one_stored_event_may_be_several_or_none_today() -> None:
    old: list[Body] = [
        (1, "fold.moved", 1, b'{"kilometres": 3}'),
        (2, "fold.sneezed", 1, b"{}"),
        (3, "fold.danced", 1, b'{"steps": 7}'),
        *stored(Moved(1)),
    ]
    assert fold(WALK, (), old) == (3000, 7, "360°", 1)


def test_an_event_that_is_not_taken_is_refused_and_not_passed_over() -> None:
    with pytest.raises(DeclarationError, match=r"does not say what 'bank\.renamed' version 1 does"):
        fold(WALK, (), stored(Moved(1), Renamed("Bob")))
    with pytest.raises(DeclarationError, match=r"does not say what 'bank\.renamed' version 1 does"):
        fold(WALK, (), [(1, "fold.jumped", 1, b"{}")])


def test_what_cannot_be_read_is_said_without_its_content() -> None:
    with pytest.raises(CodecError, match=r"'fold.moved' version 2 does not fit Moved") as caught:
        fold(WALK, (), [(1, "fold.moved", 2, b'{"metres": "secret"}')])
    assert "secret" not in str(caught.value)
    with pytest.raises(CodecError):
        fold(WALK, (), [(1, "fold.moved", 2, b"\xff")])
    with pytest.raises(UnknownMessage, match=r"fold\.flown"):
        fold(WALK, (), [(1, "fold.flown", 1, b"{}")])


@dataclass(frozen=True, slots=True)
class Wider:
    owner: str = ""
    amount: int = 0
    moves: int = 0
    limit: int = 0


class TestWhatASnapshotFits:
    def test_a_state_comes_back(self) -> None:
        codec, last = StateCodec(ACCOUNT), uuid4()
        snapshot = codec.snapshot("account-1", 3, last, Balance("Ada", 5, 1))
        assert snapshot is not None
        assert codec.read(snapshot) == (last, Balance("Ada", 5, 1))
        assert (snapshot.kind, snapshot.version, snapshot.schema_version) == ("account", 3, 1)

    def test_an_object_comes_back(self) -> None:
        codec, last = StateCodec(model_of(Account)), uuid4()
        account = Account(owner="Ada", amount=5)
        account.record(Deposited(1))
        snapshot = codec.snapshot("object-1", 3, last, account)
        assert snapshot is not None
        assert codec.read(snapshot) == (last, Account(owner="Ada", amount=6, moves=1))

    @pytest.mark.parametrize(
        "changed",
        [
            replace(ACCOUNT, schema_version=2),
            replace(ANY, initial=Wider(), state=Wider),
            replace(ACCOUNT, events=(*(ACCOUNT.events or ()), Renamed)),
        ],
        ids=["version", "shape", "events"],
    )
    def test_not_a_model_that_has_changed(self, changed: Decider[Any, Any, Any]) -> None:
        snapshot = StateCodec(ACCOUNT).snapshot("account-1", 3, uuid4(), Balance())
        assert snapshot is not None
        assert StateCodec(ACCOUNT).read(snapshot) is not None
        assert StateCodec(changed).read(snapshot) is None

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"event":"no","state":{}}'])
    def test_not_what_cannot_be_read(self, data: bytes) -> None:
        snapshot = StateCodec(ACCOUNT).snapshot("account-1", 3, uuid4(), Balance())
        assert snapshot is not None
        assert StateCodec(ACCOUNT).read(replace(snapshot, data=data)) is None
        of_another_type = msgspec.json.encode({"event": uuid4(), "state": {"amount": "much"}})
        assert StateCodec(ACCOUNT).read(replace(snapshot, data=of_another_type)) is None

    def test_a_state_that_would_come_back_as_another_is_not_kept(self, caplog: pytest.LogCaptureFixture) -> None:
        loose: Decider[Any, Any, Any] = replace(ANY, state=dict[str, Any], initial={})
        codec = StateCodec(loose)
        assert codec.snapshot("account-1", 1, uuid4(), {"owner": "Ada"}) is not None
        assert codec.snapshot("account-1", 2, uuid4(), {"owner": uuid4()}) is None
        assert codec.snapshot("account-1", 3, uuid4(), {"owner": object()}) is None
        assert [record.message for record in caplog.records] == [
            "the state of 'account' cannot be restored from JSON: no snapshots of it are saved"
        ]
