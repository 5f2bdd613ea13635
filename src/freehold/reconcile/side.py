"""The two sides of a comparison, and how the rows of a service's own database are one. Pattern: imports its package.

A range of keys means the same rows on both sides, and is digested in one way: which engine holds them makes no
difference (`freehold.reconcile.dataset_store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from freehold.consistency.token import Token
from freehold.reconcile.dataset import Dataset, FullRow, Offer, RangeDigest, RowDigest, digest_of, row_digest
from freehold.reconcile.dataset_store import DatasetStore

__all__ = ["FullRow", "Side", "Source", "StoreSide"]


class Side(Protocol):
    """One place where a dataset lies."""

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Digest of the rows behind `after`, through `through` or, where that is None, of the next `limit` rows; the
        result says through which key it goes, None where there are no more.
        """

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Each row of a range, in order of key; `limit` at most."""

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Rows by key, those that exist."""


class Source(Side, Protocol):
    """The side that is right."""

    async def fence(self) -> Token:
        """Publish a mark behind everything that was committed before; who has come to it has seen all of that."""


class StoreSide:
    """A dataset in a service's own database. Raises what the store does."""

    def __init__(self, store: DatasetStore, offer: Offer) -> None:
        self._store = store
        self._offer = offer

    @property
    def dataset(self) -> Dataset:
        """What is compared."""
        return self._offer.dataset

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Read the rows and digest them."""
        rows = await self.keys(after, through, limit)
        end = through if through is not None else rows[-1].key if len(rows) == limit else None
        return RangeDigest(after, end, len(rows), digest_of(rows))

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Read the rows, each with its digest."""
        rows = await self._store.page(self._offer, after, through, limit)
        return [RowDigest(str(row[0]), row_digest(row)) for row in rows]

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Read the rows."""
        return await self._store.rows(self._offer, keys)
