"""The port for a user's own SQL statements. Base of the SQL engines: imports its siblings and the port."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from freehold.adapters.sql.store import SqlStore
from freehold.sql import SqlAccess, SqlConnection

__all__ = ["SqlStatements"]


class SqlStatements(SqlStore, SqlAccess):
    """Gives user code the direct connections of the database."""

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """The same direct connection that the stores use."""
        return self._database.direct()
