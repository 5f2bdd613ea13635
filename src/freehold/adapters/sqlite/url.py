"""The URL of a SQLite database. Imports SQLAlchemy and the foundation."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from freehold.errors import ConfigurationError

__all__ = ["parse_url"]

_SYNCHRONOUS: Final = {"full", "normal", "extra"}


def parse_url(text: str) -> tuple[URL, str]:
    """The URL for SQLAlchemy and the value of `synchronous`. Raises `ConfigurationError`."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError("the SQLite URL cannot be read", hint="sqlite:///orders.db") from None
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError("the SQLite URL names no file", hint="sqlite:///orders.db, or memory:// for tests")
    if "schema" in url.query:
        raise ConfigurationError("SQLite has no schemas", hint="give each service a file of its own, without ?schema=")
    if unknown := sorted(set(url.query) - {"synchronous"}):
        raise ConfigurationError(
            f"the SQLite URL has unknown parameters: {', '.join(unknown)}", hint="the only one is synchronous"
        )
    synchronous = str(url.query.get("synchronous", "full")).lower()
    if synchronous not in _SYNCHRONOUS:
        raise ConfigurationError("synchronous in the SQLite URL is unknown", hint="write full, extra or normal")
    return url.set(drivername="sqlite+aiosqlite", query={}), synchronous
