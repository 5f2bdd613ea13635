"""The port of datasets: the rows of a service's own tables that others replicate, or that are replicas. Pattern:
imports the database port and its package.

Keys are compared by their bytes, whatever the collation of an engine: a range means the same rows everywhere. A key
column (or an index on it) of that collation makes reading ranges cheap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from freehold.database import DatabaseTransaction
from freehold.ports import Port
from freehold.reconcile.dataset import DatasetTable, FullRow, Replica

__all__ = ["DATASETS", "DatasetStore"]


class DatasetStore(Protocol):
    """Reads and writes rows in the form that is the same for all engines (`FullRow`).

    All of it raises `DeclarationError` for a value that is none of the dataset's, and `DatabaseError` where there is no
    such table or column.
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

        A row is read again under its lock, which lasts as long as the transaction, and is written only where it is as
        it was found: if the consumer has changed it meanwhile, it is newer than what is known here, and stays.
        """


DATASETS: Final[Port[DatasetStore]] = Port(
    "datasets", "rows that are compared", DatasetStore, "freehold.conformance.datasets:DatasetStoreConformance"
)
