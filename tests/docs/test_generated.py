"""What the docs say of tests, settings and commands is what there is."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from tests.docs import commands, engines, metrics
from tests.docs.blocks import ROOT
from tests.soak import page as soak

from freehold.broker import BrokerOptions
from freehold.database import DatabaseOptions
from freehold.runtime.adapters import database_engines
from freehold.saga.diagram import mermaid
from freehold.settings import Settings
from freehold_shop.orders.checkout import Checkout

REFERENCE = ROOT / "docs" / "reference"


def test_the_table_of_guarantees_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.guarantees"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_table_of_what_works_is_made_from_what_adapters_declare() -> None:
    assert engines.README.read_text(encoding="utf-8") == engines.page(), "python -m tests.docs.engines --write"


def test_the_table_of_what_works_leaves_out_no_port() -> None:
    assert {port for ports in database_engines().values() for port in ports} == engines.COVERED


@pytest.mark.parametrize("options", [Settings, DatabaseOptions, BrokerOptions])
def test_every_setting_is_in_the_reference_with_its_default(options: type) -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(options):
        default = field.default
        if field.name == "service" or default is dataclasses.MISSING:
            assert f"`{field.name}`" in page or field.name == "service"
            continue
        shown = _shown(default)
        assert f"| `{field.name}` | `{shown}` |" in page, field.name


def test_the_reference_of_commands_is_up_to_date() -> None:
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page(), "python -m tests.docs.commands --write"


def test_the_page_of_random_faults_is_made_from_the_results_that_are_kept() -> None:
    assert soak.PAGE.read_text(encoding="utf-8") == soak.page(), soak.COMMAND


def test_the_list_of_metrics_is_up_to_date() -> None:
    assert metrics.PAGE.read_text(encoding="utf-8") == metrics.page(), "python -m tests.docs.metrics --write"


def _shown(default: object) -> str:
    match default:
        case bool():
            return str(default).lower()
        case float() if default.is_integer():
            return str(int(default))
        case _:
            return str(default)


def test_every_page_is_in_the_navigation() -> None:
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        assert f'"{path.relative_to(ROOT / "docs")}"' in settings, path


def test_the_diagram_of_the_shops_checkout_is_up_to_date() -> None:
    assert mermaid(Checkout.definition()) in (ROOT / "docs" / "patterns" / "saga.md").read_text(encoding="utf-8")
