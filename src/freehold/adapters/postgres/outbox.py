"""The outbox on PostgreSQL. Imports the SQL base and its sibling `staging`.

The high-water mark that the relay reads with the rows is at or below every marker of a transaction that stages
(`schema/functions/outbox.sql`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from freehold.adapters.postgres.staging import Staging
from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.outbox import REASON_CHARACTERS_MAX, SqlOutboxStore
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.outbox.store import EVER_SECONDS, OutboxBatch, StagedMessage

__all__ = ["STAGED_SQL", "PostgresOutboxStore"]

STAGED_SQL: Final = "(SELECT s.is_called FROM freehold_outbox_position_seq AS s)"
"""The condition that the outbox has ever had a row."""
_RAISE_PENDING = """\
INSERT INTO freehold_outbox_watermark (partition, position) VALUES ($1, $2)
ON CONFLICT (partition) DO UPDATE SET position = greatest(freehold_outbox_watermark.position, excluded.position)"""


class PostgresOutboxStore(SqlOutboxStore):
    """Stores staged messages by partition and position. The relay's statements are functions in the database."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._staging = Staging(dialect, lambda: self.partitions)
        self._fetch = f"SELECT * FROM freehold_outbox_fetch($2::jsonb, {now}, $3::integer, {dialect.later_sql(now, 4)})"
        self._keep_sql = f"SELECT freehold_outbox_keep($2::jsonb, $3::bigint[], $4::jsonb, {now}, $5::bigint)"
        self._reschedule = (
            f"SELECT freehold_outbox_reschedule($2::jsonb, $3::bigint, {dialect.later_sql(now, 4)}, $5::text)"
        )

    def _oldest(self, number: int) -> str:
        return f"""(
        SELECT min(o.staged_at) FROM generate_series(0, ${number}::integer - 1) AS p (number) CROSS JOIN LATERAL (
            SELECT q.staged_at FROM freehold_outbox AS q WHERE q.partition = p.number ORDER BY q.position LIMIT 1
        ) AS o
    )"""

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """Lock the keys, take the marker and insert, in one round trip; returns the positions."""
        return await self._staging.stage(db_tx, messages)

    async def stage_last(
        self,
        db_tx: DatabaseTransaction,
        messages: Sequence[OutgoingMessage],
        tell: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        """As `stage`, in the round trip of the COMMIT where Freehold sends it."""
        await self._staging.stage_last(db_tx, messages, tell)

    async def fetch(
        self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS
    ) -> OutboxBatch:
        """The oldest rows of the leased partitions, in one call of a function."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._fetch, (self._dialect.now(), self._leases(leases), limit, -recall_seconds))
        return self._fetched(rows, limit)

    async def reschedule(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key for some time, in one statement; False where the lease was lost."""
        parameters = (self._leases(leases), message.position, delay_seconds, reason[:REASON_CHARACTERS_MAX])
        async with self._database.direct() as sql:
            return bool((await sql.fetch(self._reschedule, (self._dialect.now(), *parameters)))[0][0])

    async def _remove(self, sql: SqlConnection, leases: str, positions: Collection[int]) -> int:
        rows = await sql.fetch("SELECT freehold_outbox_remove($1::jsonb, $2::bigint[])", (leases, list(positions)))
        return int(rows[0][0])

    async def _confirm(self, leases: str, positions: Collection[int], pending_watermarks: Mapping[int, int]) -> int:
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT freehold_outbox_confirm($1::jsonb, $2::bigint[], $3::jsonb)",
                (leases, list(positions), self._positions_json(pending_watermarks)),
            )
        return int(rows[0][0])

    async def _keep(
        self, leases: str, positions: Collection[int], pending_watermarks: Mapping[int, int], losses: int
    ) -> int:
        async with self._database.direct() as sql:
            parameters = (
                self._dialect.now(),
                leases,
                list(positions),
                self._positions_json(pending_watermarks),
                losses,
            )
            rows = await sql.fetch(self._keep_sql, parameters)
        return int(rows[0][0])

    async def _raise_pending(self, sql: SqlConnection, partition: int, position: int) -> None:
        await sql.execute(_RAISE_PENDING, (partition, position))
