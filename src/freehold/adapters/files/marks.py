"""The identity of the files of an SQLite database, by inode. Imports the errors.

A process can keep a file open that was deleted or replaced. What it writes there is lost without an error. So each open
connection compares its files with those at the path.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from freehold.errors import Unavailable

try:
    import fcntl
except ImportError:  # on Windows, where an open file cannot be deleted
    _LOCKS = False
else:
    _LOCKS = True

__all__ = ["Marks", "OpenFiles", "Paths", "alone", "is_held"]

_PAUSE_SECONDS: Final = 0.005


class Paths(NamedTuple):
    """The paths of a database and of its `-wal` and `-shm`. For a symbolic link these are beside the file itself."""

    database: Path
    wal: Path
    shm: Path

    @classmethod
    def of(cls, database: Path) -> Paths:
        """The paths of a database's files."""
        real = database.resolve()
        return cls(database, real.with_name(real.name + "-wal"), real.with_name(real.name + "-shm"))

    def remove_log(self) -> None:
        """Remove the `-wal` and the `-shm`."""
        self.wal.unlink(missing_ok=True)
        self.shm.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Marks:
    """The identities of the files at a path. The system does not reuse the inode of an open file.

    size  the least size of the database in bytes, unless it is overwritten: 1 where a VACUUM may shrink it.
    """

    database: tuple[int, int]
    wal: int | None
    shm: int | None
    size: int

    @classmethod
    def of(cls, paths: Paths) -> Marks | None:
        """Read the identities; None where there is no database. Raises `OSError` where they cannot be read."""
        try:
            found = paths.database.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls((found.st_dev, found.st_ino), _inode(paths.wal), _inode(paths.shm), found.st_size)

    def change(self, now: Marks | None) -> str:
        """What has happened to the file since, for messages; empty for nothing."""
        if now is None:
            return "its file was deleted or moved while it was open"
        if now.size == 0 < self.size:
            return "its file was emptied while it was open"
        if now.database != self.database:
            return "its file was replaced while it was open"
        if now.size < self.size:
            return "its file was overwritten while it was open"
        if (self.wal is not None and now.wal != self.wal) or (self.shm is not None and now.shm != self.shm):
            return "the -wal or -shm of its file was deleted while it was open"
        return ""


class OpenFiles:
    """The files of one open connection."""

    __slots__ = ("_database", "_shm", "_wal", "marks", "paths", "written_ns")

    def __init__(self, paths: Paths, marks: Marks) -> None:
        self.paths = paths
        self.marks = marks
        self.written_ns = 0
        """The time of the last write to the database, as `change` has seen it."""
        self._database, self._wal, self._shm = map(str, paths)

    def change(self) -> str:
        """What has happened to the files since, for messages; empty for nothing. Raises `OSError`."""
        marks = self.marks
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(self._database)  # noqa: PTH116 - called often, twice as fast as Path.stat
            if (
                (found.st_dev, found.st_ino) == marks.database
                and found.st_size >= marks.size
                and os.stat(self._wal).st_ino == marks.wal  # noqa: PTH116 - called often, twice as fast as Path.stat
                and os.stat(self._shm).st_ino == marks.shm  # noqa: PTH116 - called often, twice as fast as Path.stat
            ):
                self.written_ns = found.st_mtime_ns
                return ""
        return marks.change(Marks.of(self.paths))


def is_held(paths: Paths, limit_seconds: float) -> bool:
    """Whether a process has this database open although its `-wal` or `-shm` is missing, because it was deleted.

    A closed database has none either. Waits at most `limit_seconds` for a process that is opening or closing it. Raises
    `sqlite3.Error`.
    """
    deadline = time.monotonic() + limit_seconds
    while True:
        with contextlib.closing(sqlite3.connect(paths.database, isolation_level=None, timeout=0.0)) as probe:
            try:
                probe.execute("PRAGMA locking_mode = EXCLUSIVE")
                probe.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            except sqlite3.OperationalError as error:
                if not getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                    raise
            else:
                return False
        found = Marks.of(paths)
        if found is None or (found.wal is not None and found.shm is not None):
            return False
        if time.monotonic() >= deadline:
            return True
        time.sleep(_PAUSE_SECONDS)  # a file sends no signal; runs in a thread, with a time limit


@contextlib.contextmanager
def alone(database: Path, limit_seconds: float) -> Iterator[None]:
    """Exclude other processes, and other threads of this one, from repairing the files of a database at the same time.

    Raises `Unavailable` after `limit_seconds`.
    """
    if not _LOCKS:
        yield
        return
    path = database.with_name(database.name + ".lock")
    deadline = time.monotonic() + limit_seconds
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _is_ours(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
        if time.monotonic() >= deadline:
            raise Unavailable(
                f"{path.name} is locked by another process for longer than {limit_seconds:g} s",
                hint="find a process that is frozen",
            )
        time.sleep(_PAUSE_SECONDS)  # flock has no time limit; runs in a thread


def _is_ours(descriptor: int, path: Path) -> bool:
    """Lock a file; False where another process has locked it, or the path is now that of another file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
