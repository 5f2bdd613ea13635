"""The invoices that were read before, exactly, for any number of them, in bounded memory.

The numbers are in a temporary SQLite database, which is in memory while it is small and on disk beyond that, and is
deleted when it is closed. Imports the standard library only.
"""

from __future__ import annotations

import sqlite3

__all__ = ["SeenInvoices"]

_CACHE_KIBIBYTES = 4_096


class SeenInvoices:
    """Counts the parts of each invoice."""

    def __init__(self) -> None:
        # SQLite takes the empty name for a private temporary database. The reader may move between threads.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("CREATE TABLE seen (invoice TEXT PRIMARY KEY, parts INTEGER NOT NULL) WITHOUT ROWID")

    def next_part(self, invoice: str) -> int:
        """1 for a new invoice, 2 when it comes again, and so on."""
        row = self._connection.execute(
            "INSERT INTO seen (invoice, parts) VALUES (?, 1)"
            " ON CONFLICT (invoice) DO UPDATE SET parts = parts + 1 RETURNING parts",
            (invoice,),
        ).fetchone()
        return int(row[0])

    def close(self) -> None:
        """Delete the database."""
        self._connection.close()
