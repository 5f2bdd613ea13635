"""Leases on MariaDB. Imports the SQL base.

An UPDATE that chooses its rows by a join reads the given names first, in the order in which they are given: sorted, so
that two of them cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.leases import SqlLeaseStore

__all__ = ["MariaDbLeaseStore"]

_HELD: Final = "name text, token bigint"


class MariaDbLeaseStore(SqlLeaseStore):
    """Leases by name."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        self._of_held = dialect.relation_sql(2, _HELD)
        super().__init__(database, dialect)

    def _change_held(self, changes: str) -> str:
        return (
            f"UPDATE {self._of_held} AS g STRAIGHT_JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token"
            f" SET {changes} WHERE l.owner = $1"
        )

    def _held(self, tokens: Mapping[str, int]) -> str:
        return super()._held(dict(sorted(tokens.items())))
