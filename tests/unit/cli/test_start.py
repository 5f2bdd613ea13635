"""Help comes at once: nothing heavy is imported for it, nor for a name of the package."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

import freehold
from freehold.cli.main import cli
from freehold.runtime.patterns import PATTERNS

HEAVY = ("sqlalchemy", "freehold.runtime", "msgspec", "rich", "asyncio")


def _imported(code: str) -> set[str]:
    finished = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, check=True)
    return {line.rpartition("|")[2].strip() for line in finished.stderr.decode().splitlines()}


def test_help_waits_for_nothing() -> None:
    code = "import sys; from freehold.cli.main import main\ntry:\n main(['--help'])\nexcept SystemExit: pass"
    assert _imported(code) & set(HEAVY) == set()


@pytest.mark.parametrize(
    "name", ["freehold.runtime", "freehold.deadletters.commands", "freehold.cli.run", "freehold.cli.doctor"]
)
def test_sqlalchemy_is_left_until_a_database_is_opened(name: str) -> None:
    assert "sqlalchemy" not in _imported(f"import {name}")


def test_a_public_name_is_imported_from_its_home() -> None:
    assert "freehold.runtime" not in _imported("from freehold import Retry, Service, event")
    assert freehold.Service.__module__ == "freehold.service"
    assert set(freehold.__all__) <= set(dir(freehold))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        freehold.Nonsense  # type: ignore[attr-defined] # noqa: B018 - that is the point


def test_every_command_is_listed_and_can_be_imported() -> None:
    context = cli.make_context("freehold", ["db"])
    for name in cli.list_commands(context):
        assert cli.get_command(context, name) is not None


def test_the_commands_of_patterns_are_those_that_they_declare() -> None:
    """The command line lists them by hand, so that help does not import every pattern."""
    context = cli.make_context("freehold", ["db"])
    declared = {name: place for pattern in PATTERNS for name, place in pattern.commands.items()}
    for name, place in declared.items():
        module, _, attribute = place.partition(":")
        assert cli.get_command(context, name) is getattr(importlib.import_module(module), attribute)
    places = {name: _module_of(cli.get_command(context, name)) for name in cli.list_commands(context)}
    listed = {name for name, module in places.items() if not module.startswith("freehold.cli.")}
    assert listed == declared.keys()


def _module_of(command: click.Command | None) -> str:
    assert command is not None
    return str(command.callback.__module__)
