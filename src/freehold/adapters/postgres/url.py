"""Reading a PostgreSQL URL. Imports the foundation and SQLAlchemy's URL.

`postgresql://user:password@host:port/database?statement_cache_size=0&sslmode=require&application_name=orders`. Behind a
transaction-pooling proxy that knows no prepared statements give `statement_cache_size=0`. Errors name the key, not the
value.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from freehold.errors import ConfigurationError

__all__ = ["parse_url"]

_KNOWN = frozenset({"application_name", "host", "port", "sslmode", "statement_cache_size"})
_CACHE_SIZE = 200


def parse_url(text: str) -> tuple[URL, dict[str, Any]]:
    """Return the URL for SQLAlchemy over asyncpg, and asyncpg's arguments. Raises `ConfigurationError`."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "the PostgreSQL URL cannot be read", hint="postgresql://user:password@host:5432/database"
        ) from None
    query = {key: value if isinstance(value, str) else value[-1] for key, value in url.query.items()}
    if unknown := sorted(set(query) - _KNOWN):
        raise ConfigurationError(
            f"the PostgreSQL URL has parameters that are not known: {', '.join(unknown)}",
            hint=f"known are {', '.join(sorted(_KNOWN))}",
        )
    size = query.get("statement_cache_size", str(_CACHE_SIZE))
    if not size.isdigit():
        raise ConfigurationError("statement_cache_size in the PostgreSQL URL is not a number")
    arguments: dict[str, Any] = {"statement_cache_size": int(size), "prepared_statement_cache_size": int(size)}
    if int(size) == 0:
        # What a proxy cannot keep apart by name must have none: two clients would both prepare `__asyncpg_stmt_1__`.
        arguments["prepared_statement_name_func"] = str
    if "sslmode" in query:
        arguments["ssl"] = query["sslmode"]
    if "application_name" in query:
        arguments["server_settings"] = {"application_name": query["application_name"]}
    if "host" in query:
        url = url.set(host=query["host"])
    if "port" in query:
        url = url.set(port=_port(query["port"]))
    if not url.database:
        raise ConfigurationError("the PostgreSQL URL names no database", hint="postgresql://user@host:5432/database")
    return url.set(drivername="postgresql+asyncpg", query={}), arguments


def _port(text: str) -> int:
    if not text.isdigit():
        raise ConfigurationError("the port in the PostgreSQL URL is not a number")
    return int(text)
