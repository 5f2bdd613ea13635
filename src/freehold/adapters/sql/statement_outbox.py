"""What a relay writes to the outbox, on engines where it is statements in a transaction. Imports the SQL base.

PostgreSQL has a function for each step instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.outbox import REASON_CHARACTERS_MAX, SqlOutboxStore
from freehold.outbox.store import LossState, StagedMessage

__all__ = ["StatementOutboxStore"]


class StatementOutboxStore(SqlOutboxStore):
    """The steps of a relay. Every statement but the last names the leases in `$1`, and skips partitions whose token is
    stale.

    _remove_sql         deletes the positions `$2`.
    _confirm_sql        writes or clears the pending watermarks `$2`.
    _keep_sql           copies the positions `$2` to the sent messages, at `$3`, with the number of losses `$4`.
    _reschedule         blocks the row of position `$5` for `$3` seconds from `$2` on, because of `$4`.
    _raise_pending_sql  raises the pending watermark of partition `$1` to position `$2`.
    """

    _remove_sql: str
    _confirm_sql: str
    _keep_sql: str
    _reschedule: str
    _raise_pending_sql: str

    async def reschedule(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key for some time, in one statement; False where the lease was lost."""
        rest = (self._dialect.now(), delay_seconds, reason[:REASON_CHARACTERS_MAX], message.position)
        async with self._database.direct() as sql:
            return await sql.execute(self._reschedule, (self._leases(leases), *rest)) == 1

    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        pending_watermarks: Mapping[int, int] | None = None,
        *,
        keep: LossState | None = None,
    ) -> int:
        """Delete confirmed rows under valid tokens, in one statement where no pending watermark changes."""
        positions = [message.position for message in messages]
        if keep is not None and positions:
            return await self._keep(self._leases(leases), positions, pending_watermarks or {}, keep.number)
        if pending_watermarks:
            return await self._confirm(self._leases(leases), positions, pending_watermarks)
        if not positions:
            return 0
        async with self._database.direct() as sql:
            return await self._remove(sql, self._leases(leases), positions)

    async def _remove(self, sql: SqlConnection, leases: str, positions: Collection[int]) -> int:
        return await sql.execute(self._remove_sql, (leases, self._dialect.list_value(positions)))

    async def _confirm(self, leases: str, positions: Collection[int], pending_watermarks: Mapping[int, int]) -> int:
        async with self._database.begin() as db_tx:
            removed = await self._remove(db_tx.sql, leases, positions) if positions else 0
            await db_tx.sql.execute(self._confirm_sql, (leases, self._positions_json(pending_watermarks)))
            return removed

    async def _keep(
        self, leases: str, positions: Collection[int], pending_watermarks: Mapping[int, int], losses: int
    ) -> int:
        async with self._database.begin() as db_tx:
            parameters = (leases, self._dialect.list_value(positions), self._dialect.now(), losses)
            await db_tx.sql.execute(self._keep_sql, parameters)
            removed = await self._remove(db_tx.sql, leases, positions)
            if pending_watermarks:
                await db_tx.sql.execute(self._confirm_sql, (leases, self._positions_json(pending_watermarks)))
            return removed

    async def _raise_pending(self, sql: SqlConnection, partition: int, position: int) -> None:
        await sql.execute(self._raise_pending_sql, (partition, position))
