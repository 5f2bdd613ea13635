"""What the docs say of tests, settings and commands is what there is."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import click
import pytest
from tests.docs.blocks import ROOT

from freehold.broker import BrokerOptions
from freehold.cli.main import cli as freehold_command
from freehold.database import DatabaseOptions
from freehold.settings import Settings
from freehold_shop.cli.main import cli as shop_command

REFERENCE = ROOT / "docs" / "reference"


def test_the_table_of_guarantees_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.guarantees"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


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


@pytest.mark.parametrize(("name", "command"), [("freehold", freehold_command), ("shop", shop_command)])
def test_every_command_and_option_is_in_the_reference(name: str, command: click.Group) -> None:
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    for path, each in _commands(name, command):
        assert f"`{path}" in page, path
        for parameter in each.params:
            if isinstance(parameter, click.Option) and "--help" not in parameter.opts:
                assert parameter.opts[-1] in page, f"{path} {parameter.opts[-1]}"


def _commands(path: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    found = [(f"{path} {name}", command.get_command(context, name)) for name in command.list_commands(context)]
    return [each for name, child in found if child is not None for each in _commands(name, child)]


def _shown(default: object) -> str:
    match default:
        case bool():
            return str(default).lower()
        case float() if default.is_integer():
            return str(int(default))
        case _:
            return str(default)
