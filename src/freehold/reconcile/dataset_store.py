"""The port of datasets: the rows of a service's own tables that others replicate, or that are replicas. Pattern:
imports the database port and its package.

A key column (or an index on it) that is compared by its bytes makes reading ranges cheap. A repair is a compare-and-set
on the row as it was found, for the consumer continues to handle events while a replica is compared:

    t1  the comparison finds that the replica has revision 7, wrongly, and the source 8
    t2  the consumer handles an event and writes revision 9
    t3  the repair would write 8 over 9

At t3 the repair reads the row again under its lock, finds 9 instead of 7, and leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from freehold.database import DatabaseTransaction
from freehold.ports import Port
from freehold.reconcile.dataset import DatasetTable, FullRow, Replica

__all__ = ["DATASETS", "DatasetStore"]


class DatasetStore(Protocol):
    """The access to the rows of a service's datasets and replicas, in a form that is the same for all engines.

    An implementation keeps:

    1. Rows are read and written as `FullRow`s: what one engine gives, another one takes.
    2. Keys are compared by their bytes, whatever the collation of the engine, so that a range means the same rows
       everywhere. Keys that are no texts are refused.
    3. A page has `limit` rows at most, in order of the keys, each key once, and ends with the last key of its range.
    4. A repair is part of the transaction that is passed in, and rolls back with it. Rows that it does not name are
       left alone.
    5. A row is repaired only where it still is as it was found. One that was changed, added or deleted meanwhile stays
       as it is, and is not among the keys that are returned.
    6. A row under repair is locked until the transaction ends: who writes it meanwhile has the last word. A row that
       is being changed by another transaction is waited for first.
    7. A value that is none of the dataset's raises `DeclarationError` with the name of its field and without the value.
       A missing table or column raises `DatabaseError`, and never passes for an empty dataset.
    """

    async def page(self, table: DatasetTable, after: str, through: str | None, limit: int) -> Sequence[FullRow]:
        """The first rows whose keys lie behind `after` and, unless it is None, not behind `through`; `limit` at most,
        in order of the keys' bytes.

        Raises `DeclarationError` or `DatabaseError` where a whole table is read and its keys are no texts: they would
        not be compared.
        """

    async def rows(self, table: DatasetTable, keys: Sequence[str]) -> Sequence[FullRow]:
        """Rows by key, those that exist, in the order of the keys."""

    async def repair(
        self, db_tx: DatabaseTransaction, replica: Replica, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]
    ) -> Sequence[str]:
        """Write rows of a replica as its source has them: by key what the source has and what the replica had, None for
        no row. Returns the keys that were written.

        If the consumer has changed a row since it was found, the row is newer than what is known here.
        """


DATASETS: Final[Port[DatasetStore]] = Port(
    "datasets", "rows that are compared", DatasetStore, "freehold.conformance.datasets:DatasetStoreConformance"
)
