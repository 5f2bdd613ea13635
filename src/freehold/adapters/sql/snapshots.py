"""Snapshots on an SQL database. Base of the SQL engines: imports its siblings and the port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.prune import prune_unlocked
from freehold.adapters.sql.families.upsert import insert_or_update
from freehold.adapters.sql.store import SqlStore
from freehold.aggregate.store import Snapshot, SnapshotKind, SnapshotStore
from freehold.database import DatabaseTransaction

__all__ = ["SqlSnapshotStore"]

_LOAD: Final = """\
SELECT version, schema_version, fingerprint, data FROM freehold_snapshot WHERE kind = $1 AND stream = $2"""
_KINDS: Final = """\
SELECT kind, count(*), sum(length(data)), max(saved_at) FROM freehold_snapshot GROUP BY kind ORDER BY kind"""
_DISCARD: Final = "DELETE FROM freehold_snapshot WHERE kind = $1 AND stream = $2"


class SqlSnapshotStore(SqlStore, SnapshotStore):
    """Stores the newest snapshot of each stream and kind, one row each."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._save = insert_or_update(
            dialect,
            "freehold_snapshot",
            "INSERT INTO freehold_snapshot (kind, stream, version, schema_version, fingerprint, data, saved_at)"
            f" VALUES ($2, $3, $4, $5, $6, $7, {dialect.now_sql(1)})",
            "kind, stream",
            {column: f"new.{column}" for column in ("version", "schema_version", "fingerprint", "data", "saved_at")},
            where="old.version <= new.version OR old.schema_version <> new.schema_version"
            " OR old.fingerprint <> new.fingerprint",
        )
        unwanted = "SELECT stream FROM freehold_snapshot WHERE kind = $1 ORDER BY stream LIMIT $2"
        self._discard_all = prune_unlocked(dialect, "freehold_snapshot", "stream", unwanted, where="kind = $1")

    async def save(self, db_tx: DatabaseTransaction, snapshot: Snapshot) -> None:
        """Insert a snapshot, or replace an older one."""
        await sql_of(db_tx).execute(
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

    async def load(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> Snapshot | None:
        """The snapshot of a stream; None where there is none."""
        if db_tx is not None:
            return await self._read(sql_of(db_tx), stream, kind)
        async with self._database.direct() as sql:
            return await self._read(sql, stream, kind)

    async def discard(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> bool:
        """Delete the snapshot of a stream; returns whether there was one."""
        if db_tx is not None:
            return bool(await sql_of(db_tx).execute(_DISCARD, (kind, stream)))
        async with self._database.direct() as sql:
            return bool(await sql.execute(_DISCARD, (kind, stream)))

    async def discard_all(self, kind: str, limit: int, *, db_tx: DatabaseTransaction | None = None) -> int:
        """Delete snapshots of a kind, up to the limit; returns their number."""
        if db_tx is not None:
            return await sql_of(db_tx).execute(self._discard_all, (kind, limit))
        async with self._database.direct() as sql:
            return await sql.execute(self._discard_all, (kind, limit))

    async def kinds(self) -> Sequence[SnapshotKind]:
        """The number, size and newest time of the snapshots, by kind."""
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
