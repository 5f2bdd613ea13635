"""The two sides of a comparison, how the rows of a service's own database are one, and the barrier behind which they
are compared again. Pattern: imports its package, the transaction.

A range of keys means the same rows on both sides, and is digested in one way: which engine holds them makes no
difference (`freehold.reconcile.dataset_store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from freehold.consistency.token import ConsistencyToken
from freehold.context import ServiceContext
from freehold.ids import new_id, stable_hash
from freehold.messages import Envelope, MessageKind
from freehold.messages.lanes import lane_name
from freehold.outbox.store import OUTBOX
from freehold.reconcile.dataset import Dataset, DatasetTable, FullRow, RangeDigest, RowDigest, digest_of, row_digest
from freehold.reconcile.dataset_store import DatasetStore
from freehold.transaction import Transactions

__all__ = ["DatasetReader", "DatasetSource", "FullRow", "TableReader", "publish_barrier"]


class DatasetReader(Protocol):
    """One place where a dataset lies."""

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Digest of the rows behind `after`, through `through` or, where that is None, of the next `limit` rows; the
        result says through which key it goes, None where there are no more.
        """

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Each row of a range, in order of key; `limit` at most."""

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Rows by key, those that exist."""


class DatasetSource(DatasetReader, Protocol):
    """The side that is right."""

    async def publish_barrier(self) -> ConsistencyToken:
        """Publish a barrier behind everything that was committed before; whoever has come to it has seen all of
        that.
        """


class TableReader:
    """A dataset in a service's own database. Raises what the store does."""

    def __init__(self, store: DatasetStore, table: DatasetTable) -> None:
        self._store = store
        self._table = table

    @property
    def dataset(self) -> Dataset:
        """What is compared."""
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

    A consumer that has come to them has handled everything that was committed before the call, for a lane's watermark
    never passes what is not yet there. Consumers know barriers as progress only.
    """
    context = transactions.context
    partitions = range(context.stores[OUTBOX].partitions)
    async with transactions.begin() as tx:
        for partition in partitions:
            tx.staging.stage(_barrier(context, _key_of(partition, context.stores[OUTBOX].partitions)))
    # What the caller has seen of other lanes stands in the token too, and is nothing that a replica has to come to.
    lanes = {lane_name(context.service, partition) for partition in partitions}
    return ConsistencyToken({lane: position for lane, position in tx.token.positions.items() if lane in lanes})


@cache
def _key_of(partition: int, partitions: int) -> str:
    """A key that falls into a partition."""
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
