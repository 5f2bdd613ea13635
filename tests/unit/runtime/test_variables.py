"""Names that nothing reads are told with the nearest one, and the names of other processes' services are not."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest

from freehold import RunningService, Runtime, Service, Settings
from freehold.redaction import shown_url
from freehold.variables import unread_names


def _told(names: Iterable[str], *services: str) -> dict[str, str]:
    return {each.name: each.nearest for each in unread_names(services, dict.fromkeys(names, "s3cret"))}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FREEHOLD_ODERS_DATABASE", "FREEHOLD_ORDERS_DATABASE"),
        ("FREEHOLD_ODERS_DATABASE_OPTIONS_POOL_SIZE", "FREEHOLD_ORDERS_DATABASE_OPTIONS_POOL_SIZE"),
        ("FREEHOLD_ORDERS_DATABSE", "FREEHOLD_ORDERS_DATABASE"),
        ("FREEHOLD_ORDERS_DATABASE_URL", "FREEHOLD_ORDERS_DATABASE"),
        ("FREEHOLD_ORDERS_DATABASE_OPTIONS_POOLSIZE", "FREEHOLD_ORDERS_DATABASE_OPTIONS_POOL_SIZE"),
        ("FREEHOLD_ORDERS_ARCHIVE_DATABSE", "FREEHOLD_ORDERS_ARCHIVE_DATABASE"),
        ("FREEHOLD_ODERS_DATABSE", "FREEHOLD_ORDERS_DATABASE"),
        ("FREEHOLD_ORDER_ARCHIVE_WORKERS", "FREEHOLD_ORDERS_ARCHIVE_WORKERS"),
        ("FREEHOLD_BROKR", "FREEHOLD_BROKER"),
        ("FREEHOLD_BROKER_PREFX", "FREEHOLD_BROKER_PREFIX"),
        ("FREEHOLD_SETINGS", "FREEHOLD_SETTINGS"),
        ("FREEHOLD_WHATEVER", ""),
        ("FREEHOLD_PEERS_", ""),
        ("FREEHOLD_DATABASE", ""),
    ],
)
def test_a_name_that_nothing_reads_is_told_with_the_nearest(name: str, meant: str) -> None:
    found = _told([name], "orders", "orders-archive")
    assert list(found) == [name]
    assert found[name] == meant or not meant


@pytest.mark.parametrize(
    "name",
    [
        "FREEHOLD_ORDERS_DATABASE",
        "FREEHOLD_ORDERS_ARCHIVE_DATABASE",
        "FREEHOLD_ORDERS_BROKER_OPTIONS_LEASE_SECONDS",
        "FREEHOLD_BILLING_DATABASE",
        "FREEHOLD_BILLING_DATABASE_OPTIONS_POOL_SIZE",
        "FREEHOLD_USERS_WORKERS",
        "FREEHOLD_PEERS_USERS",
        "FREEHOLD_BROKER",
        "FREEHOLD_BROKER_PREFIX",
        "FREEHOLD_APP",
        "FREEHOLD_SETTINGS",
        "FREEHOLD_TEST_POSTGRES",
        "ODERS_DATABASE",
    ],
)
def test_what_is_read_here_or_belongs_to_another_process_is_not_told(name: str) -> None:
    assert _told([name], "orders", "orders-archive") == {}


def test_a_service_that_is_nearly_ours_is_another_one_where_ours_has_the_same() -> None:
    assert _told(["FREEHOLD_ORDER_DATABASE", "FREEHOLD_ORDERS_DATABASE"], "orders") == {}
    assert _told(["FREEHOLD_ORDER_WORKERS", "FREEHOLD_ORDERS_DATABASE"], "orders") == {
        "FREEHOLD_ORDER_WORKERS": "FREEHOLD_ORDERS_WORKERS"
    }


def test_a_table_that_is_nearly_ours_is_told_and_makes_a_service_known(tmp_path: Path) -> None:
    file = tmp_path / "freehold.toml"
    environ = {"FREEHOLD_SETTINGS": str(file)}
    file.write_text("[services.oders]\nworkers = 1\n[services.billing]\nworkers = 1")
    assert [(each.name, each.nearest) for each in unread_names(["orders"], environ)] == [
        ("[services.oders]", "[services.orders]")
    ]
    file.write_text("[services.order]\nworkers = 1\n[services.orders]\nworkers = 1")
    assert unread_names(["orders"], environ | {"FREEHOLD_ORDER_WORKERS": "2"}) == []


def test_nothing_is_like_a_service_where_none_is_known() -> None:
    assert _told(["FREEHOLD_ODERS_DATABASE"]) == {}


def _settings(name: str, directory: Path) -> Settings:
    return Settings.load(name, environ={}, database="memory://", broker=f"memory://{directory.name}")


async def test_a_start_tells_databases_and_misspelt_names_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEHOLD_ODERS_DATABASE", "postgresql://u:s3cret@h/d")
    monkeypatch.setenv("FREEHOLD_BILLING_DATABASE", "postgresql://u:s3cret@h/d")
    caplog.set_level(logging.INFO, "freehold")
    settings = {name: _settings(name, tmp_path) for name in ("orders", "stock")}
    async with Runtime(Service("orders"), Service("stock"), settings=settings, roles=[]):
        pass
    told = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "freehold.runtime"]
    assert [text for level, text in told if level == "WARNING"] == [
        "nothing reads FREEHOLD_ODERS_DATABASE: is FREEHOLD_ORDERS_DATABASE meant?"
    ]
    assert [text.partition(",")[0] for level, text in told if level == "INFO"] == [
        "event loop: asyncio",
        "orders: database memory://",
        "stock: database memory://",
    ]
    assert "s3cret" not in caplog.text


async def test_a_default_database_is_told_as_such(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".freehold/data").mkdir(parents=True)
    caplog.set_level(logging.INFO, "freehold.runtime")
    async with RunningService(Service("orders"), Settings.load("orders", environ={}), roles=[]):
        pass
    assert "orders: database sqlite:///./.freehold/data/orders.db (the default: no setting names one), broker" in (
        caplog.text
    )


async def test_a_default_database_beside_settings_of_another_name_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However unlike the names are: `order-service` in the settings, `orders` in the code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".freehold/data").mkdir(parents=True)
    monkeypatch.setenv("FREEHOLD_ORDER_SERVICE_DATABASE", "postgresql://u:s3cret@h/d")
    monkeypatch.setenv("FREEHOLD_STOCK_DATABASE", "memory://")
    async with Runtime(Service("orders"), Service("stock"), roles=[]):
        pass
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        "orders: no setting names its database, so it uses the local file; there are settings for order-service"
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://orders:s3cret@h:5432/d?sslmode=require", "postgresql://orders:***@h:5432/d?sslmode=require"),
        ("postgresql://orders@h/d", "postgresql://orders@h/d"),
        ("postgresql://orders:s3c/r@e?t@h/d", "postgresql://orders:***@h/d"),
        ("postgresql://h/d?password=s3cret&sslmode=require", "postgresql://h/d?password=***&sslmode=require"),
        ("postgresql://h/d?password=s3cret@x", "postgresql://***@x"),
        ("postgres://u:s3cret@h/d", "postgres://u:***@h/d"),
        ("nats://s3cret@h:4222", "nats://***@h:4222"),
        ("nats://u:s3cret@h1:4222,nats://u:s3cret@h2:4222", "nats://***@h2:4222"),
        ("nats://h1:4222,h2:4222", "nats://h1:4222,h2:4222"),
        ("sqlite:////data/a@b.db?synchronous=normal", "sqlite:////data/a@b.db?synchronous=normal"),
        ("s3cret", "***"),
        ("s3cret:x@h://d", "***"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown
