"""Checkpoints on MariaDB, whose UPDATE returns nothing: they are moved and read by one compound statement. Imports the
base of the SQL adapters.
"""

from __future__ import annotations

from typing import Final

from freehold.adapters.sql.checkpoints import CHECKPOINT, MOVE, SqlCheckpointStore
from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect

__all__ = ["MariaDbCheckpointStore"]

_SAME: Final = "c.projection = g.projection AND c.generation = g.generation AND c.partition = g.partition"


class MariaDbCheckpointStore(SqlCheckpointStore):
    """Rows are moved, and locked by that, in the order in which they are given."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        given = dialect.relation_sql(2, MOVE)
        columns = ", ".join(f"c.{column}" for column in CHECKPOINT.split(", "))
        # Of several that are moved at once all are as they were seen, or none of them is told.
        self._advance = f"""
BEGIN NOT ATOMIC
DECLARE moved BIGINT;
UPDATE {given} AS g STRAIGHT_JOIN freehold_checkpoint AS c ON {_SAME}
SET c.position = g.target, c.handled = c.handled + g.handled, c.failed = c.failed + g.failed,
    c.updated_at = {dialect.now_sql(1)}
WHERE c.position = g.position AND c.state = g.state AND c.revision = g.revision AND c.state <> 'retired'
    AND g.target >= c.position;
SELECT ROW_COUNT() INTO moved;
SELECT {columns} FROM {given} AS g STRAIGHT_JOIN freehold_checkpoint AS c ON {_SAME}
WHERE moved = JSON_LENGTH($2);
END"""
