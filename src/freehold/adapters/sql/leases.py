"""Leases on an SQL database, each call one statement. Base of the SQL engines: imports its siblings and the lease port.

Statements that touch several rows lock them in order of name first, so that two of them cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from freehold.adapters.sql.connection import SqlDatabase
from freehold.adapters.sql.dialect import Dialect
from freehold.adapters.sql.store import SqlStore
from freehold.leases.store import LeaseRecord, LeaseStore

__all__ = ["SqlLeaseStore"]

_LAST_CHARACTER = "\U0010ffff"


class SqlLeaseStore(SqlStore, LeaseStore):
    """Leases by name."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        held = f"""
WITH held AS MATERIALIZED (
    SELECT l.name FROM freehold_lease AS l
    JOIN {dialect.relation_sql(2, "name text, token bigint")} AS g ON g.name = l.name AND g.token = l.token
    WHERE l.owner = $1
    ORDER BY l.name {dialect.lock_rows}{" OF l" if dialect.lock_rows else ""}
)
UPDATE freehold_lease SET """
        mine = " WHERE name IN (SELECT name FROM held) AND owner = $1 RETURNING name"
        self._renew = f"{held} beat = beat + 1 {mine}"
        self._give_back = f"{held} owner = '', beat = beat + 1 {mine}"
        self._ensure = f"""
INSERT INTO freehold_lease (name)
SELECT g.name FROM {dialect.relation_sql(1, "name text")} AS g WHERE true ORDER BY g.name ON CONFLICT DO NOTHING"""
        self._forget = f"DELETE FROM freehold_lease WHERE name {dialect.in_sql(1, 'text')}"

    async def ensure(self, names: Iterable[str]) -> None:
        """Make the leases that do not exist."""
        async with self._database.direct() as sql:
            await sql.execute(
                self._ensure, (self._dialect.relation_value([{"name": name} for name in dict.fromkeys(names)]),)
            )

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        """Leases by prefix, ordered by name."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT name, owner, token, beat FROM freehold_lease WHERE name >= $1 AND name < $2 ORDER BY name",
                (prefix, prefix + _LAST_CHARACTER),
            )
        return [LeaseRecord(*row) for row in rows]

    async def take(self, seen: LeaseRecord, owner: str) -> LeaseRecord | None:
        """Compare and set."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "UPDATE freehold_lease SET owner = $1, token = token + 1, beat = beat + 1"
                " WHERE name = $2 AND owner = $3 AND token = $4 AND beat = $5 RETURNING name, owner, token, beat",
                (owner, seen.name, seen.owner, seen.token, seen.beat),
            )
        return LeaseRecord(*rows[0]) if rows else None

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        """Move the beat of what is held."""
        if not tokens:
            return set()
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._renew, (owner, self._held(tokens)))
        return {row[0] for row in rows}

    async def give_back(self, owner: str, tokens: Mapping[str, int]) -> None:
        """Clear the owner of what is held."""
        if tokens:
            async with self._database.direct() as sql:
                await sql.fetch(self._give_back, (owner, self._held(tokens)))

    async def forget(self, names: Iterable[str]) -> None:
        """Delete leases."""
        async with self._database.direct() as sql:
            await sql.execute(self._forget, (self._dialect.list_value(names),))

    def _held(self, tokens: Mapping[str, int]) -> str:
        return self._dialect.relation_value([{"name": name, "token": token} for name, token in tokens.items()])
