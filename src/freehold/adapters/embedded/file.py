"""Opens the broker's file, and detects when it is deleted, replaced or overwritten while it is open. Adapter: standard
library, errors, the base of the SQL adapters, and its package.

A process keeps a deleted or replaced file open, and what it writes there is lost without an error. So every connection
notes the identities of its files (the database, its `-wal` and its `-shm`, by inode) and compares them with those at
the path before it works and before it confirms. One process at a time opens the file, under a lock beside it. It
repairs what it finds at the path:

- deleted or emptied: after a short time, in which the file may be put back, the remains are deleted and a new file is
  created;
- replaced: the `-wal` of the former file is deleted, because SQLite would apply it to the new file;
- overwritten in place with a smaller or older file: its bytes are copied to a new inode, so that every process that
  knows the former content notices;
- without its `-wal` or `-shm`: the committed content is copied to a new inode, through a connection that still has
  them.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from freehold.adapters.embedded.connection import FileOptions, connect, prepare, rebind
from freehold.adapters.embedded.history import FileHistory
from freehold.adapters.files.marks import Marks, OpenFiles, Paths, alone, is_held
from freehold.errors import ConfigurationError, Unavailable

__all__ = ["BrokerFile", "OpenFile"]

_log = logging.getLogger("freehold.embedded")
_PUT_BACK_SECONDS: Final = 1.0
_STILL_GONE_SECONDS: Final = 10.0
"""After a longer time without a check the file may have been there in between, so the time to put it back starts again.
"""
_OVERWRITTEN: Final = "its file was overwritten by an older copy while it was open"
_UNREAD_SQL: Final = """
SELECT count(*) FROM message AS m WHERE m.seq > coalesce(
    (SELECT min(position) FROM progress AS p WHERE p.topic = m.topic AND p.part = m.part), 0)
"""


_open_files: list[OpenFile] = []
"""The open files of this process, of all its brokers."""
_open_lock = threading.Lock()


@dataclass(slots=True)
class OpenFile:
    """A connection with the identities of its files.

    abandoned  this process has since opened another file at the path, so this connection must be closed. It would be
               outdated even if its file came back: SQLite keeps one index of a `-wal` for all connections of a process
               to one file, and it would be the index of the former `-wal`.
    """

    connection: sqlite3.Connection
    files: OpenFiles
    log: str
    history: FileHistory
    looked_ns: int = 0
    abandoned: bool = False

    @property
    def marks(self) -> Marks:
        """The identities of its files."""
        return self.files.marks

    def change(self) -> str:
        """What has happened to the file since it was opened, for messages; empty for nothing. Raises `OSError`."""
        reason = self.files.change()
        if reason or self.files.written_ns == self.looked_ns:
            return reason
        written_ns = self.files.written_ns
        match self.history.is_older():
            case True:
                return _OVERWRITTEN
            case False:
                self.looked_ns = written_ns
            case None:
                pass  # it is checked the next time
        return ""

    def close(self) -> None:
        """Close the connection. Where the file was moved, SQLite does not delete the `-wal` at its former path."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()
        with _open_lock:
            _open_files[:] = [each for each in _open_files if each is not self]


class BrokerFile:
    """Opens the file for the threads of one broker. Thread-safe."""

    def __init__(self, options: FileOptions, prefix: str, partitions: int, limit_seconds: float) -> None:
        self.options = options
        self.partitions = partitions
        self._path = options.path
        self._paths = Paths.of(options.path)
        self._prefix = prefix
        self._limit_seconds = limit_seconds
        self._turn = threading.Lock()
        self._known: Marks | None = None
        self._history = FileHistory(options.path)
        self._gone_since: float | None = None
        self._said = ""

    def open(self, busy_seconds: float, former: OpenFile | None = None) -> OpenFile:
        """Open the file; create or repair it where needed. `former` is the connection that noticed a change.

        Raises `Unavailable`, `sqlite3.Error`, `OSError`; the first time also `ConfigurationError`, for a file that does
        not belong to a broker.
        """
        with self._turn:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with alone(self._path, self._limit_seconds):
                    self._refuse_abandoned()
                    return self._opened(busy_seconds, self._clear(former), former)
            except ConfigurationError as error:
                if self._known is None:
                    raise
                raise Unavailable(error.message, hint="put the broker's own file back, or delete this one") from error

    def _opened(self, busy_seconds: float, reason: str, former: OpenFile | None) -> OpenFile:
        connection = connect(self.options, self._limit_seconds)
        try:
            inode = self._path.stat().st_ino
            prepared = prepare(connection, inode, self._prefix, self.partitions, self._limit_seconds, reason)
            marks = Marks.of(self._paths)
            if marks is None or marks.database[1] != inode or marks.wal is None:
                raise Unavailable("the broker's file was changed while it was opened", hint="try again")
            if self._known is not None and prepared.partitions != self.partitions:
                raise Unavailable(
                    f"the broker's file has {prepared.partitions} partitions for each topic, not {self.partitions}",
                    hint="put the right file back, or restart all services",
                )
            connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        except BaseException:
            connection.close()
            raise
        opened = OpenFile(connection, OpenFiles(self._paths, marks), prepared.log, self._history)
        with _open_lock:
            for each in _open_files:
                if each.files.paths == self._paths and each.marks.database != marks.database:
                    each.abandoned = True
            _open_files.append(opened)
        if reason and self._said != prepared.epoch:
            self._said = prepared.epoch
            _log.warning("the broker's log continues in another file: %s; %s", reason, _lost(former, opened))
        self.partitions, self._known, self._gone_since = prepared.partitions, marks, None
        return opened

    def _refuse_abandoned(self) -> None:
        """Raise `Unavailable` for a file that came back while connections of this process to it are still open."""
        now = Marks.of(self._paths)
        with _open_lock:
            kept = any(
                each.abandoned and now is not None and each.marks.database == now.database for each in _open_files
            )
        if kept:
            raise Unavailable("the broker's file came back, and will be opened again soon", hint="try again")

    def _clear(self, former: OpenFile | None) -> str:
        """Repair what is at the path, so that it can be opened; returns what had happened to it."""
        now = Marks.of(self._paths)
        known = former.marks if former is not None else self._known
        if now is None or now.size == 0:
            reason = known.change(now) if known is not None else ""
            if known is not None:
                # A checkpoint into an emptied file would write only a part of the content.
                self._wait_for_its_return(reason, former if now is None else None)
            self._path.unlink(missing_ok=True)
            self._paths.remove_log()
            return reason
        reason = known.change(now) if known is not None else ""
        if known is not None and not reason and self._history.is_older():
            reason = _OVERWRITTEN
        if known is None or not reason:
            self._refuse_in_use(now)
        elif now.database != known.database:
            _checkpoint(former)
            if now.wal is not None and now.wal == known.wal:
                self._paths.remove_log()
        elif now.size < known.size or reason == _OVERWRITTEN:
            self._wait_for_its_return(reason, None)
            self._renew(lambda copy: shutil.copyfile(self._path, copy))
        elif former is None:
            self._refuse_in_use(now)
        else:
            self._renew(lambda copy: _back_up(former.connection, copy))
        return reason

    def _wait_for_its_return(self, reason: str, former: OpenFile | None) -> None:
        """Raise `Unavailable` for a short time, in which an operator may put the file back.

        Before that, a moved file is checkpointed, so that it contains all commits without its `-wal`.
        """
        now = time.monotonic()
        if self._gone_since is None or now - self._gone_since > _STILL_GONE_SECONDS:
            self._gone_since = now
            _checkpoint(former)
        if now - self._gone_since < _PUT_BACK_SECONDS:
            raise Unavailable(
                f"the broker is away: {reason}", hint="put it back now, or wait a second: then a new one is created"
            )

    def _refuse_in_use(self, now: Marks) -> None:
        """Raise `Unavailable` for a file without `-wal` or `-shm` that another process has open.

        A closed file has neither. Where they were deleted while the file was open, a process that has it open repairs
        it.
        """
        if now.wal is not None and now.shm is not None:
            return
        if is_held(self._paths, self._limit_seconds):
            raise Unavailable(
                "the -wal or -shm of the broker's file was deleted while other processes have it open",
                hint="these processes repair the file; find one that is frozen",
            )

    def _renew(self, fill: Callable[[Path], object]) -> None:
        """Replace the file by a copy with a new inode, so that every process that has the former one open notices."""
        copy = self._path.with_name(self._path.name + ".copy")
        copy.unlink(missing_ok=True)
        try:
            fill(copy)
            self._paths.remove_log()
            copy.replace(self._path)
        finally:
            copy.unlink(missing_ok=True)


def _checkpoint(former: OpenFile | None) -> None:
    """Write all commits into a file that was moved away: its `-wal` was not moved with it."""
    if former is not None:
        with contextlib.suppress(sqlite3.Error):
            former.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _back_up(connection: sqlite3.Connection, copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target:
        connection.backup(target)
        target.execute("PRAGMA synchronous = FULL")
        rebind(target, copy.stat().st_ino)


def _lost(former: OpenFile | None, opened: OpenFile) -> str:
    """What was lost, for the log message."""
    if former is not None and former.log == opened.log:
        return "nothing is lost"
    with contextlib.suppress(sqlite3.Error):
        if former is not None:
            (count,) = former.connection.execute(_UNREAD_SQL).fetchone()
            return (
                f"the former file contained {count} messages that not all groups had handled; "
                "`freehold outbox resend` resends kept messages"
            )
    return "the content of the former file is not known; `freehold outbox resend` resends kept messages"
