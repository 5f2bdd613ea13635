"""Settings: where they come from, which wins, and errors that tell the place and never the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold import ConfigurationError, Settings
from freehold.broker import BrokerFeatures
from freehold.runtime.checks import check_windows
from freehold.settings import project_modules


def _file(directory: Path, text: str) -> Path:
    path = directory / "freehold.toml"
    path.write_text(text)
    return path


def test_without_anything_a_service_is_embedded(tmp_path: Path) -> None:
    settings = Settings.load("orders", environ={}, file=tmp_path / "none.toml")
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
        "FREEHOLD_ORDER_DESK_UPGRADE": "false",
        "FREEHOLD_BROKER": "nats://three",
        "FREEHOLD_BROKER_PREFIX": "p",
        "FREEHOLD_ORDER_DESK_ARCHIVE_DATABASE": "another service's",
    }
    settings = Settings.load("order-desk", environ=environ, file=path)
    assert (settings.workers, settings.batch_limit, settings.handler_timeout_seconds) == (2, 30, 5.0)
    assert (settings.database_options.pool_size, settings.database_options.lock_timeout_seconds) == (9, 1.0)
    assert (settings.database, settings.broker) == ("postgresql://two", "nats://three")
    assert settings.broker_options.prefix == "p"
    assert not settings.upgrade


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workers = 2", "unknown key 'workers'"),
        ("[services.orders]\ndatabse = 's3cret'", "unknown setting 'databse'"),
        ("[services.orders]\nworkers = 's3cret'", "'workers' must be a number"),
        ("[services.orders]\ndatabase = 5", "'database' must be str"),
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


@pytest.mark.parametrize("changes", [{"dedup_window_seconds": 3600.0}, {"replay_horizon_seconds": 1e9}])
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


def test_a_project_names_the_modules_that_declare_its_services(tmp_path: Path) -> None:
    assert project_modules(file=tmp_path / "none.toml") == []
    assert project_modules(file=_file(tmp_path, "[project]\nmodules = ['shop.orders']")) == ["shop.orders"]
    with pytest.raises(ConfigurationError, match=r"project\.modules must be a list"):
        project_modules(file=_file(tmp_path, "[project]\nmodules = 's3cret'"))
