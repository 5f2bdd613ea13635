"""Confirmed messages that are kept for a resend, on PostgreSQL. Imports the SQL base.

The statements are functions in the database, as for the outbox: the statistics of a table that grows and shrinks
mislead the planner.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from freehold.adapters.sql.engine.connection import SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.outbox import leases_value
from freehold.adapters.sql.sent import SqlSentStore
from freehold.database import DatabaseTransaction
from freehold.outbox.sent import SentAgain
from freehold.outbox.store import EVER_SECONDS

__all__ = ["PostgresSentStore"]


class PostgresSentStore(SqlSentStore):
    """Moves sent messages back to the outbox; each call is one statement (see `schema/functions/sent.sql`)."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._again = f"""
SELECT a.moved, a.seen, a.last_position
FROM freehold_outbox_send_again($2::timestamptz, $3::bigint, $4::bigint, $5::integer, {now}) AS a"""
        self._recall = f"SELECT freehold_outbox_recall($2::jsonb, {dialect.later_sql(now, 3)}, $4::integer, {now})"
        self._prune = f"SELECT freehold_outbox_prune_sent({dialect.later_sql(now, 2)}, $3::integer)"

    async def send_again(
        self, db_tx: DatabaseTransaction, since: datetime, after: int, through: int, limit: int
    ) -> SentAgain:
        """Move a page of sent messages back to the outbox."""
        parameters = (self._dialect.now(), self._dialect.time(since), after, through, limit)
        ((moved, seen, last),) = await sql_of(db_tx).fetch(self._again, parameters)
        return SentAgain(moved, through if last is None else last, seen < limit)

    async def recall(self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS) -> int:
        """Move lost messages that precede waiting rows back to the outbox; returns their number."""
        parameters = (self._dialect.now(), leases_value(self._dialect, leases), -recall_seconds, limit)
        async with self._database.direct() as sql:
            return int((await sql.fetch(self._recall, parameters))[0][0])

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old sent messages, but not those that another instance is deleting; returns their number."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._prune, (self._dialect.now(), -older_than_seconds, limit))
        return int(rows[0][0])
