"""A change that breaks is told with whom it breaks and what to do; one that does not is let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.schema.declaring import catalogued, declared, findings, report

from freehold.errors import DeclarationError
from freehold.messages import MessageType, Registry, Upcaster, Upcasters
from freehold.schema.catalogue import Catalogue
from freehold.service import Service
from freehold.transaction import Transaction


@dataclass(frozen=True)
class Placed:
    order_id: str
    pence: int


@dataclass(frozen=True)
class WithNote:
    order_id: str
    pence: int
    note: str | None = None


@dataclass(frozen=True)
class WithCustomer:
    order_id: str
    pence: int
    customer_id: str


@dataclass(frozen=True)
class InPounds:
    order_id: str
    pence: float


def _rules(before: type[Any], now: type[Any], compatibility: str = "full") -> list[tuple[str, str]]:
    return [(each.path, each.rule) for each in findings(before, now, compatibility)]


def test_what_stayed_is_compatible() -> None:
    assert findings(Placed, Placed) == []
    assert report(catalogued(declared(Placed)), catalogued(declared(Placed))).compared == 1


def test_a_field_with_a_default_comes_and_goes() -> None:
    assert findings(Placed, WithNote) == []
    assert findings(WithNote, Placed) == []


@dataclass(frozen=True)
class InGuilders:
    order_id: str
    pence: int
    currency: str = "NLG"


@dataclass(frozen=True)
class InEuros:
    order_id: str
    pence: int
    currency: str = "EUR"


def test_a_default_that_changes_gives_another_meaning_to_what_was_written_without_the_field() -> None:
    backward, forward = findings(InGuilders, InEuros)
    assert (backward.path, backward.rule) == ("$.currency", "backward-default")
    assert backward.what == 'was "NLG" where it is missing, is "EUR" where it is missing'
    assert backward.breaks == ("this code reads another value from stored or sent messages of version 1")
    assert (forward.path, forward.rule, forward.what) == ("$.currency", "forward-default", backward.what)
    assert findings(InEuros, InEuros) == []


def test_a_required_field_is_for_a_new_version() -> None:
    (came,) = findings(Placed, WithCustomer)
    assert (came.message, came.version, came.path, came.rule) == (
        "orders.placed",
        1,
        "$.customer_id",
        "backward-required",
    )
    assert came.what == "is required now, and was not written before"
    assert came.breaks == "this code cannot read stored or sent messages of version 1"
    assert came.hint == ('give it a default, or declare version 2 and write @upcaster("orders.placed", from_version=1)')
    (went,) = findings(WithCustomer, Placed)
    assert (went.path, went.rule, went.what) == (
        "$.customer_id",
        "forward-required",
        "was required, and is not written now",
    )
    assert went.breaks == "released consumers cannot read what this code writes"


@pytest.mark.parametrize(
    ("before", "now", "compatibility", "rules"),
    [
        (Placed, WithCustomer, "backward", [("$.customer_id", "backward-required")]),
        (Placed, WithCustomer, "forward", []),
        (WithCustomer, Placed, "backward", []),
        (WithCustomer, Placed, "forward", [("$.customer_id", "forward-required")]),
        (Placed, InPounds, "backward", []),
        (Placed, InPounds, "forward", [("$.pence", "forward-type")]),
        (InPounds, Placed, "backward", [("$.pence", "backward-type")]),
        (InPounds, Placed, "full", [("$.pence", "backward-type")]),
    ],
)
def test_only_what_was_asked_for_is_told(
    before: type[Any], now: type[Any], compatibility: str, rules: list[tuple[str, str]]
) -> None:
    assert _rules(before, now, compatibility) == rules


def test_what_is_no_longer_the_newest_stays_as_it_was() -> None:
    before = catalogued(declared(Placed), declared(WithNote, version=2))
    told = report(before, catalogued(declared(WithCustomer), declared(WithNote, version=2)))
    assert [each.hint for each in told.findings] == ["leave it as it was released, and put the change into version 3"]


def test_the_older_type_is_told_first_in_both_directions() -> None:
    (finding,) = findings(Placed, InPounds)
    assert finding.what == "was integer, is number"
    (finding,) = findings(InPounds, Placed)
    assert finding.what == "was number, is integer"


def test_another_key_breaks_the_order() -> None:
    told = report(catalogued(declared(Placed, key="order_id")), catalogued(declared(Placed, key="pence")))
    (finding,) = told.findings
    assert (finding.rule, finding.path) == ("key", "$.pence")
    assert finding.what == "the partition key was order_id, and is pence"
    for before, now in ((None, "order_id"), ("order_id", None)):
        told = report(catalogued(declared(Placed, key=before)), catalogued(declared(Placed, key=now)), "backward")
        assert [(each.rule, each.path) for each in told.findings] == [("key", "$.order_id")]


def test_another_kind_travels_elsewhere() -> None:
    told = report(catalogued(declared(Placed)), catalogued(declared(Placed, kind="command")))
    assert [each.rule for each in told.findings] == ["kind"]
    assert told.findings[0].what == "was an event, is a command"


def _led(*steps: tuple[tuple[str, int], tuple[tuple[str, int], ...]], types: tuple[MessageType, ...] = ()) -> Upcasters:
    registry = Registry()
    for each in types:
        registry.add(each)
    upcasts = Upcasters(registry)
    for (name, version), into in steps:
        upcasts.add(Upcaster(name, version, dict, into))
    return upcasts


V1, V2 = declared(Placed), declared(WithCustomer, version=2)
RAISED = ((("orders.placed", 1), (("orders.placed", 2),)),)


@pytest.mark.parametrize("compatibility", ["backward", "forward", "full"])
def test_a_version_may_go_once_it_is_upcast(compatibility: str) -> None:
    (gone,) = report(catalogued(V1), catalogued(V2), compatibility).findings
    assert (gone.version, gone.rule) == (1, "vanished")
    assert gone.hint == 'write @upcaster("orders.placed", from_version=1) that leads to version 2'
    raised = catalogued(V2, upcasts=_led(*RAISED, types=(V2,)))
    assert report(catalogued(V1), raised, compatibility).findings == ()
    # What is upcast stays readable for ever: the upcaster must not go either.
    (lost,) = report(raised, catalogued(V2), compatibility).findings
    assert (lost.version, lost.rule) == (1, "vanished")


def test_an_event_may_go_into_nothing() -> None:
    (gone,) = report(catalogued(V1), catalogued()).findings
    assert gone.hint.endswith("or to nothing with into=()")
    assert report(catalogued(V1), catalogued(upcasts=_led((("orders.placed", 1), ())))).findings == ()


def test_upcasters_that_lead_nowhere_are_refused() -> None:
    with pytest.raises(DeclarationError, match="neither declared nor upcast"):
        catalogued(V1, upcasts=_led(*RAISED))


def _project(*messages: MessageType, handled: MessageType | None, upcasts: Upcasters | None = None) -> Catalogue:
    billing = Service("billing")
    if handled is not None:

        async def handle(message: Any, tx: Transaction) -> None:
            """Nothing to do."""

        billing.handlers[handled] = _handler(handled, handle)
    return catalogued(*messages, services=(Service("orders"), billing), upcasts=upcasts)


def _handler(message: MessageType, function: Any) -> Any:
    from freehold import Retry
    from freehold.inbox.handler import Handler

    return Handler(message, function, Retry())


def test_a_consumer_must_understand_every_version_that_is_declared() -> None:
    before = _project(V1, handled=V1)
    (finding,) = report(before, _project(V1, V2, handled=V1)).findings
    assert (finding.service, finding.message, finding.version, finding.rule) == (
        "orders",
        "orders.placed",
        2,
        "not-understood",
    )
    assert finding.what == "is declared, but billing understands only version 1"
    assert finding.breaks == "each such message becomes a dead letter of billing"
    assert report(before, _project(V1, V2, handled=None)).findings == ()


def test_a_consumer_understands_what_upcasters_lead_to() -> None:
    upcasts = _led(*RAISED, types=(V2,))
    now = _project(V2, handled=V2, upcasts=upcasts)
    assert now.services["billing"].understands == {"orders": {"orders.placed": frozenset({1, 2})}}
    told = report(_project(V1, handled=V1), now)
    assert told.findings == ()
    assert told.notes == ("orders.placed version 2 is new: release billing before orders",)


def test_the_pins_of_consumers_elsewhere_are_those_of_the_catalogue() -> None:
    released = _project(V1, handled=V1)
    now = catalogued(V2, upcasts=_led(*RAISED, types=(V2,)))
    told = report(released, now)
    assert [(each.rule, each.version, each.what) for each in told.findings] == [
        ("not-understood", 2, "is declared, but billing understands only version 1")
    ]
    assert told.notes[0] == "billing is in the catalogue and not in this project: its messages were not compared"


def test_a_consumer_is_told_when_nothing_comes_any_more() -> None:
    told = report(Catalogue({}), _project(handled=V1))
    (finding,) = told.findings
    assert (finding.rule, finding.breaks) == ("pin-lost", "billing waits for messages that never come")


def test_pins_on_services_elsewhere_are_left_alone() -> None:
    now = _project(handled=V1)
    assert report(Catalogue({}), Catalogue({"billing": now.services["billing"]})).findings == ()
