"""A service's database file as the file system has it. Imports the SQL base and the driver.

A file that was deleted, replaced or moved stays open: what is committed into it is lost without an error. So a
connection compares its files with the path when it is taken from the pool and after each commit. While the file is away
nothing works, and no new one is made; once it is put back, itself or a copy, connections are opened again. A `-wal`
that was left by a file that is gone is removed first, since SQLite would take it for one of the copy. Where only the
`-wal` or the `-shm` was deleted, whoever has it open closes it; the last one writes what it holds into the database.
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
_RESTORE: Final = "put the file back, or move a backup to its place: nothing is written until then"


class DatabaseFile:
    """The file of one database, for all connections of one pool."""

    def __init__(self, path: Path, limit_seconds: float) -> None:
        self._paths = Paths.of(path)
        self._limit_seconds = limit_seconds
        self._known: Marks | None = None
        self._overwritten = False

    @property
    def known(self) -> bool:
        """Whether it was open before: it must be there, then."""
        return self._known is not None

    def put_in_order(self) -> None:
        """See before connecting that the file is there, and free of what one that is gone has left. May wait.

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
        """What a connection that was just made works with. Raises `Unavailable` where the file is gone again."""
        now = Marks.of(self._paths)
        if now is None:
            raise _away("its file was deleted while it was opened")
        return ConnectionFiles(self, OpenFiles(self._paths, replace(now, size=min(now.size, 1), wal=None, shm=None)))

    def is_another(self, files: ConnectionFiles) -> bool:
        """Whether this is another file than the one that was open before: it must prove to be the same database."""
        return self._known is not None and (self._known.database != files.marks.database or self._overwritten)

    def taken(self, files: ConnectionFiles) -> None:
        """Work with these files from now on."""
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
        """Which files they are; the `-wal` and the `-shm` once the connection has used them."""
        return self._files.marks

    @property
    def torn(self) -> bool:
        """Whether the database itself is still there, and only its `-wal` or `-shm` is not. Raises `OSError`."""
        now = Marks.of(self._files.paths)
        return now is not None and now.size > 0 and now.database == self.marks.database

    def change(self) -> str:
        """What happened to them since; empty for nothing. Raises `OSError`."""
        files = self._files
        if files.marks.wal is None:
            now = Marks.of(files.paths)
            if now is not None and now.wal is not None and now.database == files.marks.database:
                files.marks = replace(now, size=1)
                self._file.taken(self)
        return files.change()

    def check(self) -> None:
        """Raises `Unavailable` where the files are others than they were."""
        reason = self.change()
        if reason:
            raise _away(reason)

    def check_kept(self) -> None:
        """After a commit: raises `Unavailable` where it went into a file that is not there any more."""
        reason = self.change()
        if reason:
            raise Unavailable(f"the database did not keep what was committed: {reason}", hint=_RESTORE)


def _away(reason: str) -> Unavailable:
    return Unavailable(f"the database is away: {reason}", hint=_RESTORE)
