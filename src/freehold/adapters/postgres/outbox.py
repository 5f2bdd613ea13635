"""The outbox on PostgreSQL. Imports the SQL base and its sibling `staging`.

The high-water mark that the relay reads with the rows is at or below every marker of a transaction that stages
(`schema/functions/outbox.sql`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Final

from freehold.adapters.postgres.stage import Staging
from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.outbox import REASON_CHARACTERS_MAX, SqlOutboxStore
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.outbox.store import EVER_SECONDS, LossState, OutboxBatch, StagedMessage

__all__ = ["STAGED_SQL", "PostgresOutboxStore"]

STAGED_SQL: Final = "(SELECT s.is_called FROM freehold_outbox_position_seq AS s)"
"""The condition that the outbox has ever had a row."""
_SHARE_MIN: Final = 64
_RAISE_PENDING = """\
INSERT INTO freehold_outbox_watermark (partition, position) VALUES ($1, $2)
ON CONFLICT (partition) DO UPDATE SET position = greatest(freehold_outbox_watermark.position, excluded.position)"""


class PostgresOutboxStore(SqlOutboxStore):
    """Stores staged messages by partition and position. The relay's statements are functions in the database."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._staging = Staging(dialect, lambda: self.partitions)
        self._fetch = f"""
SELECT * FROM freehold_outbox_next($2::jsonb, {now}, $3::integer, $5::integer, {dialect.later_sql(now, 4)})"""
        # The limit depends on the removal, so the rows are read after it.
        self._advance = f"""
SELECT n.*, s.removed FROM (
    SELECT freehold_outbox_settle($2::jsonb, $6::integer[], $7::bigint[], $8::jsonb, {now}, $9::bigint) AS removed
    OFFSET 0
) AS s CROSS JOIN LATERAL freehold_outbox_next(
    $2::jsonb, {now}, CASE WHEN s.removed >= 0 THEN $3::integer END, $5::integer, {dialect.later_sql(now, 4)}
) AS n"""
        self._settle = f"""
SELECT freehold_outbox_settle($2::jsonb, $3::integer[], $4::bigint[], $5::jsonb, {now}, $6::bigint)"""
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
        share = _share(leases, limit)
        parameters = (self._dialect.now(), self._leases(leases), limit, -recall_seconds, share)
        async with self._database.direct() as sql:
            return self._batch(await sql.fetch(self._fetch, parameters), limit, share)

    async def advance(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        pending_watermarks: Mapping[int, int],
        limit: int,
        *,
        keep: LossState | None = None,
        recall_seconds: float = EVER_SECONDS,
    ) -> tuple[int, OutboxBatch]:
        """Both in one statement: each statement of the two functions has a snapshot of its own."""
        share = _share(leases, limit)
        place = (self._dialect.now(), self._leases(leases), limit, -recall_seconds, share)
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._advance, (*place, *self._settled(messages, pending_watermarks, keep)))
        return rows[0][10] if rows else 0, self._batch(rows, limit, share)

    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        pending_watermarks: Mapping[int, int] | None = None,
        *,
        keep: LossState | None = None,
    ) -> int:
        """Delete confirmed rows and write pending watermarks under valid tokens, in one statement."""
        if not messages and not pending_watermarks:
            return 0
        settled = self._settled(messages, pending_watermarks or {}, keep)
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._settle, (self._dialect.now(), self._leases(leases), *settled))
        return int(rows[0][0])

    def _settled(
        self, messages: Collection[StagedMessage], pending_watermarks: Mapping[int, int], keep: LossState | None
    ) -> tuple[object, ...]:
        return (
            [message.partition for message in messages],
            [message.position for message in messages],
            self._positions_json(pending_watermarks),
            None if keep is None else keep.number,
        )

    def _batch(self, found: Sequence[Row], limit: int, share: int) -> OutboxBatch:
        """As `_fetched`, for many rows: the ids are read together."""
        about = [row for row in found if row[2] is None]
        messages = sorted((row for row in found if row[2] is not None), key=itemgetter(0))
        ids = self._dialect.read_uuids([row[2] for row in messages])
        rows = [
            StagedMessage(row[0], row[1], OutgoingMessage(message_id, row[3], row[4], row[5]), row[6])
            for row, message_id in zip(messages, ids, strict=True)
        ]
        return OutboxBatch.of(
            rows,
            limit,
            {row[1]: row[0] for row in about},
            {row[1]: row[7] for row in about},
            LossState(about[0][8], bool(about[0][9])) if about else None,
            share=share,
        )

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

    async def _raise_pending(self, sql: SqlConnection, partition: int, position: int) -> None:
        await sql.execute(_RAISE_PENDING, (partition, position))


def _share(leases: Mapping[int, int], limit: int) -> int:
    """How many rows of one partition are read for a batch: half as many again as there would be of each, so that not
    most of the rows are read for nothing. A partition with more of the oldest rows is cut off there.
    """
    return min(limit, max(_SHARE_MIN, 3 * limit // (2 * max(1, len(leases)))))
