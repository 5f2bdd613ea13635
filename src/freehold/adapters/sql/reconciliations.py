"""Results of reconciliations on an SQL database. Base of the SQL engines: imports its siblings and the port."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.adapters.sql.engine.connection import Row
from freehold.adapters.sql.families.prune import prune
from freehold.adapters.sql.store import SqlStore
from freehold.reconcile.store import ReconciliationRecord, ReconciliationStore

__all__ = ["SqlReconciliationStore"]

_COLUMNS = "dataset, finished_at, seconds, compared, drifted, repaired, inconclusive, error"


class SqlReconciliationStore(SqlStore, ReconciliationStore):
    """Stores results in the order of writing."""

    async def add(self, record: ReconciliationRecord) -> None:
        """Insert a result."""
        async with self._database.direct() as sql:
            await sql.execute(
                f"INSERT INTO freehold_reconciliation ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                (
                    record.dataset,
                    self._dialect.time(record.finished_at),
                    record.seconds,
                    record.compared,
                    record.drifted,
                    record.repaired,
                    record.inconclusive,
                    record.error,
                ),
            )

    async def last(self, dataset: str) -> ReconciliationRecord | None:
        """The newest result of a dataset."""
        statement = f"SELECT {_COLUMNS} FROM freehold_reconciliation WHERE dataset = $1 ORDER BY ordinal DESC LIMIT 1"
        async with self._database.direct() as sql:
            rows = await sql.fetch(statement, (dataset,))
        return self._record(rows[0]) if rows else None

    async def recent(self, limit: int) -> Sequence[ReconciliationRecord]:
        """The newest results of all datasets."""
        statement = f"SELECT {_COLUMNS} FROM freehold_reconciliation ORDER BY ordinal DESC LIMIT $1"
        async with self._database.direct() as sql:
            return [self._record(row) for row in await sql.fetch(statement, (limit,))]

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old results; the newest of each dataset stays."""
        before = self._dialect.later_sql(self._dialect.now_sql(1), 2)
        chosen = f"""\
SELECT old.ordinal FROM freehold_reconciliation AS old
WHERE old.finished_at < {before} AND EXISTS (
    SELECT 1 FROM freehold_reconciliation AS newer WHERE newer.dataset = old.dataset AND newer.ordinal > old.ordinal
)
ORDER BY old.finished_at LIMIT $3"""
        statement = prune(self._dialect, "freehold_reconciliation", "ordinal", chosen)
        async with self._database.direct() as sql:
            return await sql.execute(statement, (self._dialect.now(), -older_than_seconds, limit))

    def _record(self, row: Row) -> ReconciliationRecord:
        dataset, finished_at, seconds, compared, drifted, repaired, inconclusive, error = row
        return ReconciliationRecord(
            dataset=dataset,
            finished_at=self._dialect.read_time(finished_at),
            seconds=float(seconds),
            compared=compared,
            drifted=drifted,
            repaired=repaired,
            inconclusive=inconclusive,
            error=error,
        )
