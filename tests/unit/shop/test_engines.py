"""The choice of an engine for a service: its option, its refusals, and that a shop keeps it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from freehold.errors import ConfigurationError
from freehold_shop.cli.run import run
from freehold_shop.replay.session import Wanted, replay
from freehold_shop.supervisor.__main__ import main
from freehold_shop.supervisor.plan import SERVICE_NAMES, Engine, Plan, Profile, parse_engines
from freehold_shop.supervisor.servers import ServersInfrastructure
from freehold_shop.supervisor.state import STATE_FILE, chosen_engines, write_engines

SERVICES = ["orders", "users"]


def test_engines_are_given_by_service() -> None:
    assert parse_engines(["orders=mariadb", "users=postgresql"]) == {"orders": "mariadb", "users": "postgresql"}
    assert parse_engines(["orders=mariadb", "orders=mariadb"]) == {"orders": "mariadb"}


def test_all_is_for_the_services_that_are_not_named() -> None:
    engines = parse_engines(["all=mariadb", "users=postgresql"])
    assert engines.pop("users") == "postgresql"
    assert engines == dict.fromkeys(set(SERVICE_NAMES) - {"users", "gateway"}, "mariadb")
    assert Plan(Path("shop"), profile=Profile.SERVERS, engines=engines).engines == engines


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["orders"], "is not SERVICE=ENGINE"),
        (["=mariadb"], "is not SERVICE=ENGINE"),
        (["orders=oracle"], "there is no engine 'oracle'.*postgresql, mariadb"),
        (["orders=MariaDB"], "there is no engine 'MariaDB'"),
        (["orders=mariadb", "orders=postgresql"], "two engines are chosen for orders"),
    ],
)
def test_other_texts_are_refused(texts: list[str], reason: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_engines(texts)
    assert raised.match(reason)


@pytest.mark.parametrize(
    ("engines", "profile", "reason"),
    [
        ({"billing": Engine.MARIADB}, Profile.SERVERS, "there is no service 'billing'"),
        ({"gateway": Engine.MARIADB}, Profile.SERVERS, "the gateway has no database"),
        ({"orders": Engine.MARIADB}, Profile.EMBEDDED, "the embedded profile has SQLite files only"),
        ({"orders": Engine.POSTGRESQL}, Profile.EMBEDDED, "the embedded profile has SQLite files only"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(
    engines: dict[str, Engine], profile: Profile, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Plan(tmp_path, profile=profile, engines=engines)
    assert Plan(tmp_path, profile=Profile.SERVERS, engines={"orders": Engine.MARIADB}).engines == {"orders": "mariadb"}


def test_every_way_to_start_a_shop_refuses_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "shop"
    arguments = ["--state", str(state), "--engine", "orders=mariadb"]
    assert main(arguments) == 2
    assert "the embedded profile has SQLite files only" in capsys.readouterr().err
    raised = CliRunner().invoke(run, arguments).exception
    assert isinstance(raised, ConfigurationError)
    with pytest.raises(ConfigurationError, match="the embedded profile"):
        asyncio.run(replay(Wanted([], state, engines={"orders": Engine.MARIADB})))
    assert not (state / "logs").exists()


def test_a_service_stays_on_the_engine_of_its_data(tmp_path: Path) -> None:
    assert chosen_engines(tmp_path, SERVICES, {"orders": Engine.MARIADB}) == {
        "orders": "mariadb",
        "users": "postgresql",
    }
    # Nothing is recorded before the databases exist.
    assert chosen_engines(tmp_path, SERVICES, {}) == {"orders": "postgresql", "users": "postgresql"}
    write_engines(tmp_path, {"orders": Engine.MARIADB, "users": Engine.POSTGRESQL})
    assert chosen_engines(tmp_path, SERVICES, {}) == {"orders": "mariadb", "users": "postgresql"}
    assert chosen_engines(tmp_path, SERVICES, {"orders": Engine.MARIADB})["orders"] == "mariadb"
    with pytest.raises(ConfigurationError, match=r"the data of orders in .* are on mariadb, not on postgresql"):
        chosen_engines(tmp_path, SERVICES, {"orders": Engine.POSTGRESQL})


def test_the_engine_is_kept_of_a_service_whose_database_the_settings_name_for_a_time(tmp_path: Path) -> None:
    write_engines(tmp_path, {"orders": Engine.MARIADB})
    write_engines(tmp_path, {"users": Engine.POSTGRESQL})
    assert chosen_engines(tmp_path, SERVICES, {})["orders"] == "mariadb"


def test_a_directory_from_before_the_choice_has_its_data_on_postgresql(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / STATE_FILE).write_text("{}")
    with pytest.raises(ConfigurationError, match="are on postgresql, not on mariadb"):
        chosen_engines(tmp_path, SERVICES, {"orders": Engine.MARIADB})


def test_an_engine_for_a_database_that_the_settings_name_is_refused(tmp_path: Path) -> None:
    environ = {"FREEHOLD_ORDERS_DATABASE": "postgresql://somewhere/orders"}
    infrastructure = ServersInfrastructure(tmp_path, environ, engines={"orders": Engine.MARIADB})
    with pytest.raises(ConfigurationError, match="the settings name a database of orders already"):
        infrastructure.prepare(SERVICES)
    assert infrastructure.pids() == {}
