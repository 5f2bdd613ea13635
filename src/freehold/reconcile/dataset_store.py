"""The dataset port: the rows of a service's own tables that others replicate, or that are replicas. Pattern: imports
the database port and its package.

Reading ranges is cheap if the key column, or an index on it, is ordered by bytes. A repair is a compare-and-set on the
row as it was found, because the consumer continues to handle events while a replica is compared:

    t1  the comparison finds that the replica has revision 7, wrongly, and the source 8
    t2  the consumer handles an event and writes revision 9
    t3  the repair would write 8 over 9

At t3 the repair reads the row again under its lock, finds 9 instead of 7, and does not write it.
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

    1. Rows are read and written as `FullRow`s, so that the rows of one engine can be written on another one.
    2. Keys are compared by their bytes, whatever the collation of the engine, so that a range means the same rows
       everywhere. Keys that are not texts are refused.
    3. A page has at most `limit` rows, in order of the keys, each key once, and ends with the last key of its range.
    4. A repair is part of the transaction that is passed in, and rolls back with it. It changes only the rows that it
       names.
    5. A row is repaired only if it still is as it was found. One that was changed, added or deleted meanwhile stays as
       it is, and is not among the keys that are returned.
    6. A row under repair is locked until the transaction ends: a concurrent writer of it waits, and overwrites the
       repair. The repair in turn waits for a transaction that is changing the row.
    7. A value of another kind than declared raises `DeclarationError` with the name of its field and without the value.
       A missing table or column raises `DatabaseError`, and never passes for an empty dataset.
    """

    async def page(self, table: DatasetTable, after: str, through: str | None, limit: int) -> Sequence[FullRow]:
        """The first rows with keys after `after` and, unless it is None, through `through`; at most `limit`, in order
        of the keys' bytes.

        Raises `DeclarationError` or `DatabaseError` if a whole table is read and its keys are not texts.
        """

    async def rows(self, table: DatasetTable, keys: Sequence[str]) -> Sequence[FullRow]:
        """The rows with these keys that exist, in the order of the keys."""

    async def repair(
        self, db_tx: DatabaseTransaction, replica: Replica, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]
    ) -> Sequence[str]:
        """Write rows of a replica as its source has them. `wrong` has, by key, the row of the source and the row that
        was found in the replica; None for no row. Returns the keys that were written.

        A row that is not as it was found any more is left as it is: the consumer has handled a newer event.
        """


DATASETS: Final[Port[DatasetStore]] = Port(
    "datasets", "rows that are compared", DatasetStore, "freehold.conformance.datasets:DatasetStoreConformance"
)
