"""What a PostgreSQL URL may say, as managed providers give it; what cannot be met is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.adapters.postgres.url import parse_url
from freehold.errors import ConfigurationError
from freehold.runtime.adapters import open_stores


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgres+asyncpg", "POSTGRES"]
)
def test_every_spelling_of_the_scheme_is_taken(scheme: str) -> None:
    url = f"{scheme}://ada:secret@db.example:6543/orders"
    parsed = parse_url(url).url
    assert (parsed.drivername, parsed.username, parsed.password) == ("postgresql+asyncpg", "ada", "secret")
    assert (parsed.host, parsed.port, parsed.database) == ("db.example", 6543, "orders")
    assert open_stores(url).database.features.technology == "PostgreSQL"


def test_a_driver_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="driver"):
        open_stores("postgresql+pymysql://host/db")


def test_what_providers_give_is_taken(tmp_path: Path) -> None:
    certificate = tmp_path / "root ca.crt"
    certificate.write_text("")
    parsed = parse_url(
        "postgres://u:p@h/db?sslmode=verify-full&channel_binding=prefer&connect_timeout=7&target_session_attrs=read-write"
        f"&options=-c%20work_mem%3D64MB&sslrootcert={certificate}&application_name=orders&gssencmode=prefer"
    )
    assert parsed.connect_timeout_seconds == 7.0
    assert parsed.arguments["ssl"] == "verify-full"
    assert "root+ca.crt" in parsed.arguments["dsn"]
    assert parsed.arguments["target_session_attrs"] == "read-write"
    assert parsed.arguments["server_settings"] == {"application_name": "orders", "options": "-c work_mem=64MB"}
    assert not parsed.proxied


def test_nothing_of_a_password_is_told() -> None:
    assert parse_url("postgresql://u:hunter?two=&3@h/db").url.password == "hunter?two=&3"
    with pytest.raises(ConfigurationError) as caught:
        parse_url("postgresql://u:hunter?two=&3@h/db?sslmode=hunter2")
    assert "hunter" not in str(caught.value)
    assert "two" not in str(caught.value)


def test_the_address_may_stand_in_parameters() -> None:
    parsed = parse_url("postgresql:///?host=/run/postgresql&port=6543&user=ada&password=x&dbname=orders").url
    assert (parsed.host, parsed.port, parsed.username, parsed.database) == ("/run/postgresql", 6543, "ada", "orders")


@pytest.mark.parametrize("name", ["statement_cache_size", "prepared_statement_cache_size"])
def test_a_proxy_is_told_by_either_name(name: str) -> None:
    parsed = parse_url(f"postgresql://h/db?{name}=0")
    assert parsed.proxied
    assert parsed.arguments["statement_cache_size"] == 0
    assert parsed.arguments["prepared_statement_name_func"]() == ""


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("channel_binding=require", "channel_binding"),
        ("target_session_attrs=standby", "target_session_attrs"),
        ("sslmode=verifyfull", "sslmode"),
        ("sslrootcert=/nowhere/ca.crt", "sslrootcert"),
        ("connect_timeout=0", "connect_timeout"),
        ("connect_timeout=soon", "connect_timeout"),
        ("port=x", "port"),
        ("options=x", "options"),
        ("schema=Orders", "schema"),
        ("schema=pg_orders", "schema"),
        ("schema=information_schema", "schema"),
        ("schema=a%3Bb", "schema"),
        ("schema=", "schema"),
        (f"schema={'a' * 64}", "schema"),
        ("statement_cache_size=many", "statement_cache_size"),
        ("pgbouncer=true", "pgbouncer"),
        ("host=a,b", "hosts"),
    ],
)
def test_what_cannot_be_met_is_refused_by_its_name(parameter: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        parse_url(f"postgresql://u:secret@h/db?{parameter}")
    assert "secret" not in str(caught.value)
    assert caught.value.hint
