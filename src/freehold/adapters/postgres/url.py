"""Parses a PostgreSQL URL. Imports the foundation and SQLAlchemy's URL.

`postgresql://user:password@host:port/database?sslmode=require&application_name=orders`, also with `postgres://`. The
name of a driver (`postgresql+asyncpg://`) is ignored: the driver is asyncpg. Parameters are those of libpq, as managed
providers print them, and two more: `schema` puts Freehold's tables into a schema; `statement_cache_size=0` (or
SQLAlchemy's `prepared_statement_cache_size=0`) says that a proxy pools transactions. Errors name the key, not the
value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from freehold.errors import ConfigurationError

__all__ = ["PostgresUrl", "parse_url"]

_DRIVERS: Final = frozenset({"", "asyncpg", "psycopg", "psycopg2", "psycopg_async"})
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_TLS: Final = (*_FILES, "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_CACHE_SIZE: Final = 200
_SCHEMA: Final = re.compile(r"(?!pg_|information_schema$)[a-z_][a-z0-9_]{0,62}")
_EXAMPLE: Final = "postgresql://user:password@host:5432/database"


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """The parts of a URL.

    url        for SQLAlchemy with asyncpg.
    arguments  for asyncpg.
    schema     the schema of Freehold's tables; None for the one that the role's search path selects.
    proxied    a proxy pools transactions: no prepared statements, and no state in a session.
    folds      messages are staged in the round trip of the COMMIT, their documents written into its text.
    """

    url: URL
    arguments: Mapping[str, Any]
    schema: str | None
    proxied: bool
    folds: bool = True
    connect_timeout_seconds: float | None = None


def parse_url(text: str) -> PostgresUrl:
    """Parse a URL. Raises `ConfigurationError`."""
    url = _url(text)
    query = {key: value if isinstance(value, str) else value[-1] for key, value in url.query.items()}
    if unknown := sorted(set(query) - _KNOWN.keys()):
        raise ConfigurationError(
            f"the PostgreSQL URL has unknown parameters: {', '.join(unknown)}",
            hint=f"use {', '.join(sorted(_KNOWN))}",
        )
    for key, value in query.items():
        _KNOWN[key](key, value)
    sizes = [int(query[key]) for key in ("statement_cache_size", "prepared_statement_cache_size") if key in query]
    timeout = query.get("connect_timeout")
    return PostgresUrl(
        url=_addressed(url, query),
        arguments=_arguments(query, min(sizes, default=_CACHE_SIZE)),
        schema=query.get("schema"),
        proxied=0 in sizes,
        folds=query.get("stage_with_commit", "on") == "on",
        connect_timeout_seconds=None if timeout is None else float(timeout),
    )


def _url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError("the PostgreSQL URL cannot be read", hint=_EXAMPLE) from None
    if url.drivername.partition("+")[2] not in _DRIVERS:
        raise ConfigurationError("the PostgreSQL URL names an unknown driver", hint=_EXAMPLE)
    # SQLAlchemy drops parameters without a value, and the parameter would have no effect. The search is for known names
    # only, so that no part of an unescaped password comes into the message.
    if empty := [key for key in _KNOWN if re.search(rf"[?&]{key}(=?&|=?$)", text)]:
        raise ConfigurationError(f"{empty[0]} in the PostgreSQL URL is empty", hint="give it a value, or leave it out")
    return url


def _addressed(url: URL, query: Mapping[str, str]) -> URL:
    """The URL with the parts of the address that may also be given as parameters, as in libpq."""
    names = {"user": "username", "password": "password", "host": "host", "dbname": "database"}
    given: dict[str, Any] = {ours: query[theirs] for theirs, ours in names.items() if theirs in query}
    if "port" in query:
        given["port"] = int(query["port"])
    url = url.set(drivername="postgresql+asyncpg", query={}, **given)
    if not url.database:
        raise ConfigurationError("the PostgreSQL URL names no database", hint=_EXAMPLE)
    if "," in (url.host or ""):
        raise ConfigurationError(
            "the PostgreSQL URL names several hosts", hint="name one: the primary, or a proxy that connects to it"
        )
    return url


def _arguments(query: Mapping[str, str], cache_size: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {"statement_cache_size": cache_size, "prepared_statement_cache_size": cache_size}
    if cache_size == 0:
        # Statements get no names: two clients of the proxy would both prepare `__asyncpg_stmt_1__`.
        arguments["prepared_statement_name_func"] = str
    mode = query.get("sslmode", query.get("ssl"))
    if mode is not None:
        arguments["ssl"] = mode
    if tls := {key: query[key] for key in _TLS if key in query}:
        # asyncpg takes these only in an address; the other parts of the address are passed separately.
        arguments["dsn"] = f"postgresql://?{urlencode(tls)}"
    if "target_session_attrs" in query:
        arguments["target_session_attrs"] = query["target_session_attrs"]
    settings = {key: query[key] for key in ("application_name", "options") if key in query}
    if "fallback_application_name" in query:
        settings.setdefault("application_name", query["fallback_application_name"])
    if settings:
        arguments["server_settings"] = settings
    return arguments


def _anything(key: str, value: str) -> None:
    """Accept any text."""


def _options(key: str, value: str) -> None:
    if not value.startswith(("-", "endpoint=", "project=")):
        raise ConfigurationError(
            f"{key} in the PostgreSQL URL has a wrong form", hint="as in options=-c%20work_mem%3D64MB"
        )


def _number(key: str, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ConfigurationError(f"{key} in the PostgreSQL URL is not a number", hint="write it in digits")


def _seconds(key: str, value: str) -> None:
    _number(key, value)
    if int(value) == 0:
        raise ConfigurationError(f"{key} in the PostgreSQL URL is 0", hint="every wait has a limit: write 1 or more")


def _file(key: str, value: str) -> None:
    if not Path(value).is_file():
        raise ConfigurationError(
            f"{key} in the PostgreSQL URL names a file that does not exist", hint="give its absolute path"
        )


def _identifier(key: str, value: str) -> None:
    if not _SCHEMA.fullmatch(value):
        raise ConfigurationError(
            f"{key} in the PostgreSQL URL is not a valid name",
            hint="at most 63 lower-case letters, digits and underscores; not a digit first, and not pg_… first",
        )


def _one_of(*known: str, why: str = "") -> Callable[[str, str], None]:
    def check(key: str, value: str) -> None:
        if value not in known:
            raise ConfigurationError(
                f"{key} in the PostgreSQL URL has a value that {why or 'is unknown'}", hint=f"use {', '.join(known)}"
            )

    return check


_KNOWN: Final[Mapping[str, Callable[[str, str], None]]] = {
    "application_name": _anything,
    "channel_binding": _one_of("prefer", "disable", why="the driver does not support: it has no channel binding"),
    "connect_timeout": _seconds,
    "dbname": _anything,
    "fallback_application_name": _anything,
    "gssencmode": _one_of("prefer", "disable", why="the driver does not support"),
    "host": _anything,
    "options": _options,
    "password": _anything,
    "port": _number,
    "prepared_statement_cache_size": _number,
    "schema": _identifier,
    "ssl": _one_of(*_SSL_MODES),
    "sslmode": _one_of(*_SSL_MODES),
    **dict.fromkeys(_FILES, _file),
    "sslpassword": _anything,
    "ssl_min_protocol_version": _one_of("TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": _one_of("TLSv1.2", "TLSv1.3"),
    "stage_with_commit": _one_of("on", "off"),
    "statement_cache_size": _number,
    "target_session_attrs": _one_of("any", "read-write", "primary", why="selects a server that accepts no writes"),
    "user": _anything,
}
