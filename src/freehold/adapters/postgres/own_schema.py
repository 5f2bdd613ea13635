"""Freehold's tables in a schema of their own (`?schema=…` in the URL). Imports the base of the SQL adapters.

The stores' statements have plain names. With a schema, each statement is rewritten once and cached: the names of
Freehold's tables, functions and sequences get the schema's name, also in the bodies of functions. So they are found
with any search path (for example that of an enlisted session), and never in another schema.

Numbers of advisory locks are shared by a whole database: two schemas would wait for each other's keys, and readers
would stop at each other's markers. So each schema has lock numbers and classes of markers of its own.

Freehold's own connections have the schema first in their search path. So the service's migrations and projections
create their tables there, and tables of the application in other schemas are still found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg

from freehold.adapters.postgres.connection import PooledAsyncpg
from freehold.adapters.sql.engine.connection import Row, SqlConnection
from freehold.database import DatabaseOptions
from freehold.ids import stable_hash

__all__ = ["QualifiedConnection", "Schema", "SchemaAsyncpg"]

_MARKER_CLASSES: Final = ("1179143000", "1179149686")
"""The marker classes of the outbox and of the event store, as written in statements and functions."""
_FOUND: Final = re.compile(
    r"(?P<plain>\bCREATE (?:UNIQUE )?INDEX |\bRENAME TO )?(?<![\w.\"'$])(?:(?P<name>freehold_\w+)|(?P<marker>"
    + "|".join(_MARKER_CLASSES)
    + r"))\b"
)
_CLASSES: Final = 0x7FFFFFFF


class Schema:
    """A schema by its name, which `url` has checked. Names of Freehold's objects are taken from `statements`."""

    def __init__(self, name: str, statements: Iterable[str]) -> None:
        self.name = name
        self._names = {name for text in statements for name in re.findall(r"\bfreehold_\w+", text)}
        self.qualified = lru_cache(maxsize=1024)(self.qualified_once)

    def path_sql(self, *, local: bool) -> str:
        """A statement that puts the schema first in the search path of the session, or of the transaction (`local`)."""
        rest = "coalesce(', ' || nullif(current_setting('search_path'), ''), '')"
        return f"SELECT set_config('search_path', '\"{self.name}\"' || {rest}, {str(local).lower()})"

    def qualified_once(self, sql: str) -> str:
        """A text with qualified names, which is not cached (as `qualified` does)."""
        return _FOUND.sub(self._replacement, sql)

    def _replacement(self, found: re.Match[str]) -> str:
        if found["marker"]:
            return str(stable_hash(f"{self.name}/{found['marker']}") & _CLASSES)
        if found["plain"] or found["name"] not in self._names:
            # An index is created in the schema of its table, and a renamed object stays in its schema: both take a
            # plain name.
            return found[0]
        return f'"{self.name}".{found["name"]}'


class SchemaAsyncpg(PooledAsyncpg):
    """A connection of Freehold's pool whose statements use the schema."""

    def __init__(
        self, driver: asyncpg.Connection[Any], options: DatabaseOptions, schema: Schema, *, proxied: bool
    ) -> None:
        super().__init__(driver, options, proxied=proxied)
        self._schema = schema
        if proxied:
            self._begin += f"; {schema.path_sql(local=True)}"

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""
        return await super().execute(self._schema.qualified(sql), parameters)

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        return await super().fetch(self._schema.qualified(sql), parameters)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, pipelined."""
        await super().execute_many(self._schema.qualified(sql), rows)


class QualifiedConnection:
    """A user's connection on which Freehold's statements use the schema."""

    def __init__(self, inner: SqlConnection, schema: Schema) -> None:
        self._inner = inner
        self._schema = schema

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""
        return await self._inner.execute(self._schema.qualified(sql), parameters)

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        return await self._inner.fetch(self._schema.qualified(sql), parameters)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters."""
        await self._inner.execute_many(self._schema.qualified(sql), rows)
