"""Leases on PostgreSQL. A living process has locks of a session. Imports the SQL base and its package.

For each owner that has such a lock there is also a row beside the leases, `alive/<owner>`. It distinguishes an owner
whose lock is gone from an owner that never had a lock.
"""

from __future__ import annotations

from collections.abc import Collection

from freehold.adapters.postgres.database import PostgresDatabase
from freehold.adapters.postgres.sessions import SessionLock, SessionLocks, lock_key
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.leases import SqlLeaseStore
from freehold.leases.store import Vouch

__all__ = ["PostgresLeaseStore"]

_PREFIX = "alive/"
# Rows of owners that a lease still names stay: `gone` may be called for them.
_SWEEP = f"""
DELETE FROM freehold_lease AS a WHERE a.name LIKE '{_PREFIX}%'
AND NOT EXISTS (SELECT 1 FROM freehold_lease AS l WHERE l.owner = substr(a.name, {len(_PREFIX) + 1}))
AND a.name IN (SELECT '{_PREFIX}' || g.owner FROM {{known}} AS g WHERE pg_try_advisory_xact_lock_shared(g.key))"""


class PostgresLeaseStore(SqlLeaseStore):
    """Stores leases by name, and has one session lock for each owner."""

    def __init__(self, database: PostgresDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._locks = None if database.proxied else SessionLocks(database.connect_apart)
        known = dialect.relation_sql(1, "owner text, key bigint")
        self._gone = f"""
SELECT g.owner FROM {known} AS g
WHERE EXISTS (SELECT 1 FROM freehold_lease AS a WHERE a.name = '{_PREFIX}' || g.owner)
AND pg_try_advisory_xact_lock_shared(g.key)"""
        self._sweep = _SWEEP.format(known=known)

    async def vouch(self, owner: str) -> Vouch | None:
        """Acquire the owner's lock and write its row. None where sessions are shared or the lock cannot be had."""
        if self._locks is None:
            return None
        lock = await self._locks.hold(owner)
        if lock is None:
            await self.delete([_PREFIX + owner])
            return None
        await self.ensure([_PREFIX + owner])
        await self._forget_others(owner)
        return _Vouched(self, owner, lock)

    async def gone(self, owners: Collection[str]) -> set[str]:
        """The owners that have a row and whose lock is free."""
        if not owners:
            return set()
        async with self._database.direct() as sql:
            return {str(row[0]) for row in await sql.fetch(self._gone, (self._owners(owners),))}

    async def _forget_others(self, owner: str) -> None:
        """Delete the rows of dead processes that no lease names any more."""
        names = [each.name.removeprefix(_PREFIX) for each in await self.list(_PREFIX)]
        others = [name for name in names if name != owner]
        if others:
            async with self._database.direct() as sql:
                await sql.execute(self._sweep, (self._owners(others),))

    def _owners(self, owners: Collection[str]) -> str:
        return self._dialect.relation_value([{"owner": owner, "key": lock_key(owner)} for owner in owners])


class _Vouched:
    """The lock of an owner with its row."""

    def __init__(self, store: PostgresLeaseStore, owner: str, lock: SessionLock) -> None:
        self._store = store
        self._owner = owner
        self._lock = lock

    async def is_valid(self) -> bool:
        """As the port says."""
        return await self._lock.is_valid()

    async def release(self) -> None:
        """Delete the row, then release the lock. In the other order the owner would look dead in between."""
        try:
            if self._lock.last:
                await self._store.delete([_PREFIX + self._owner])
        finally:
            await self._lock.release()
