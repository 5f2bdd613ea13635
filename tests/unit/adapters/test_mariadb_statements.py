"""A statement with `$1` and plain names becomes what asyncmy takes."""

from __future__ import annotations

import pytest

from freehold.adapters.mariadb.statements import joined, rendered
from freehold.adapters.mariadb.url import parse_url
from freehold.errors import ConfigurationError


def test_placeholders_have_names_and_percent_signs_stay() -> None:
    text, values = rendered("SELECT $2, $1, '$1 %' FROM thing WHERE n % $1 = 0", (7, "x"))
    assert (text, values) == (
        "SELECT %(p2)s, %(p1)s, '$1 %%' FROM thing WHERE n %% %(p1)s = 0",
        {"p1": 7, "p2": "x"},
    )
    assert values is not None
    assert text % {name: repr(value) for name, value in values.items()} == (
        "SELECT 'x', 7, '$1 %' FROM thing WHERE n % 7 = 0"
    )


def test_without_parameters_nothing_is_put_in() -> None:
    assert rendered("SELECT 1 % 2", ()) == ("SELECT 1 % 2", None)
    assert joined("SELECT 1 % 2", ()) == ("SELECT 1 %% 2", {})


def test_a_tuple_is_written_out_item_by_item() -> None:
    text, values = rendered("SELECT 1 WHERE $1 IN $2 AND 3 NOT IN $2", (5, ("a", "b")))
    assert text == "SELECT 1 WHERE %(p1)s IN (%(p2_0)s, %(p2_1)s) AND 3 NOT IN (%(p2_0)s, %(p2_1)s)"
    assert values == {"p1": 5, "p2_0": "a", "p2_1": "b"}


def test_reserved_names_are_quoted_in_statements_about_our_own_tables() -> None:
    text, _ = rendered("SELECT o.key, partition, 'key', `key` FROM freehold_outbox AS o -- key\nWHERE key = $1", ("k",))
    assert text == ("SELECT o.`key`, `partition`, 'key', `key` FROM freehold_outbox AS o -- key\nWHERE `key` = %(p1)s")
    assert rendered("CREATE TABLE thing (id int primary key)", ())[0] == "CREATE TABLE thing (id int primary key)"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mariadb://ada:secret@host", "no database"),
        ("mariadb+aiomysql://ada:secret@host/orders", "driver"),
        ("mariadb://ada:secret@host/orders?schema=x", "schema"),
        ("mariadb://ada:secret@host/orders?charset=latin1", "charset"),
        ("mariadb://ada:secret@host/orders?connect_timeout=0", "connect_timeout"),
        ("mariadb://ada:secret@host/orders?ssl_ca=/nowhere", "ssl_ca"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_by_the_name_of_what_is_wrong(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


def test_a_url_names_server_and_database() -> None:
    read = parse_url("mariadb://ada:secret@host:3307/orders?connect_timeout=7&unix_socket=/run/m.sock")
    assert (read.url.drivername, read.url.host, read.url.port, read.url.database) == (
        "mariadb+asyncmy", "host", 3307, "orders",
    )  # fmt: skip
    assert (read.connect_timeout_seconds, read.arguments) == (7.0, {"unix_socket": "/run/m.sock"})
