"""The document has the structure of AsyncAPI 3.0, every reference leads somewhere, and messages are as they travel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pytest
from tests.unit.runtime.trial import envelope_of

from freehold import Saga, Service, Transaction, command, event, step
from freehold.messages import encode_envelope
from freehold.messages.codec import _Wire
from freehold.schema.asyncapi import asyncapi

vending = Service("vending")


class Card(msgspec.Struct, tag="card"):
    number: str


class Cash(msgspec.Struct, tag="cash"):
    pence: int


@dataclass(frozen=True)
class Line:
    sku: str


@dataclass(frozen=True)
class Sale:
    sale: str


@event("vending.sold", version=2, key="sale")
class Sold:
    """Somebody bought something."""

    sale: str
    lines: tuple[Line, ...]
    paid: Card | Cash | None = None
    at: tuple[int, str] = (1, "a")


@event("vending.opened")
class Opened:
    sale: str


@command("vending.sell", key="sale")
class Sell:
    sale: str


@command("vault.fetch", key="sale")
class Fetch:
    sale: str


@command("vault.put-back", key="sale")
class PutBack:
    sale: str


@event("vault.emptied", key="sku")
class Emptied:
    sku: str


@vending.handles(Sell)
async def sell(message: Sell, tx: Transaction) -> None:
    """Nothing to do."""


@vending.handles(Emptied)
async def emptied(message: Emptied, tx: Transaction) -> None:
    """Nothing to do."""


@vending.orchestrates
class Selling(Saga[Sale], name="vending.selling", key="sale"):
    fetch = step(Fetch, compensation=PutBack)


# What AsyncAPI 3.0 allows in each object: its name, what must be there, and what may.
_OBJECTS: Final = {
    "document": ({"asyncapi", "info"}, {"id", "servers", "defaultContentType", "channels", "operations", "components"}),
    "info": ({"title", "version"}, {"description", "termsOfService", "contact", "license", "tags", "externalDocs"}),
    "channel": (set(), {"address", "messages", "title", "summary", "description", "servers", "parameters", "tags"}),
    "operation": ({"action", "channel"}, {"title", "summary", "description", "security", "tags", "messages", "reply"}),
    "reply": (set(), {"address", "channel", "messages"}),
    "address": ({"location"}, {"description"}),
    "message": (
        set(),
        {"headers", "payload", "correlationId", "contentType", "name", "title", "summary", "description", "tags"},
    ),
    "correlationId": ({"location"}, {"description"}),
}
_LOCATION: Final = re.compile(r"^\$message\.(header|payload)#(/(([^/~])|(~[01]))*)*$")


def _is(kind: str, given: Any) -> None:
    required, optional = _OBJECTS[kind]
    assert isinstance(given, dict), kind
    assert required <= given.keys() <= required | optional, (kind, given.keys())


def _refs(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from _refs(each)
    elif isinstance(part, list):
        for each in part:
            yield from _refs(each)


def _at(document: Any, ref: str) -> Any:
    assert ref.startswith("#/"), ref
    for name in ref[2:].split("/"):
        document = document[name]
    return document


def check_structure(document: Any) -> None:
    """As the specification has it, for what is used here."""
    _is("document", document)
    assert document["asyncapi"] == "3.0.0"
    _is("info", document["info"])
    components = document["components"]
    for section in components.values():
        assert all(re.fullmatch(r"[\w.\-]+", name) for name in section)
    for channel in document["channels"].values():
        _is("channel", channel)
        assert channel["address"] is None or isinstance(channel["address"], str)
        assert all(each.keys() == {"$ref"} for each in channel["messages"].values())
    for operation in document["operations"].values():
        _is("operation", operation)
        assert operation["action"] in {"send", "receive"}
        of_channel = operation["channel"]["$ref"]
        assert of_channel.startswith("#/channels/")
        assert operation["messages"]
        # Messages of an operation are those of its channel, named there.
        assert all(each["$ref"].startswith(f"{of_channel}/messages/") for each in operation["messages"])
        if "reply" in operation:
            _is("reply", operation["reply"])
            if "address" in operation["reply"]:
                _is("address", operation["reply"]["address"])
                assert _LOCATION.match(operation["reply"]["address"]["location"])
                assert _at(document, operation["reply"]["channel"]["$ref"])["address"] is None
    for message in components["messages"].values():
        _is("message", message)
        _is("correlationId", _at(document, message["correlationId"]["$ref"]))
        assert _LOCATION.match(_at(document, message["correlationId"]["$ref"])["location"])
    for ref in _refs(document):
        _at(document, ref)


@pytest.fixture
def document() -> Any:
    return json.loads(json.dumps(asyncapi(vending, "7.1")))


def test_the_structure_is_that_of_the_specification(document: Any) -> None:
    check_structure(document)
    assert document["info"]["version"] == "7.1"
    assert document["defaultContentType"] == "application/cloudevents+json"


def test_channels_are_the_topics(document: Any) -> None:
    assert {name: (each["address"], sorted(each["messages"])) for name, each in document["channels"].items()} == {
        "replies": (None, ["freehold.reply"]),
        "vending.commands": ("vending.commands", ["vending.sell.1"]),
        "vending.events": ("vending.events", ["vending.opened.1", "vending.sold.2"]),
        "vending.replies": ("vending.replies", ["freehold.reply"]),
        "vault.commands": ("vault.commands", ["vault.fetch.1", "vault.put-back.1"]),
        "vault.events": ("vault.events", ["vault.emptied.1"]),
    }


def test_operations_are_what_the_service_does_there(document: Any) -> None:
    found = {
        name: (each["action"], each["channel"]["$ref"], each.get("reply", {}).get("channel", {}).get("$ref"))
        for name, each in document["operations"].items()
    }
    assert found == {
        "publish-vending.events": ("send", "#/channels/vending.events", None),
        "accept-vending.commands": ("receive", "#/channels/vending.commands", "#/channels/replies"),
        "read-vault.events": ("receive", "#/channels/vault.events", None),
        "ask-vault.commands": ("send", "#/channels/vault.commands", "#/channels/vending.replies"),
    }
    assert document["operations"]["accept-vending.commands"]["reply"]["address"] == {
        "location": "$message.payload#/replyto"
    }


def test_a_message_is_described_as_it_travels(document: Any) -> None:
    message = document["components"]["messages"]["vending.sold.2"]
    assert message["summary"] == "Somebody bought something."
    assert message["description"] == "Messages of one `sale` keep their order."
    attributes, fixed = message["payload"]["allOf"]
    assert attributes == {"$ref": "#/components/schemas/CloudEvent"}
    envelope = document["components"]["schemas"]["CloudEvent"]
    travelling = json.loads(encode_envelope(envelope_of(Sold("1", (Line("s"),)), reply_to="asker.replies")))
    assert set(envelope["required"]) <= travelling.keys() <= envelope["properties"].keys()
    for name in ("type", "schemaversion", "kind"):
        assert travelling[name] == fixed["properties"][name]["const"]
    assert fixed["properties"]["data"] == {"$ref": "#/components/schemas/Sold"}
    assert set(envelope["properties"]) == set(_Wire.__struct_fields__)


def test_bodies_are_in_the_dialect_of_the_specification(document: Any) -> None:
    body = document["components"]["schemas"]["Sold"]["properties"]
    assert body["at"] == {
        "type": "array",
        "items": [{"type": "integer"}, {"type": "string"}],
        "additionalItems": False,
        "minItems": 2,
        "maxItems": 2,
        "default": [1, "a"],
    }
    text = json.dumps(document["components"])
    assert "prefixItems" not in text
    assert "discriminator" not in text
    assert "$defs" not in text


def test_a_service_that_asks_and_answers_nobody_has_no_answers() -> None:
    quiet = Service("vault")
    document = asyncapi(quiet)
    check_structure(document)
    assert sorted(document["channels"]) == ["vault.events"]
    assert sorted(document["operations"]) == ["publish-vault.events"]
    assert "freehold.reply" not in document["components"]["messages"]
