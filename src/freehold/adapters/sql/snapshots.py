"""Snapshots on an SQL database: one row for a stream and kind. Base of the SQL engines: imports its siblings and the
port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.sql.connection import SqlConnection, SqlDatabase
from freehold.adapters.sql.dialect import Dialect
from freehold.adapters.sql.store import SqlStore, sql_of
from freehold.aggregate.store import Snapshot, SnapshotKind, SnapshotStore
from freehold.database import UnitOfWork

__all__ = ["SqlSnapshotStore"]

_LOAD: Final = """\
SELECT version, schema_version, fingerprint, data FROM freehold_snapshot WHERE kind = $1 AND stream = $2"""
_KINDS: Final = """\
SELECT kind, count(*), sum(length(data)), max(saved_at) FROM freehold_snapshot GROUP BY kind ORDER BY kind"""
_DISCARD: Final = "DELETE FROM freehold_snapshot WHERE kind = $1 AND stream = $2"


class SqlSnapshotStore(SqlStore, SnapshotStore):
    """The newest of each stream and kind."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._save = f"""\
INSERT INTO freehold_snapshot (kind, stream, version, schema_version, fingerprint, data, saved_at)
VALUES ($2, $3, $4, $5, $6, $7, {dialect.now_sql(1)})
ON CONFLICT (kind, stream) DO UPDATE SET version = excluded.version, schema_version = excluded.schema_version,
    fingerprint = excluded.fingerprint, data = excluded.data, saved_at = excluded.saved_at
WHERE freehold_snapshot.version <= excluded.version
    OR freehold_snapshot.schema_version <> excluded.schema_version
    OR freehold_snapshot.fingerprint <> excluded.fingerprint"""
        self._discard_all = f"""\
WITH unwanted AS MATERIALIZED (
    SELECT stream FROM freehold_snapshot WHERE kind = $1 ORDER BY stream LIMIT $2 {dialect.lock_free_rows}
)
DELETE FROM freehold_snapshot WHERE kind = $1 AND stream IN (SELECT stream FROM unwanted) RETURNING 1"""

    async def save(self, unit: UnitOfWork, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of an older one."""
        await sql_of(unit).execute(
            self._save,
            (
                self._dialect.now(),
                snapshot.kind,
                snapshot.stream,
                snapshot.version,
                snapshot.schema_version,
                snapshot.fingerprint,
                snapshot.data,
            ),
        )

    async def load(self, stream: str, kind: str, *, unit: UnitOfWork | None = None) -> Snapshot | None:
        """The snapshot of a stream."""
        if unit is not None:
            return await self._read(sql_of(unit), stream, kind)
        async with self._database.direct() as sql:
            return await self._read(sql, stream, kind)

    async def discard(self, stream: str, kind: str, *, unit: UnitOfWork | None = None) -> bool:
        """Throw a snapshot away."""
        if unit is not None:
            return bool(await sql_of(unit).execute(_DISCARD, (kind, stream)))
        async with self._database.direct() as sql:
            return bool(await sql.execute(_DISCARD, (kind, stream)))

    async def discard_all(self, kind: str, limit: int, *, unit: UnitOfWork | None = None) -> int:
        """Throw snapshots of a kind away."""
        if unit is not None:
            return len(await sql_of(unit).fetch(self._discard_all, (kind, limit)))
        async with self._database.direct() as sql:
            return len(await sql.fetch(self._discard_all, (kind, limit)))

    async def kinds(self) -> Sequence[SnapshotKind]:
        """What there is, by kind."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(_KINDS, ())
        return [
            SnapshotKind(kind, count, int(size), self._dialect.read_time(saved_at))
            for kind, count, size, saved_at in rows
        ]

    @staticmethod
    async def _read(sql: SqlConnection, stream: str, kind: str) -> Snapshot | None:
        rows = await sql.fetch(_LOAD, (kind, stream))
        if not rows:
            return None
        version, schema_version, fingerprint, data = rows[0]
        return Snapshot(stream, kind, version, schema_version, fingerprint, bytes(data))
