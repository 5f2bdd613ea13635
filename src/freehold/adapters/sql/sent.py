"""Confirmed messages that are kept for a resend, on an SQL database. Imports its siblings and the ports.

The engines move them back and prune them in different ways (see each one's `sent`); the rest is here.
"""

from __future__ import annotations

from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.store import SqlStore
from freehold.outbox.sent import Kept, SentStore

__all__ = ["SqlSentStore"]


class SqlSentStore(SqlStore, SentStore):
    """Stores sent messages by position and by the time of their confirmation."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._kept = f"""
SELECT {dialect.now_sql(1)}, (SELECT s.sent_at FROM freehold_outbox_sent AS s ORDER BY s.sent_at LIMIT 1),
    (SELECT s.position FROM freehold_outbox_sent AS s ORDER BY s.position DESC LIMIT 1)"""

    async def kept(self) -> Kept:
        """The span of the kept messages, by two look-ups in indexes."""
        async with self._database.direct() as sql:
            ((now, oldest, last),) = await sql.fetch(self._kept, (self._dialect.now(),))
        return Kept(self._dialect.read_time(now), None if oldest is None else self._dialect.read_time(oldest), last)
