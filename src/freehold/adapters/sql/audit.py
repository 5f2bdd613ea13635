"""The audit trail on an SQL database. Base of the SQL engines: imports its siblings and the audit port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import sql_of
from freehold.adapters.sql.store import SqlStore, storable
from freehold.audit.store import AuditEntry, AuditStore
from freehold.database import DatabaseTransaction

__all__ = ["SqlAuditStore"]

_CHARACTERS_MAX: Final = 4_000


class SqlAuditStore(SqlStore, AuditStore):
    """Stores audit entries in the order of writing."""

    async def add(self, db_tx: DatabaseTransaction, entry: AuditEntry) -> None:
        """Record an action."""
        texts = (entry.actor, entry.action, entry.subject, entry.reason)
        await sql_of(db_tx).execute(
            "INSERT INTO freehold_audit (at, actor, action, subject, reason) VALUES ($1, $2, $3, $4, $5)",
            (self._dialect.time(entry.at), *(storable(text, _CHARACTERS_MAX) for text in texts)),
        )

    async def find(self, subject: str | None, limit: int) -> Sequence[AuditEntry]:
        """Actions, newest first."""
        where = "" if subject is None else "WHERE subject = $2"
        parameters = (limit,) if subject is None else (limit, subject)
        statement = f"""\
SELECT at, actor, action, subject, reason FROM freehold_audit {where} ORDER BY at DESC, ordinal DESC LIMIT $1"""
        async with self._database.direct() as sql:
            rows = await sql.fetch(statement, parameters)
        return [AuditEntry(self._dialect.read_time(at), *texts) for at, *texts in rows]
