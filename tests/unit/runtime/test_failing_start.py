"""What keeps services from starting is one error that names each of them, and one line of the command line."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from tests.unit.runtime.trial import settings_for

from freehold import ConfigurationError, RunningService, Runtime, Service
from freehold.cli import run_command_line
from freehold.errors import DatabaseError, FreeholdError, MissingDriver, Unavailable, joined

NOBODY = "postgresql://nobody:secret@127.0.0.1:1/none"


async def test_a_service_that_cannot_start_is_named() -> None:
    with pytest.raises(Unavailable) as caught:
        async with RunningService(Service("orders"), settings_for("orders", database=NOBODY)):
            pass
    assert caught.value.message == "orders: the database cannot be reached: connection refused"
    assert caught.value.__cause__ is not None


async def test_several_that_cannot_start_are_one_error_that_names_each(tmp_path: Path) -> None:
    services = [Service(name) for name in ("orders", "payments", "stock")]
    settings = {name: settings_for(name, database=NOBODY) for name in ("orders", "payments")}
    settings["stock"] = settings_for("stock", database=f"sqlite:///{tmp_path}/stock.db")
    with pytest.raises(Unavailable) as caught:
        async with Runtime(*services, settings=settings):
            pass
    assert caught.value.message == (
        "orders: the database cannot be reached: connection refused;"
        " payments: the database cannot be reached: connection refused"
    )


async def test_what_does_not_pass_by_itself_decides(tmp_path: Path) -> None:
    settings = {
        "orders": settings_for("orders", database=NOBODY),
        "stock": settings_for("stock", database=f"sqlite:///{tmp_path}/stock.db", migrate_on_start=False),
    }
    with pytest.raises(ConfigurationError) as caught:
        async with Runtime(Service("orders"), Service("stock"), settings=settings):
            pass
    assert "orders: the database cannot be reached" in caught.value.message
    assert "service 'stock': " in caught.value.message


def test_errors_of_any_kind_can_be_joined() -> None:
    one = Unavailable("orders: away", hint="wait")
    assert joined([one]) is one
    assert type(joined([one, Unavailable("stock: away", hint="wait")])) is Unavailable
    assert joined([one, one]).hint == "wait"
    assert type(joined([one, MissingDriver("asyncpg", extra="postgres")])) is ConfigurationError
    assert type(joined([one, DatabaseError("stock: refused")])) is DatabaseError
    assert type(joined([one, FreeholdError("stock: odd")])) is FreeholdError


def _failing(error: Exception) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_a_group_of_outages_is_one_line_and_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup(
        "several", [Unavailable("orders: away"), ExceptionGroup("more", [Unavailable("stock: full")])]
    )
    assert run_command_line(_failing(group), "trial", []) == 3
    assert capsys.readouterr().err == "error: orders: away; stock: full\n"


def test_a_bug_beside_an_outage_is_told_as_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("several", [Unavailable("orders: away"), KeyError("ada@example.org")])
    assert run_command_line(_failing(group), "trial", []) == 1
    assert "this should not happen" in capsys.readouterr().err
