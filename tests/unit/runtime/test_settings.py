"""Settings: where they come from, which wins, and errors that tell the place and never the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold import ConfigurationError, Inbox, Outbox, Settings
from freehold.broker import BrokerFeatures
from freehold.database import DatabaseOptions
from freehold.inbox.pattern import check_windows
from freehold.settings import configured_services, project_modules, settings_file


def _file(directory: Path, text: str) -> Path:
    path = directory / "freehold.toml"
    path.write_text(text)
    return path


def test_without_anything_a_service_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load("orders", environ={})
    assert settings.database == "sqlite:///./.freehold/data/orders.db"
    assert settings.broker == "embedded:///./.freehold/data/broker.db"


def test_the_environment_wins_over_the_service_and_that_over_the_defaults(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        """
        broker = "nats://one"
        [defaults]
        workers = 2
        batch_limit = 10
        handler_timeout_seconds = 5
        [defaults.database_options]
        pool_size = 3
        lock_timeout_seconds = 1
        [services.order-desk]
        batch_limit = 20
        database = "postgresql://two"
        """,
    )
    environ = {
        "FREEHOLD_ORDER_DESK_BATCH_LIMIT": "30",
        "FREEHOLD_ORDER_DESK_DATABASE_OPTIONS_POOL_SIZE": "9",
        "FREEHOLD_ORDER_DESK_MIGRATE_ON_START": "false",
        "FREEHOLD_BROKER": "nats://three",
        "FREEHOLD_BROKER_PREFIX": "p",
        "FREEHOLD_ORDER_DESK_ARCHIVE_DATABASE": "another service's",
    }
    settings = Settings.load("order-desk", environ=environ, file=path)
    assert (settings.workers, settings.batch_limit, settings.handler_timeout_seconds) == (2, 30, 5.0)
    assert (settings.database_options.pool_size, settings.database_options.lock_timeout_seconds) == (9, 1.0)
    assert (settings.database, settings.broker) == ("postgresql://two", "nats://three")
    assert settings.broker_options.prefix == "p"
    assert not settings.migrate_on_start


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workers = 2", "unknown key 'workers'"),
        ("[services.orders]\ndatabse = 's3cret'", "unknown setting 'databse'"),
        ("[services.orders]\nworkers = 's3cret'", "'workers' must be a number"),
        ("[services.orders]\ndatabase = 5", "'database' must be str"),
        ("[services.orders]\nworkers = 0", "'workers' must be between 1 and 1024"),
        ("[defaults]\npoll_seconds = nan", "'poll_seconds' must be between"),
        ("[defaults]\nworkers = true", "'workers' must be a whole number"),
        ("[services.orders]\ndatabase = ''", "'database' is empty"),
        ("[defaults]\nservice = 's3cret'", "unknown setting 'service'"),
        ("[defaults.database_options]\npool_sise = 3", "did you mean 'pool_size'?"),
        ("[peers]\nusers = ''", "peers.users must be a URL"),
        ("[services.orders]\nbroker_options = 's3cret'", "broker_options of service 'orders' must be a table"),
        ("services = 's3cret'", "services must be a table"),
        ("not toml s3cret", "cannot be read"),
    ],
)
def test_an_error_names_the_place_and_not_the_value(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load("orders", environ={}, file=_file(tmp_path, text))
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_urls_are_not_shown() -> None:
    settings = Settings.load("orders", environ={"FREEHOLD_ORDERS_DATABASE": "postgresql://u:s3cret@h/d"})
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"dedup_window_seconds": 3600.0},
        {"dead_letter_replay_window_seconds": 1e9},
        {"outbox_sent_retention_seconds": 1e9},
    ],
)
def test_receipts_that_do_not_outlive_messages_are_refused(changes: dict[str, Any]) -> None:
    features = BrokerFeatures(
        "test",
        emulation=True,
        durable=True,
        several_processes=True,
        confirm_survives="process-kill",
        message_bytes_max=1,
        redelivery_horizon_seconds=7200.0,
    )
    check_windows(Settings.load("orders", environ={}), features)
    with pytest.raises(ConfigurationError, match="dedup_window_seconds"):
        check_windows(Settings.load("orders", environ={}, **changes), features)


def test_a_project_names_the_modules_that_declare_its_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert project_modules(environ={}) == []
    assert project_modules(file=_file(tmp_path, "[project]\nmodules = ['shop.orders']")) == ["shop.orders"]
    with pytest.raises(ConfigurationError, match=r"project\.modules must be a list"):
        project_modules(file=_file(tmp_path, "[project]\nmodules = 's3cret'"))


@pytest.mark.parametrize("named", ["", " ", "/nope/freehold.toml"])
def test_a_settings_file_that_is_named_must_be_there(tmp_path: Path, named: str) -> None:
    environ = {"FREEHOLD_SETTINGS": named}
    for read in (
        lambda: Settings.load("orders", environ=environ),
        lambda: project_modules(environ=environ),
        lambda: configured_services(environ=environ),
        lambda: settings_file(environ),
        lambda: Settings.load("orders", environ={}, file=tmp_path / "none.toml"),
    ):
        with pytest.raises(ConfigurationError, match=r"FREEHOLD_SETTINGS is empty|which does not exist"):
            read()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"workers": 0}, "'workers' must be between 1 and 1024"),
    ({"workers": True}, "'workers' must be a whole number"),
    ({"workers": 1.5}, "'workers' must be a whole number"),
    ({"batch_limit": 0}, "'batch_limit' must be between"),
    ({"crash_attempts_max": -1}, "'crash_attempts_max' must be between"),
    ({"poll_seconds": 0}, "'poll_seconds' must be between"),
    ({"lease_seconds": float("nan")}, "'lease_seconds' must be between"),
    ({"drain_seconds": float("inf")}, "'drain_seconds' must be between"),
    ({"drain_seconds": -1}, "'drain_seconds' must be between"),
    ({"handler_timeout_seconds": 10**400}, "'handler_timeout_seconds' must be between"),
    ({"handler_timeout_seconds": True}, "'handler_timeout_seconds' must be a number"),
    ({"dedup_window_seconds": None}, "'dedup_window_seconds' must be a number, and is NoneType"),
    ({"migrate_on_start": 1}, "'migrate_on_start' must be bool, and is int"),
    ({"database": ""}, "'database' is empty"),
    ({"database": "postgresql://h/s3cret\n"}, "'database' holds a control character"),
    ({"broker": b"s3cret"}, "'broker' must be str, and is bytes"),
    ({"database_options": {"pool_size": -1}}, "'pool_size' must be between 1 and 10000"),
    ({"database_options": {"statement_timeout_seconds": 0.0001}}, "'statement_timeout_seconds' must be between"),
    ({"database_options": "s3cret"}, "database_options of service 'orders' must be a table"),
    ({"database_options": {"pool_sise": 3}}, "did you mean 'pool_size'?"),
    ({"database_options": {3: 3}}, "unknown setting '3'"),
    ({"broker_options": {"partitions": 0}}, "'partitions' must be between 1 and 1024"),
    ({"broker_options": {"prefix": " "}}, "'prefix' is empty"),
    ({"peers": {"users": 5}}, "peers.users must be a URL"),
]
"""Values that no source may give."""


@pytest.mark.parametrize(("values", "told"), WRONG)
@pytest.mark.parametrize(
    "made",
    [
        lambda values: Settings.load("orders", environ={}, **values),
        lambda values: Settings(**{"service": "orders", "database": "memory://", "broker": "memory://", **values}),
        lambda values: Outbox("orders", **{"database": "memory://", "broker": "memory://", **values}),
        lambda values: replace(Settings.load("orders", environ={}), **values),
    ],
    ids=["load", "Settings", "Outbox", "replace"],
)
def test_the_same_checks_hold_for_keyword_arguments(
    made: Callable[[dict[str, Any]], object], values: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(values)
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("killed_attempts_max", "crash_attempts_max"),
        ("replay_horizon_seconds", "dead_letter_replay_window_seconds"),
        ("upgrade", "migrate_on_start"),
    ],
)
def test_a_former_name_is_refused_with_the_new_one(former: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "freehold.toml"
    file.write_text(f"[defaults]\n{former} = 1\n")
    variable = f"FREEHOLD_ORDERS_{former.upper()}"
    given: dict[str, Any] = {former: 1}
    with pytest.raises(ConfigurationError, match=f"'FREEHOLD_ORDERS_{name.upper()}'"):
        Settings.load("orders", environ={variable: "1"})
    with pytest.raises(ConfigurationError, match=f"'{name}'"):
        Settings.load("orders", environ={}, file=file)
    with pytest.raises(ConfigurationError, match=f"'{name}'"):
        Settings.load("orders", environ={}, **given)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("FREEHOLD_ORDERS_WORKERS", "0", "'workers' must be between"),
        ("FREEHOLD_ORDERS_WORKERS", "many", "'workers' must be a number"),
        ("FREEHOLD_ORDERS_POLL_SECONDS", "nan", "'poll_seconds' must be between"),
        ("FREEHOLD_ORDERS_POLL_SECONDS", "inf", "'poll_seconds' must be between"),
        ("FREEHOLD_ORDERS_MIGRATE_ON_START", "perhaps", "'migrate_on_start' must be true or false"),
        ("FREEHOLD_ORDERS_DATABASE_OPTIONS_POOL_SIZE", "-3", "'pool_size' must be between"),
        ("FREEHOLD_ORDERS_DATABASE", "", "FREEHOLD_ORDERS_DATABASE is empty"),
        ("FREEHOLD_BROKER", " ", "FREEHOLD_BROKER is empty"),
        ("FREEHOLD_BROKER_PREFIX", "", "FREEHOLD_BROKER_PREFIX is empty"),
        ("FREEHOLD_PEERS_USERS", "", "FREEHOLD_PEERS_USERS is empty"),
    ],
)
def test_the_same_checks_hold_for_the_environment(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load("orders", environ={name: value})
    assert told in str(caught.value)


def test_an_unknown_keyword_is_told_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown setting 'databse'.*did you mean 'database'"):
        Settings.load("orders", environ={}, databse="sqlite:///s3cret")
    with pytest.raises(ConfigurationError, match=r"belongs to database_options: database_options=\{'pool_size'"):
        Outbox("orders", "memory://", "memory://", pool_size=3)


def test_options_as_a_dict_are_taken_beside_those_of_the_environment() -> None:
    environ = {"FREEHOLD_ORDERS_DATABASE_OPTIONS_POOL_SIZE": "3", "FREEHOLD_ORDERS_DATABASE_OPTIONS_PARTITIONS": "4"}
    settings = Settings.load("orders", environ=environ, database_options={"pool_size": 5, "pool_timeout_seconds": 1})
    assert settings.database_options == DatabaseOptions(pool_size=5, pool_timeout_seconds=1.0, partitions=4)
    complete = Settings.load("orders", environ=environ, database_options=DatabaseOptions(pool_size=5))
    assert complete.database_options == DatabaseOptions(pool_size=5)
    direct = Settings("orders", "memory://", "memory://", database_options={"pool_size": 5})  # type: ignore[arg-type] # a dict is what the test gives
    assert direct.database_options == DatabaseOptions(pool_size=5)


async def test_a_dict_of_options_opens_an_outbox_and_an_inbox() -> None:
    async with Outbox("orders", "memory://", "memory://", database_options={"pool_size": 3}):
        pass
    async with Inbox("orders", "memory://", options={"pool_size": 3}):
        pass
    with pytest.raises(ConfigurationError, match="'pool_size' must be between"):
        Inbox("orders", "memory://", options={"pool_size": 0})
    with pytest.raises(ConfigurationError, match="database_options must be a table"):
        Inbox("orders", "memory://", options="s3cret")  # type: ignore[arg-type] # a wrong type is what the test gives
    with pytest.raises(ConfigurationError, match="a URL must be str"):
        Inbox("orders", None)  # type: ignore[arg-type] # as above
