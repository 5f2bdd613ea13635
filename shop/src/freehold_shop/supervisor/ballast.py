"""Rows in a SQLite file that use its free pages, so that the next write needs a new page.

They are in a table of their own. In the embedded broker's file they are in its table of settings, because the broker
rejects a file with other tables. Imports the standard library and Freehold's errors.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from freehold import Unavailable

__all__ = ["drop_ballast", "take_ballast"]

_LOCK_SECONDS = 5.0
_PAGES_MAX = 8_192
_ROUNDS = 2
_BROKER_SQL = "SELECT count(*) = 2 FROM sqlite_schema WHERE type = 'table' AND name IN ('setting', 'member')"
_COUNT_SQL = "SELECT count(*) FROM setting WHERE prefix = 'shop/ballast'"
_DELETE_SQL = "DELETE FROM setting WHERE prefix = 'shop/ballast'"


def take_ballast(file: Path) -> None:
    """Use the free pages, 16384 at most. Raises `Unavailable` where the file cannot be written."""
    try:
        with _writing(file) as connection:
            of_broker = _is_of_broker(connection)
            if not of_broker:
                connection.execute("CREATE TABLE IF NOT EXISTS shop_ballast (filler BLOB)")
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            for _ in range(_ROUNDS):
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
                if not free:
                    break
                # A page of a long value has four bytes less; the next round uses the pages that are left.
                filler = max(1, min(free, _PAGES_MAX) * (page_bytes - 4) - page_bytes // 2)
                if of_broker:
                    (number,) = connection.execute(_COUNT_SQL).fetchone()
                    row = (str(number), filler)
                    connection.execute("INSERT INTO setting VALUES ('shop/ballast', ?, zeroblob(?))", row)
                else:
                    connection.execute("INSERT INTO shop_ballast VALUES (zeroblob(?))", (filler,))
    except sqlite3.Error as error:
        raise Unavailable(
            f"the file {file.name} cannot be written: {error}", hint="heal its other faults first"
        ) from error


def drop_ballast(file: Path) -> bool:
    """Free the pages; false where that must wait, for example for a lock. Never raises."""
    if not file.exists():
        return True
    with contextlib.suppress(sqlite3.Error):
        with _writing(file) as connection:
            connection.execute("DROP TABLE IF EXISTS shop_ballast")
            if _is_of_broker(connection):
                connection.execute(_DELETE_SQL)
        return True
    return False


def _is_of_broker(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(_BROKER_SQL).fetchone()[0])


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
