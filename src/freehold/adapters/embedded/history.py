"""Detects that the broker's file was overwritten by an older copy of itself. Adapter: standard library.

In WAL mode the database file changes only at checkpoints, and the number of its newest message only grows. So after
each change of the file's time this number is read from the file without the `-wal`. A smaller number than before means
an older copy. A copy that is as new as the last checkpoint is harmless: the `-wal` has all changes since.
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
    """The highest message number that was read from the file at a path. Thread-safe."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._inode = (0, 0)
        self._given = 0
        self._is_older = False

    def is_older(self) -> bool | None:
        """Whether the file's number went back; then True until another file is there. None where the file cannot be
        read now, because a process is writing it. Raises `OSError`.
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
                    time.sleep(_PAUSE_SECONDS)  # a page may be read while it is written; runs in a thread
                    given = self._read()
                if given is None:
                    return None
                self._is_older = given < self._given
                self._given = max(self._given, given)
            return self._is_older

    def _read(self) -> int | None:
        """The number of the newest message in the file itself, without the `-wal`."""
        # SQLite opens it: closing a descriptor of our own would end this process's locks on the file.
        url = f"file:{quote(str(self._database))}?mode=ro&immutable=1"
        try:
            with contextlib.closing(sqlite3.connect(url, uri=True, timeout=0.0)) as connection:
                (given,) = connection.execute(_GIVEN_SQL).fetchone()
                return int(given)
        except (sqlite3.Error, ValueError) as error:
            return 0 if _NO_TABLE in str(error) else None
