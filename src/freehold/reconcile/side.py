"""The two sides of a comparison, and how a table in a service's own database is read as one. Pattern: imports the
foundation, the database port and its own package.

Keys are compared by their bytes on both sides, whatever the collation of an engine: a range means the same rows
everywhere. A key column (or an index on it) of that collation makes reading ranges cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from freehold.consistency.token import Token
from freehold.database import Database, Row, SqlConnection
from freehold.errors import DeclarationError
from freehold.reconcile.dataset import Dataset, Offer, RangeDigest, RowDigest, digest_of, row_digest
from freehold.reconcile.field_value import PLAIN_TYPES, FieldKind, canonical

__all__ = ["FullRow", "Side", "Source", "TableSide", "read_row", "same_key", "selected"]

FullRow = tuple[object, ...]
"""The key and the fields, in the order of the dataset and in the form that is the same for all engines."""


def same_key(database: Database, offer: Offer) -> str:
    """The condition on the one row of a key, `$1`: found by the column's own index, and the same byte by byte."""
    column, order = offer.column(offer.dataset.key), database.features.byte_order_sql
    return f"{column} = $1 AND {column} {order} = $1" if order else f"{column} = $1"


def selected(offer: Offer) -> str:
    """What is read of a row; documents as they are written, for drivers would decode them."""
    dataset = offer.dataset
    columns = {name: offer.column(name) for name in (dataset.key, *dataset.fields)}
    return ", ".join(
        f"CAST({column} AS text)" if dataset.kind(name) is FieldKind.JSON else column
        for name, column in columns.items()
    )


def read_row(dataset: Dataset, row: Row) -> FullRow:
    """A row as it is compared. Raises `DeclarationError` for a value that is none of the dataset's."""
    if not dataset.kinds:
        values = tuple(row)
        if PLAIN_TYPES.issuperset(map(type, values)):
            return values
    names = (dataset.key, *dataset.fields)
    found: list[object] = []
    for name, value in zip(names, row, strict=True):
        try:
            found.append(canonical(dataset.kind(name), value))
        except ValueError as error:
            raise DeclarationError(
                f"'{name}' of dataset '{dataset.name}' holds {error}, and is declared as {dataset.kind(name).value}",
                hint="texts, whole numbers and booleans are plain; say of others what they are: kinds={…}",
            ) from None
    return tuple(found)


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


class TableSide:
    """A dataset in a table of an SQL database. Raises `DeclarationError` for a value that is none of a dataset's."""

    def __init__(self, database: Database, offer: Offer) -> None:
        self._database = database
        dataset, order = offer.dataset, database.features.byte_order_sql
        key = f"{offer.column(dataset.key)} {order}".strip()
        start = f"SELECT {selected(offer)} FROM {offer.table} WHERE"  # noqa: S608 - identifiers are checked when declared
        self._next = f"{start} {key} > $1 ORDER BY {key} LIMIT $2"
        self._between = f"{start} {key} > $1 AND {key} <= $2 ORDER BY {key} LIMIT $3"
        self._by_key = f"{start} {same_key(database, offer)}"
        self._any = f"SELECT 1 FROM {offer.table} LIMIT 1"  # noqa: S608 - as above
        self.dataset: Dataset = dataset

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Read the rows and digest them."""
        rows = await self.keys(after, through, limit)
        end = through if through is not None else rows[-1].key if len(rows) == limit else None
        return RangeDigest(after, end, len(rows), digest_of(rows))

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Read the rows, each with its digest."""
        async with self._database.direct() as sql:
            if through is None:
                rows = await sql.fetch(self._next, (after, limit))
            else:
                rows = await sql.fetch(self._between, (after, through, limit))
            if not rows and not after and through is None:
                await self._check_empty(sql)
        return [RowDigest(str(row[0]), row_digest(read_row(self.dataset, row))) for row in rows]

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Read rows one by one: there are few of them."""
        found: list[FullRow] = []
        async with self._database.direct() as sql:
            for key in keys:
                found += [read_row(self.dataset, row) for row in await sql.fetch(self._by_key, (key,))]
        return found

    async def _check_empty(self, sql: SqlConnection) -> None:
        """Raise `DeclarationError` where no key was found although there are rows: on SQLite numbers come before any
        text, and would never be compared.
        """
        if await sql.fetch(self._any) and not await sql.fetch(self._next, ("", 1)):
            raise DeclarationError(
                f"the keys of dataset '{self.dataset.name}' are no texts here, or empty",
                hint="name a column of text, that of a view for one: CAST(id AS text)",
            )
