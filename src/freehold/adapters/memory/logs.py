"""The brokers' logs that a service has used, in memory. Adapter: imports the port and its siblings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.outbox import LOG_MARKS, LOGS, has_staged
from freehold.adapters.memory.state import memory_transaction
from freehold.database import DatabaseTransaction
from freehold.outbox.log import BrokerLog, BrokerLogStore

__all__ = ["MemoryBrokerLogStore"]


class MemoryBrokerLogStore(BrokerLogStore):
    """Keeps one entry for each place of a log."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def note(self, place: str, identity: str, *, lacks: str | None = None) -> BrokerLog:
        """Remember the log of a broker."""
        async with self._database.begin() as db_tx:
            logs, marks = db_tx.rows(LOGS), db_tx.rows(LOG_MARKS)
            found = logs.get(place)
            if found is not None and found.identity == identity and lacks != (marks.get(place) or ""):
                return found
            lost_at = found.lost_at if found is not None else None
            is_news = found is not None and has_staged(db_tx)
            count = (found.losses if found is not None else 0) + is_news
            log = BrokerLog(place, identity, (lost_at or self._database.now()) if is_news else lost_at, count)
            logs.put(place, log)
            marks.put(place, "")
            return replace(log, is_news=is_news)

    async def mark(self, place: str) -> str:
        """The stored mark of a place; empty where there is none."""
        return (await self._database.read(LOG_MARKS)).get(place, "")

    async def keep_mark(self, place: str, identity: str, mark: str) -> None:
        """Store a mark; nothing where the place has another identity."""
        async with self._database.begin() as db_tx:
            found = db_tx.rows(LOGS).get(place)
            if found is not None and found.identity == identity:
                db_tx.rows(LOG_MARKS).put(place, mark)

    async def lost(self) -> Sequence[BrokerLog]:
        """The logs with an open loss."""
        rows = await self._database.read(LOGS)
        return sorted((log for log in rows.values() if log.lost_at is not None), key=lambda log: log.place)

    async def end_loss(self, db_tx: DatabaseTransaction, log: BrokerLog) -> bool:
        """End a loss; False where it has ended or another one was found."""
        logs = memory_transaction(db_tx).rows(LOGS)
        found = logs.get(log.place)
        if found is None or (found.identity, found.losses) != (log.identity, log.losses) or found.lost_at is None:
            return False
        logs.put(log.place, replace(found, lost_at=None))
        return True
