"""Reading a MariaDB URL. Imports the foundation and SQLAlchemy's URL.

`mariadb://user:password@host:port/database`, also with the name of the driver (`mariadb+asyncmy://`), which says
nothing here: the driver is asyncmy. Errors name the key, not the value.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from freehold.errors import ConfigurationError

__all__ = ["MariaDbUrl", "parse_url"]

_DRIVERS: Final = frozenset({"", "asyncmy"})
_KNOWN: Final = ("connect_timeout", "ssl_ca", "unix_socket")
_EXAMPLE: Final = "mariadb://user:password@host:3306/database"


@dataclass(frozen=True, slots=True)
class MariaDbUrl:
    """What a URL says: `url` for SQLAlchemy over asyncmy, `arguments` for asyncmy."""

    url: URL
    arguments: Mapping[str, Any]
    connect_timeout_seconds: float | None = None


def parse_url(text: str) -> MariaDbUrl:
    """Read a URL. Raises `ConfigurationError`."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError("the MariaDB URL cannot be read", hint=_EXAMPLE) from None
    if url.drivername.partition("+")[2] not in _DRIVERS:
        raise ConfigurationError("the MariaDB URL names a driver that is not known", hint=_EXAMPLE)
    if not url.database:
        raise ConfigurationError("the MariaDB URL names no database", hint=_EXAMPLE)
    query = {key: value if isinstance(value, str) else value[-1] for key, value in url.query.items()}
    if "schema" in query:
        raise ConfigurationError(
            "schema in the MariaDB URL is not known: a schema is a database there",
            hint="give each service a database of its own",
        )
    if unknown := sorted(set(query) - set(_KNOWN)):
        raise ConfigurationError(
            f"the MariaDB URL has parameters that are not known: {', '.join(unknown)}",
            hint=f"known are {', '.join(_KNOWN)}",
        )
    timeout = query.get("connect_timeout")
    return MariaDbUrl(
        url=url.set(drivername="mariadb+asyncmy", query={}),
        arguments=_arguments(query),
        connect_timeout_seconds=None if timeout is None else _seconds(timeout),
    )


def _arguments(query: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if "unix_socket" in query:
        arguments["unix_socket"] = query["unix_socket"]
    if "ssl_ca" in query:
        if not Path(query["ssl_ca"]).is_file():
            raise ConfigurationError(
                "ssl_ca in the MariaDB URL names a file that does not exist", hint="give its absolute path"
            )
        arguments["ssl"] = ssl.create_default_context(cafile=query["ssl_ca"])
    return arguments


def _seconds(value: str) -> float:
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 1_000_000):
        raise ConfigurationError(
            "connect_timeout in the MariaDB URL is not a number of seconds", hint="every wait has a limit: 1 or more"
        )
    return float(value)
