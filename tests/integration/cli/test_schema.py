"""`freehold schema` on a project in a process of its own: its messages, and what happens when they change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.forking import ran
from tests.unit.cli.typing_in import Answer
from tests.unit.schema.test_asyncapi import check_structure

from freehold.schema.catalogue import read_catalogue

pytestmark = pytest.mark.timeout(240)

Run = Callable[..., Answer]
_MODULE = """
from freehold import Service, Transaction, command, event
from freehold.messages import upcaster

orders, billing = Service("orders"), Service("billing")

@event("orders.placed", version={version}, key="order_id")
class Placed:
    order_id: str
    {fields}

@command("orders.place", key="order_id")
class Place:
    order_id: str

@orders.handles(Place)
async def place(message: Place, tx: Transaction) -> None: ...

@billing.handles(Placed)
async def placed(message: Placed, tx: Transaction) -> None: ...

{more}
"""
_UPCASTER = """
@upcaster("orders.placed", from_version=1)
def in_pence(body):
    return {"order_id": body["order_id"], "pence": body["pence"], "currency": "GBP"}
"""


@pytest.fixture
def declare(tmp_path: Path) -> Callable[..., None]:
    def declare(fields: str = "pence: int", version: int = 1, more: str = "") -> None:
        text = _MODULE.format(version=version, fields=fields.replace("; ", "\n    "), more=more)
        (tmp_path / "project.py").write_text(text)

    declare()
    return declare


@pytest.fixture
def run(tmp_path: Path, declare: Callable[..., None]) -> Run:
    def run(*arguments: str) -> Answer:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FREEHOLD_")}
        code, out, err = ran(
            "freehold.cli.main", "--app", "project", "schema", *arguments, directory=tmp_path, environment=environment
        )
        assert "Traceback" not in err, err
        return Answer(code, out, err)

    return run


def test_without_a_catalogue_it_says_how_to_write_one(run: Run, tmp_path: Path) -> None:
    missing = run("check")
    assert (missing.code, missing.out) == (2, "")
    assert "hint:  freehold schema write schemas/events.json" in missing.err
    assert run("check", "--json").document["error"]["hint"] == "freehold schema write schemas/events.json"
    assert not (tmp_path / "schemas").exists()


def test_what_was_written_is_compatible_and_stays_the_same(run: Run, tmp_path: Path) -> None:
    assert run("write").out == "schemas/events.json: 2 messages of 2 services\n"
    file = tmp_path / "schemas" / "events.json"
    written = file.read_bytes()
    assert read_catalogue(file).services["billing"].understands == {"orders": {"orders.placed": frozenset({1})}}
    assert run("check").out == "2 messages are compatible with schemas/events.json (full)\n"
    again = run("write", "--json").document
    assert again == {"breaking": 0, "file": "schemas/events.json", "messages": 2, "services": ["billing", "orders"]}
    assert file.read_bytes() == written


def test_a_breaking_change_is_told_and_a_new_version_mends_it(
    run: Run, declare: Callable[..., None], tmp_path: Path
) -> None:
    assert run("write", "released.json").code == 0
    declare("pence: int; currency: str")
    broken = run("check", "--catalogue", "released.json")
    assert broken.code == 1
    assert broken.out == (
        "orders.placed version 1\n"
        "  $.currency: is required now, and was not written before\n"
        "    breaks: this code cannot read stored or sent messages of version 1\n"
        '    do:     give it a default, or declare version 2 and write @upcaster("orders.placed", from_version=1)\n'
        "\n"
        "1 breaking change since released.json (full compatibility)\n"
    )
    document = run("check", "--catalogue", "released.json", "--json").document
    assert [(each["path"], each["rule"]) for each in document["findings"]] == [("$.currency", "backward-required")]
    assert run("check", "--catalogue", "released.json", "--compatibility", "forward").code == 0

    declare("pence: int; currency: str", version=2)
    gone = run("check", "--catalogue", "released.json", "--json").document["findings"]
    assert [each["rule"] for each in gone] == ["vanished"]
    declare("pence: int; currency: str", version=2, more=_UPCASTER)
    mended = run("check", "--catalogue", "released.json")
    assert (mended.code, mended.err) == (
        0,
        "note: orders.placed version 2 is new: release billing before orders\n",
    )


def test_writing_over_what_it_breaks_with_says_so(run: Run, declare: Callable[..., None]) -> None:
    assert run("write").code == 0
    declare("pence: str")
    told = run("write", "--json")
    assert told.document["breaking"] == 2
    assert "2 breaking changes since the former file" in told.err
    assert run("check").code == 0


def test_a_wrong_file_and_a_wrong_declaration_are_wrong_input(
    run: Run, declare: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "other.json").write_text("{}")
    assert run("check", "--catalogue", "other.json").code == 2
    assert run("check", "--compatibility", "sideways").code == 2
    declare(more=_UPCASTER)
    lost = run("write")
    assert lost.code == 2
    assert "which is neither declared nor upcast" in lost.err


def test_a_service_is_described_to_others(run: Run, tmp_path: Path) -> None:
    shown = run("asyncapi", "orders")
    check_structure(shown.document)
    assert run("asyncapi", "orders", "--json").document == shown.document
    kept = run("asyncapi", "orders", "--output", "api/orders.json", "--version", "2.0")
    assert kept.out == "api/orders.json: AsyncAPI 3.0.0 of orders\n"
    kept_document: Any = json.loads((tmp_path / "api" / "orders.json").read_text())
    assert kept_document == {**shown.document, "info": {**shown.document["info"], "version": "2.0"}}
    unknown = run("asyncapi", "nobody")
    assert (unknown.code, unknown.out) == (2, "")
