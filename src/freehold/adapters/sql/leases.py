"""Leases on an SQL database, one statement a call. Base of the SQL engines: imports its siblings and the lease port.

Statements that change several rows lock them in order of name first, so that two of them cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.claim import change_in_order
from freehold.adapters.sql.families.upsert import insert_absent
from freehold.adapters.sql.store import SqlStore
from freehold.leases.store import LeaseRecord, LeaseStore

__all__ = ["SqlLeaseStore"]

_LAST_CHARACTER = "\U0010ffff"


class SqlLeaseStore(SqlStore, LeaseStore):
    """Stores leases by name."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._held_sql = f"""\
SELECT l.name FROM freehold_lease AS l
JOIN {dialect.relation_sql(2, "name text, token bigint")} AS g ON g.name = l.name AND g.token = l.token
WHERE l.owner = $1 ORDER BY l.name"""
        self._renew = self._change_held("heartbeat = heartbeat + 1")
        self._release_leases = self._change_held("owner = '', heartbeat = heartbeat + 1")
        self._ensure = insert_absent(
            dialect,
            f"""\
INSERT INTO freehold_lease (name)
SELECT g.name FROM {dialect.relation_sql(1, "name text")} AS g WHERE true ORDER BY g.name""",
        )
        self._forget = f"DELETE FROM freehold_lease WHERE name {dialect.in_sql(1, 'text')}"

    async def ensure(self, names: Iterable[str]) -> None:
        """Insert the leases that do not exist."""
        async with self._database.direct() as sql:
            await sql.execute(
                self._ensure, (self._dialect.relation_value([{"name": name} for name in dict.fromkeys(names)]),)
            )

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        """Leases by prefix, ordered by name."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT name, owner, token, heartbeat FROM freehold_lease WHERE name >= $1 AND name < $2 ORDER BY name",
                (prefix, prefix + _LAST_CHARACTER),
            )
        return [LeaseRecord(*row) for row in rows]

    async def acquire(self, expected: LeaseRecord, owner: str) -> LeaseRecord | None:
        """Acquire a lease by compare-and-set; None where it is not as expected."""
        async with self._database.direct() as sql:
            taken = await sql.execute(
                "UPDATE freehold_lease SET owner = $1, token = token + 1, heartbeat = heartbeat + 1"
                " WHERE name = $2 AND owner = $3 AND token = $4 AND heartbeat = $5",
                (owner, expected.name, expected.owner, expected.token, expected.heartbeat),
            )
        return LeaseRecord(expected.name, owner, expected.token + 1, expected.heartbeat + 1) if taken else None

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        """Increase the heartbeats of the held leases; returns their names. Nearly always all are still held, and the
        row count shows it.
        """
        if not tokens:
            return set()
        parameters = (owner, self._held(tokens))
        async with self._database.direct() as sql:
            if await sql.execute(self._renew, parameters) == len(tokens):
                return set(tokens)
            # A lost lease never gets its old token again: a lease that is held now was held before, too.
            return {row[0] for row in await sql.fetch(self._held_sql, parameters)}

    async def release(self, owner: str, tokens: Mapping[str, int]) -> None:
        """Clear the owner of the held leases."""
        if tokens:
            async with self._database.direct() as sql:
                await sql.execute(self._release_leases, (owner, self._held(tokens)))

    async def delete(self, names: Iterable[str]) -> None:
        """Delete leases."""
        async with self._database.direct() as sql:
            await sql.execute(self._forget, (self._dialect.list_value(names),))

    def _change_held(self, changes: str) -> str:
        change = f"UPDATE freehold_lease SET {changes} WHERE owner = $1 AND"
        return change_in_order(self._dialect, change, "name", self._held_sql, of="l")

    def _held(self, tokens: Mapping[str, int]) -> str:
        return self._dialect.relation_value([{"name": name, "token": token} for name, token in tokens.items()])
