"""Statements of a user's own on an SQL database. Base of the SQL engines: imports its siblings and the port."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from freehold.adapters.sql.store import SqlStore
from freehold.sql import SqlAccess, SqlConnection

__all__ = ["SqlStatements"]


class SqlStatements(SqlStore, SqlAccess):
    """The database's own connections."""

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """What the stores use as well."""
        return self._database.direct()
