"""A private temporary database in which the data of several services are compared by SQL.

It is in memory while it is small and on disk beyond that, so that any number of orders is verified in bounded memory,
and it is deleted when it is closed. Imports the standard library and the model.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from freehold_shop.verify.model import Check

__all__ = ["EXAMPLES_MAX", "Scratch"]

EXAMPLES_MAX = 5
_CACHE_KIBIBYTES = 32_768


class Scratch:
    """The temporary database: a context manager, for one thread at a time."""

    def __init__(self) -> None:
        # SQLite takes the empty name for a private temporary database.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def script(self, statements: str) -> None:
        """Run the statements that create the tables; they are constants, never input."""
        self._connection.executescript(statements)

    def load(self, insert: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run `insert` for each row, in one transaction, without collecting the rows."""
        self._connection.execute("BEGIN")
        self._connection.executemany(insert, rows)
        self._connection.execute("COMMIT")

    def value(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row."""
        return self._connection.execute(query, parameters).fetchone()[0]

    def settled(self) -> str:
        """In words, how many orders are compared between services."""
        settled, all_orders = self._connection.execute(
            "SELECT coalesce(sum(settled), 0), count(*) FROM customer_order"
        ).fetchone()
        return f"{settled} orders" if settled == all_orders else f"{settled} settled orders (of {all_orders})"

    def in_flight_words(self) -> str:
        """In words after a comma, how many orders are in flight; empty for none."""
        count = self.value("SELECT count(*) FROM customer_order WHERE ended = 0")
        return f", {count} in flight" if count else ""

    def memory_words(self) -> str:
        """In words after a comma, that the broker has deleted its first messages; empty where it has all."""
        complete = self.value("SELECT complete FROM broker_span")
        return "" if complete else ", as far as the broker still has its messages"

    def check(self, name: str, holds: str, violations: str, parameters: Mapping[str, Any] | None = None) -> Check:
        """Run the query for violations: each row has an id and what is wrong about it.

        `holds` is the statement that is true where there are none.
        """
        count, examples = 0, []
        for row in self._connection.execute(violations, parameters or {}):
            count += 1
            if count <= EXAMPLES_MAX:
                examples.append(" ".join(str(value) for value in row if value is not None))
        if count == 0:
            return Check(name, ok=True, detail=holds)
        more = "; …" if count > EXAMPLES_MAX else ""
        return Check(name, ok=False, detail=f"{count} violations of: {holds}. {'; '.join(examples)}{more}")
