"""Detects that a service's database file was deleted, replaced or moved. Imports the SQL base and the driver.

SQLite keeps such a file open, and commits into it are lost without an error. So a connection compares its files with
those at the path: when it is acquired from the pool, and after each commit.

1. While there is no file at the path, every use fails, and no new file is created.
2. Once a file is there again (the same one or a copy), connections are opened again. A `-wal` that the lost file left
   behind is removed first: SQLite would apply it to the copy.
3. Where only the `-wal` or the `-shm` was deleted, all connections are closed. SQLite writes the content of the `-wal`
   into the database when the last one closes.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from freehold.adapters.files.marks import Marks, OpenFiles, Paths, alone, is_held
from freehold.errors import Unavailable

__all__ = ["ConnectionFiles", "DatabaseFile"]

_log = logging.getLogger("freehold.sqlite")
_RESTORE: Final = "put the file back, or a backup in its place: nothing is written until then"


class DatabaseFile:
    """The file of one database; shared by the connections of one pool."""

    def __init__(self, path: Path, limit_seconds: float) -> None:
        self._paths = Paths.of(path)
        self._limit_seconds = limit_seconds
        self._known: Marks | None = None
        self._overwritten = False

    @property
    def known(self) -> bool:
        """Whether the file was open before; it is not created again then."""
        return self._known is not None

    def put_in_order(self) -> None:
        """Before a connection: check that the file exists, and remove the `-wal` of a lost file. May block.

        Raises `Unavailable`, `OSError`, `sqlite3.Error`.
        """
        known = self._known
        now = Marks.of(self._paths)
        reason = known.change(now) if known is not None else ""
        if known is None or not reason:
            return
        if now is None or now.size == 0:
            self._overwritten = now is not None
            raise _away(reason)
        if now.database != known.database or self._overwritten:
            with alone(self._paths.database, self._limit_seconds):
                now = Marks.of(self._paths)
                if now is not None and now.wal is not None and now.wal == known.wal:
                    self._paths.remove_log()
        elif (now.wal is None or now.shm is None) and is_held(self._paths, self._limit_seconds):
            raise _away(reason)

    def opened(self) -> ConnectionFiles:
        """The files of a connection that was just opened. Raises `Unavailable` where the file was deleted meanwhile."""
        now = Marks.of(self._paths)
        if now is None:
            raise _away("its file was deleted while it was opened")
        return ConnectionFiles(self, OpenFiles(self._paths, replace(now, size=min(now.size, 1), wal=None, shm=None)))

    def is_another(self, files: ConnectionFiles) -> bool:
        """Whether this is another file than the one that was open before; the caller then checks the owner."""
        return self._known is not None and (self._known.database != files.marks.database or self._overwritten)

    def taken(self, files: ConnectionFiles) -> None:
        """Record these files as the current ones."""
        if self.is_another(files):
            _log.warning(
                "%s: the file was replaced while it was open; connections are opened again", self._paths.database
            )
        self._known, self._overwritten = files.marks, False


class ConnectionFiles:
    """The files of one connection."""

    __slots__ = ("_file", "_files")

    def __init__(self, file: DatabaseFile, files: OpenFiles) -> None:
        self._file = file
        self._files = files

    @property
    def marks(self) -> Marks:
        """The identities of the files; of the `-wal` and the `-shm` once the connection has used them."""
        return self._files.marks

    @property
    def torn(self) -> bool:
        """Whether the database is still there, so that only its `-wal` or `-shm` is missing. Raises `OSError`."""
        now = Marks.of(self._files.paths)
        return now is not None and now.size > 0 and now.database == self.marks.database

    def change(self) -> str:
        """What has happened to the files since, for messages; empty for nothing. Raises `OSError`."""
        files = self._files
        if files.marks.wal is None:
            now = Marks.of(files.paths)
            if now is not None and now.wal is not None and now.database == files.marks.database:
                files.marks = replace(now, size=1)
                self._file.taken(self)
        return files.change()

    def check(self) -> None:
        """Raise `Unavailable` where the files have changed. Raises `OSError`."""
        reason = self.change()
        if reason:
            raise _away(reason)

    def check_kept(self) -> None:
        """After a commit: raise `Unavailable` where it went into a file that is no longer there. Raises `OSError`."""
        reason = self.change()
        if reason:
            raise Unavailable(f"the database did not keep what was committed: {reason}", hint=_RESTORE)


def _away(reason: str) -> Unavailable:
    return Unavailable(f"the database is away: {reason}", hint=_RESTORE)
