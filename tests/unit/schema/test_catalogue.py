"""The file is the same for the same declarations, says all of them, and is read as it was written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from tests.unit.schema.declaring import catalogued, declared

from freehold.errors import ConfigurationError, NotFound
from freehold.messages import Registry, Upcaster, Upcasters
from freehold.schema.catalogue import Catalogue, read_catalogue
from freehold.schema.jsonschema import DIALECT, message_schema
from freehold.service import Service


@dataclass(frozen=True)
class Line:
    sku: str
    at: datetime


@dataclass(frozen=True)
class Placed:
    order_id: str
    lines: tuple[Line, ...]


class Card(msgspec.Struct, tag="card"):
    until: datetime


class Cash(msgspec.Struct, tag="cash"):
    at: datetime | None


@dataclass(frozen=True)
class Paid:
    by: Card | Cash | None
    times: dict[datetime, list[datetime]]
    first: tuple[datetime, int]


def _whole() -> Catalogue:
    types = Registry()
    types.add(declared(Placed, version=2, key="order_id"))
    upcasts = Upcasters(types)
    upcasts.add(Upcaster("orders.placed", 1, dict, (("orders.placed", 2),)))
    return catalogued(
        declared(Placed, version=2, key="order_id"), declared(Line, "orders.added", kind="command"), upcasts=upcasts
    )


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(_whole().document())
    assert read_catalogue(file) == _whole()


def test_the_same_is_written_as_the_same() -> None:
    document = _whole().document()
    assert document == _whole().document()
    assert document.endswith(b"}\n")
    plain = json.loads(document)
    assert json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n" == document.decode()
    one, other = declared(Placed), declared(Line, "orders.added")
    assert catalogued(one, other).document() == catalogued(other, one).document()
    first, second = Service("a"), Service("b")
    assert catalogued(one, services=(first, second)).document() == catalogued(one, services=(second, first)).document()


def test_a_service_has_its_own_messages_alone() -> None:
    whole = catalogued(declared(Placed), declared(Placed, "billing.paid"), services=(Service("orders"),))
    assert set(whole.services["orders"].messages) == {("orders.placed", 1)}


def test_a_schema_is_whole_in_itself() -> None:
    schema = message_schema(declared(Placed))
    assert schema["$schema"] == DIALECT
    assert schema["$ref"] == "#/$defs/Placed"
    assert schema["$defs"]["Line"]["properties"]["at"] == {"type": "string", "format": "iso-date-time"}


def test_dates_are_told_from_texts_wherever_they_are() -> None:
    schema = message_schema(declared(Paid))["$defs"]
    moment = {"type": "string", "format": "iso-date-time"}
    assert schema["Card"]["properties"]["until"] == moment
    assert schema["Cash"]["properties"]["at"]["anyOf"] == [moment, {"type": "null"}]
    assert schema["Paid"]["properties"]["times"]["propertyNames"] == {"format": "iso-date-time"}
    assert schema["Paid"]["properties"]["times"]["additionalProperties"]["items"] == moment
    assert schema["Paid"]["properties"]["first"]["prefixItems"] == [moment, {"type": "integer"}]


def test_no_catalogue_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="freehold schema write"):
        read_catalogue(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 2, "services": {}}', b"\xff", b'{"services": {}}']
)
def test_another_file_is_no_catalogue(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError):
        read_catalogue(file)
