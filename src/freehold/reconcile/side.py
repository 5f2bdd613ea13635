"""The two sides of a comparison, the side that is in this service's own database, and the barrier. Pattern: imports its
package, the transaction.

A range of keys means the same rows on both sides, and has the same digest, whichever engines they are on
(`freehold.reconcile.dataset_store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from freehold.consistency.token import ConsistencyToken
from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.ids import new_id, stable_hash
from freehold.messages import Envelope, MessageKind
from freehold.messages.lanes import lane_name
from freehold.outbox.store import OUTBOX
from freehold.reconcile.dataset import Dataset, DatasetTable, FullRow, RangeDigest, RowDigest, digest_of, row_digest
from freehold.reconcile.dataset_store import DatasetStore
from freehold.transaction import Transactions

__all__ = ["DatasetReader", "DatasetSource", "TableReader", "publish_barrier"]


class DatasetReader(Protocol):
    """Reads one side of a comparison."""

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Return the digest of the rows after `after` through `through`, or of the next `limit` rows if that is None.
        The result has the last key of its range; None if no row follows.
        """

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Return the digest of each row of a range, in order of key, at most `limit`."""

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Return the rows with these keys that exist."""


class DatasetSource(DatasetReader, Protocol):
    """Reads the side that is right, and publishes barriers."""

    async def publish_barrier(self) -> ConsistencyToken:
        """Publish a barrier after everything that was committed before the call; returns its positions."""


class TableReader:
    """Reads a dataset in a service's own database. Raises what the store raises."""

    def __init__(self, store: DatasetStore, table: DatasetTable) -> None:
        self._store = store
        self._table = table

    @property
    def dataset(self) -> Dataset:
        """The dataset."""
        return self._table.dataset

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Read the rows and digest them."""
        rows = await self.keys(after, through, limit)
        end = through if through is not None else rows[-1].key if len(rows) == limit else None
        return RangeDigest(after, end, len(rows), digest_of(rows))

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Read the rows, each with its digest."""
        rows = await self._store.page(self._table, after, through, limit)
        return [RowDigest(str(row[0]), row_digest(row)) for row in rows]

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Read the rows."""
        return await self._store.rows(self._table, keys)


async def publish_barrier(transactions: Transactions) -> ConsistencyToken:
    """Publish a barrier in each lane, in one transaction; returns the positions of the barriers.

    A consumer that has reached them has handled everything that was committed before the call, because the watermark of
    a lane never passes a message that is not on the broker yet. No handler sees a barrier; it only raises watermarks.
    """
    context = transactions.context
    partitions = range(context.stores[OUTBOX].partitions)
    async with transactions.begin() as tx:
        for partition in partitions:
            tx.staging.stage(_barrier(context, _key_of(partition, context.stores[OUTBOX].partitions)))
    crash_point("reconcile.barrier-published")
    # The transaction's token also has lanes that the caller has seen elsewhere; the replica need not reach those.
    lanes = {lane_name(context.service, partition) for partition in partitions}
    return ConsistencyToken({lane: position for lane, position in tx.token.positions.items() if lane in lanes})


@cache
def _key_of(partition: int, partitions: int) -> str:
    """A key of a partition."""
    number = 0
    while stable_hash(f"lane-{number}") % partitions != partition:
        number += 1
    return f"lane-{number}"


def _barrier(context: ServiceContext, key: str) -> Envelope:
    barrier_id = new_id()
    return Envelope(
        id=barrier_id,
        type=f"{context.service}.watermark",
        version=1,
        kind=MessageKind.EVENT,
        source=context.service,
        topic=f"{context.service}.events",
        key=key,
        time=context.clock.now(),
        hlc=context.hlc.tick(),
        correlation_id=barrier_id,
        body=b"{}",
    )
