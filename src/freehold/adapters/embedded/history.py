"""Whether the broker's file was overwritten by an older copy of itself. Adapter: standard library.

In WAL mode the file itself changes at checkpoints only, and its numbers grow. So where its time has changed, they are
read straight from it, past the `-wal`: a smaller number than before is that of an older copy. A copy that is not older
than the last checkpoint does no harm, for the `-wal` holds all that changed since.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

__all__ = ["FileHistory"]

_GIVEN_SQL: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'message'"
_NO_TABLE: Final = "no such table"
_LOOKS: Final = 3
_PAUSE_SECONDS: Final = 0.01


class FileHistory:
    """How far the file at a path was seen to have come. Safe to share between threads."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._inode = (0, 0)
        self._given = 0
        self._is_older = False

    def is_older(self) -> bool | None:
        """Whether it is not as far as before: from then on, until there is another file. None where it cannot be read
        just now: somebody writes it. Raises `OSError`.
        """
        found = self._database.stat()
        inode = found.st_dev, found.st_ino
        with self._turn:
            if inode != self._inode:
                self._inode, self._given, self._is_older = inode, 0, False
            if not self._is_older:
                given = self._read()
                for _ in range(_LOOKS):
                    if given is None or given >= self._given:
                        break
                    time.sleep(_PAUSE_SECONDS)  # a page that is just written may be read in part; in a thread
                    given = self._read()
                if given is None:
                    return None
                self._is_older = given < self._given
                self._given = max(self._given, given)
            return self._is_older

    def _read(self) -> int | None:
        """The number of the newest message that the file itself knows of."""
        # Opened by SQLite, for closing a file of one's own would end the locks of this process.
        url = f"file:{quote(str(self._database))}?mode=ro&immutable=1"
        try:
            with contextlib.closing(sqlite3.connect(url, uri=True, timeout=0.0)) as connection:
                (given,) = connection.execute(_GIVEN_SQL).fetchone()
                return int(given)
        except (sqlite3.Error, ValueError) as error:
            return 0 if _NO_TABLE in str(error) else None
