"""The progress of consumers on PostgreSQL, which is sent with the COMMIT. Imports the SQL base and its siblings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from freehold.adapters.postgres.commit_call import add_call
from freehold.adapters.sql.engine.connection import sql_of
from freehold.adapters.sql.progress import SqlProgressStore
from freehold.database import DatabaseTransaction

__all__ = ["PostgresProgressStore"]

_ADVANCE: Final = "SELECT freehold_progress_advance($1::text, $2::text[], $3::bigint[], $4::bigint, $5::timestamptz)"
_TYPES: Final = ("text", "text[]", "bigint[]", "bigint", "timestamptz")


class PostgresProgressStore(SqlProgressStore):
    """Raises the last watermarks of a transaction without a round trip of their own."""

    async def advance(
        self, db_tx: DatabaseTransaction, consumer: str, watermarks: Mapping[str, int], *, appended_position: int = 0
    ) -> None:
        """Raise watermarks, in one statement."""
        if watermarks:
            await sql_of(db_tx).fetch(_ADVANCE, self._given(consumer, watermarks, appended_position))

    async def advance_last(
        self, db_tx: DatabaseTransaction, consumer: str, watermarks: Mapping[str, int], *, appended_position: int = 0
    ) -> None:
        """Raise watermarks with the COMMIT where Freehold sends it; else at once."""
        if not watermarks:
            return
        given = self._given(consumer, watermarks, appended_position)
        if not add_call(db_tx, self._dialect, "freehold_progress_advance", given, _TYPES, texts=watermarks):
            await self.advance(db_tx, consumer, watermarks, appended_position=appended_position)

    def _given(self, consumer: str, watermarks: Mapping[str, int], appended_position: int) -> tuple[object, ...]:
        return consumer, list(watermarks), list(watermarks.values()), appended_position, self._dialect.now()
