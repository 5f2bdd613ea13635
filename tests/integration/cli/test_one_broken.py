"""Every command that goes over services, with one that is broken among others: the others are done, it is named."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.cli.workshop import Workshop, typed, unused_port, workshop
from tests.unit.cli.typing_in import Typed

__all__ = ["typed", "workshop"]

_COMMANDS = {
    "ps": ("services", "service"),
    "outbox": ("services", "service"),
    "monitor": ("consumers", "service"),
    "dlq list": ("dead_letters", "service"),
    "saga list": ("sagas", "service"),
    "schedule list": ("scheduled", "service"),
    "projection list": ("projections", "service"),
    "projection replay list": ("replays", "service"),
    "snapshots list": ("snapshots", "service"),
    "audit": ("actions", "service"),
    "db status": ("pending", ""),
    "db upgrade": ("applied", ""),
}
_BROKEN = ("away", "unreadable", "wrong_number", "unmigrated", "foreign", "damaged", "garbage")


@pytest.mark.parametrize("kind", _BROKEN)
def test_the_others_are_shown_and_it_is_named(typed: Typed, workshop: Workshop, kind: str) -> None:
    code, reason = getattr(workshop, kind)()
    for command, (key, field) in _COMMANDS.items():
        if kind == "unmigrated" and command.startswith("db "):
            continue
        told = typed(*command.split(), "--json")
        assert told.code == code, (command, told.code, told.err)
        document: dict[str, Any] = told.document
        assert "Traceback" not in told.err, command
        named = document["failed"].get("two") or {"message": str(document.get("defects", {}).get("two"))}
        assert reason in named["message"], (command, document)
        assert "two" in told.err or document.get("defects", {}).get("two"), command
        shown = set(document[key]) if not field else {each[field] for each in document[key]}
        assert shown >= ({"one", "three"} if command in {"ps", "outbox", "db status", "db upgrade"} else set()), command
    reconciled = typed("reconcile", "--json")
    assert kind == "damaged" or (reconciled.code in {1, 2, 3} and "two" in reconciled.err)
    doctor = typed("doctor")
    assert doctor.code in {1, 3}
    assert "database of one" in doctor.out or kind == "foreign"


@pytest.mark.parametrize("kind", [*_BROKEN, "locked"])
def test_what_writes_is_done_for_the_others(typed: Typed, workshop: Workshop, kind: str) -> None:
    code, reason = getattr(workshop, kind)()

    def acted(*command: str) -> dict[str, Any]:
        told = typed(*command, "--reason", "test", "--json")
        assert told.code == code, (command, told.code, told.err)
        assert "Traceback" not in told.err, command
        assert reason in told.document["failed"]["two"]["message"], (command, told.document)
        assert reason in told.err
        document: dict[str, Any] = told.document
        return document

    assert {each["service"] for each in acted("outbox", "resend")["services"]} == {"one", "three"}
    assert [each["service"] for each in acted("dlq", "replay", "--all", "-s", "one", "-s", "two")["replayed"]] == [
        "one"
    ]
    discarded = acted("dlq", "discard", "--all", "--yes")
    assert [each["service"] for each in discarded["discarded"]] == ["three"]
    assert discarded["counts"] == {"done": 1, "refused": 0}
    if kind != "damaged":
        assert acted("snapshots", "discard", "--kind", "none", "--yes")["discarded"] == {}
    cancelled = typed("schedule", "cancel", uuid4(), "--reason", "test", "--yes")
    assert (cancelled.code, "two could not be asked" in cancelled.err) == (3, True)
    if kind == "locked":
        with closing(workshop.other):
            assert typed("dlq", "list", "-s", "two", "--json").code == 0


def test_a_table_that_letters_are_replayed_into_is_missing(typed: Typed, workshop: Workshop) -> None:
    """Said once of the database, not of each letter; and it names the service, also where it is found by a letter."""
    letter = typed("dlq", "list", "-s", "two", "--json").document["dead_letters"][0]["id"]
    workshop.drop("freehold_deferred")
    for chosen in (("--all",), (letter,)):
        told = typed("dlq", "replay", *chosen, "--reason", "test")
        assert told.code == 1
        assert "two: table freehold_deferred is missing" in told.err
        assert "services that could not be reached were not changed" in told.err
    shown = typed("dlq", "show", letter)
    assert (shown.code, shown.err) == (0, "")


def test_a_broker_that_is_away(typed: Typed, workshop: Workshop) -> None:
    workshop.setenv("FREEHOLD_TWO_BROKER", f"nats://127.0.0.1:{unused_port()}")
    for command in ("ps", "monitor"):
        told = typed(command, "--json")
        assert told.code == 3
        assert "broker of two" in told.document["failed"]
        assert "broker of two" in told.err
    assert {each["service"] for each in typed("ps", "--json").document["services"]} == {"one", "two", "three"}


def test_what_is_looked_for_is_found_beside_a_broken_one(typed: Typed, workshop: Workshop) -> None:
    workshop.damaged()
    for command in (("dlq", "show", uuid4()), ("saga", "show", "nothing"), ("projection", "show", "nothing")):
        told = typed(*command, "--json")
        assert told.code == 3
        assert "two could not be asked" in told.document["error"]["message"]
