"""Confirmed messages that are kept for a resend, in memory. Adapter: imports the port and its siblings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.outbox import LOGS, OUTBOX, SENT, OutboxRow, holds, is_blocked, loss_state, taken_by_key
from freehold.adapters.memory.state import memory_transaction
from freehold.database import DatabaseTransaction
from freehold.outbox.sent import Kept, SentAgain, SentStore
from freehold.outbox.store import EVER_SECONDS

__all__ = ["MemorySentStore"]


class MemorySentStore(SentStore):
    """Keeps sent messages by position."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def kept(self) -> Kept:
        """The span of the kept messages."""
        rows = await self._database.read(SENT)
        oldest = min((row.sent_at for row in rows.values() if row.sent_at is not None), default=None)
        return Kept(self._database.now(), oldest, max(rows, default=None))

    async def send_again(
        self, db_tx: DatabaseTransaction, since: datetime, after: int, through: int, limit: int
    ) -> SentAgain:
        """Move a page of sent messages back to the outbox."""
        memory = memory_transaction(db_tx)
        sent, outbox = memory.rows(SENT), memory.rows(OUTBOX)
        found = sorted(
            (position, row)
            for position, row in sent.items()
            if after < position <= through and row.sent_at is not None and row.sent_at >= since
        )[:limit]
        for position, row in found:
            sent.remove(position)
            outbox.put(position, OutboxRow(row.staged, self._database.now(), sent_at=row.sent_at))
        return SentAgain(len(found), found[-1][0] if found else through, len(found) < limit)

    async def recall(self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS) -> int:
        """Move lost messages that precede waiting rows back to the outbox; returns their number."""
        async with self._database.begin() as db_tx:
            sent, outbox = db_tx.rows(SENT), db_tx.rows(OUTBOX)
            loss = loss_state(db_tx.rows(LOGS).values())
            taken = taken_by_key(dict(sent.items()), loss, self._database.later(-recall_seconds))
            rows = [row for _, row in sorted(outbox.items()) if holds(db_tx, leases, row.staged.partition)]
            now = self._database.now()
            blocked = {row.staged.message.key for row in rows if is_blocked(row, now)}
            oldest = [row for row in rows if row.staged.message.key not in blocked][:limit]
            waited_for = {
                position
                for row in oldest
                for position in taken.get(row.staged.message.key, ())
                if position < row.staged.position
            }
            wanted = sorted(waited_for)[:limit]
            for position in wanted:
                kept = sent.get(position)
                if kept is not None:
                    sent.remove(position)
                    outbox.put(position, OutboxRow(kept.staged, now, sent_at=kept.sent_at))
            return len(wanted)

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old sent messages; returns their number."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            sent = db_tx.rows(SENT)
            old = sorted(
                (row.sent_at, position)
                for position, row in sent.items()
                if row.sent_at is not None and row.sent_at < before
            )[:limit]
            return sum(sent.remove(position) for _, position in old)
