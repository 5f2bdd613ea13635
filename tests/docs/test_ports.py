"""Each port says in its protocol what it is, and what every implementation keeps.

A port is found by the module that defines its key, so that no list has to be kept here.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any, Final

import pytest
from tests.docs.blocks import ROOT

from freehold.broker import Batch, Broker, Consumer
from freehold.database import Database, DatabaseTransaction
from freehold.ports import Port
from freehold.sql import SqlConnection

_SOURCES: Final = ROOT / "src"
_POINTS_MIN: Final = 3
_KEY: Final = re.compile(r"^[A-Z_]+: Final\[Port\[", re.MULTILINE)
_POINT: Final = re.compile(r"^(\d+)\. \S", re.MULTILINE)
_WITHOUT_A_KEY: Final[tuple[type[Any], ...]] = (
    Database,
    DatabaseTransaction,
    SqlConnection,
    Broker,
    Consumer,
    Batch,
)


def _ports() -> list[Port[Any]]:
    """Every key that a module of the library defines."""
    found = dict[str, Port[Any]]()
    for path in sorted((_SOURCES / "freehold").rglob("*.py")):
        if _KEY.search(path.read_text(encoding="utf-8")):
            module = importlib.import_module(".".join(path.relative_to(_SOURCES).with_suffix("").parts))
            found |= {value.name: value for value in vars(module).values() if isinstance(value, Port)}
    return list(found.values())


_PORTS: Final = _ports()
PROTOCOLS: Final = [*(port.protocol for port in _PORTS), *_WITHOUT_A_KEY]


def test_the_keys_of_ports_are_found() -> None:
    """Or the tests below would say nothing."""
    assert {"outbox", "events", "checkpoints", "sql"} <= {port.name for port in _PORTS}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
def test_a_port_says_what_it_is(protocol: type[Any]) -> None:
    first, *_ = _docstring(protocol).splitlines()
    assert first.endswith(".")
    assert not first.startswith("Where")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
def test_a_port_says_what_an_implementation_keeps(protocol: type[Any]) -> None:
    _, said, points = _docstring(protocol).partition("\nAn implementation keeps:\n")
    assert said
    numbers = [int(number) for number in _POINT.findall(points)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= _POINTS_MIN


def _docstring(protocol: type[Any]) -> str:
    """Its own, not one that it inherits."""
    return inspect.cleandoc(vars(protocol).get("__doc__") or "-")
