"""A private temporary database in which what several services say is laid side by side and compared by SQL.

It lives in memory while it is small and on disk beyond that, so that any number of orders is verified in bounded
memory, and is gone when it is closed. Imports the standard library and the model.
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
    """Use it as a context manager, by one thread at a time."""

    def __init__(self) -> None:
        # The empty name is SQLite's word for a private temporary database.
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
        """Run the statements that make the tables. Written here, never from input."""
        self._connection.executescript(statements)

    def load(self, insert: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run `insert` for each row, in one transaction; the rows are taken as they come."""
        self._connection.execute("BEGIN")
        self._connection.executemany(insert, rows)
        self._connection.execute("COMMIT")

    def value(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row."""
        return self._connection.execute(query, parameters).fetchone()[0]

    def settled(self) -> str:
        """How many orders the comparisons between services are about, in words."""
        settled, all_orders = self._connection.execute(
            "SELECT coalesce(sum(settled), 0), count(*) FROM customer_order"
        ).fetchone()
        return f"{settled} orders" if settled == all_orders else f"{settled} settled orders, of {all_orders},"

    def in_flight_words(self) -> str:
        """How many orders are on their way, behind a comma; nothing where none is."""
        count = self.value("SELECT count(*) FROM customer_order WHERE ended = 0")
        return f", {count} in flight" if count else ""

    def memory_words(self) -> str:
        """That the broker has forgotten its first messages, where it has."""
        complete = self.value("SELECT complete FROM broker_span")
        return "" if complete else ", as far as the broker remembers"

    def check(self, name: str, holds: str, violations: str, parameters: Mapping[str, Any] | None = None) -> Check:
        """Run the query that finds what is off: it gives an id, and what is off about it, a row each.

        `holds` is what is true where it finds nothing.
        """
        count, examples = 0, []
        for row in self._connection.execute(violations, parameters or {}):
            count += 1
            if count <= EXAMPLES_MAX:
                examples.append(" ".join(str(value) for value in row if value is not None))
        if count == 0:
            return Check(name, ok=True, detail=holds)
        more = "; …" if count > EXAMPLES_MAX else ""
        return Check(name, ok=False, detail=f"{count} where not: {holds}. {'; '.join(examples)}{more}")
