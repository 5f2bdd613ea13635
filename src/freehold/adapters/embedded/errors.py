"""Translates errors of SQLite in the embedded broker. Adapter: imports the foundation and the check of a disk.

All statements are the broker's own, and a message that is too large is refused before one runs. So no error of SQLite
is caused by a message. All errors, including unknown codes, are outages of the file, and messages wait in order.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from freehold.disk import room_at
from freehold.errors import ErrorMeaning, Unavailable

__all__ = ["ERROR_TABLE", "is_locked", "meaning", "translate_error"]

_ROOM: Final = "make room on the disk; messages wait until then"
_DISK: Final = "is the disk full, failing, or removed?"
_RIGHTS: Final = "restore the permission to write the file and its directory, or mount the disk for writing"
_DESCRIPTORS: Final = "raise the limit of open files (ulimit -n)"
_RESTORE: Final = "restore it, or delete it: a new one is created, and `freehold outbox resend` resends kept messages"

ERROR_TABLE: Final[Mapping[str, tuple[ErrorMeaning, str, str]]] = {
    "SQLITE_BUSY": (ErrorMeaning.OUTAGE, "is locked by another process", "find a process that is frozen"),
    "SQLITE_BUSY_RECOVERY": (ErrorMeaning.OUTAGE, "is being recovered by another process", "try again"),
    "SQLITE_LOCKED": (ErrorMeaning.OUTAGE, "is locked by another connection of this process", "try again"),
    "SQLITE_FULL": (ErrorMeaning.OUTAGE, "cannot grow: the disk is full", _ROOM),
    "SQLITE_NOLFS": (ErrorMeaning.OUTAGE, "is as large as the file system permits", _ROOM),
    "SQLITE_READONLY": (ErrorMeaning.OUTAGE, "is read-only", _RIGHTS),
    "SQLITE_READONLY_DIRECTORY": (ErrorMeaning.OUTAGE, "is in a directory that is read-only", _RIGHTS),
    "SQLITE_READONLY_DBMOVED": (ErrorMeaning.OUTAGE, "was moved or deleted", "put it back, or wait for a new one"),
    "SQLITE_PERM": (ErrorMeaning.OUTAGE, "may not be used by this process", "check its permissions"),
    "SQLITE_AUTH": (ErrorMeaning.OUTAGE, "may not be used by this process", "check its permissions"),
    "SQLITE_CANTOPEN": (ErrorMeaning.OUTAGE, "cannot be opened", "check its directory and its permissions"),
    "SQLITE_IOERR": (ErrorMeaning.OUTAGE, "cannot be read or written", _DISK),
    "SQLITE_NOMEM": (ErrorMeaning.OUTAGE, "cannot be used: the process is out of memory", "try again"),
    "SQLITE_PROTOCOL": (ErrorMeaning.OUTAGE, "could not be locked", "is it on a network file system?"),
    "SQLITE_INTERRUPT": (ErrorMeaning.OUTAGE, "did not answer in time", "try again"),
    "SQLITE_SCHEMA": (ErrorMeaning.OUTAGE, "had its tables changed meanwhile", "try again"),
    "SQLITE_CORRUPT": (ErrorMeaning.OUTAGE, "is damaged", _RESTORE),
    "SQLITE_NOTADB": (ErrorMeaning.OUTAGE, "is no SQLite database", _RESTORE),
    "SQLITE_FORMAT": (ErrorMeaning.OUTAGE, "is no SQLite database", _RESTORE),
    "SQLITE_ERROR": (ErrorMeaning.OUTAGE, "does not have the tables of a broker", _RESTORE),
    "SQLITE_CONSTRAINT": (ErrorMeaning.OUTAGE, "does not have the tables of a broker", _RESTORE),
    "SQLITE_MISMATCH": (ErrorMeaning.OUTAGE, "does not have the tables of a broker", _RESTORE),
}
"""Meaning, message (after "the broker's file") and hint by the name of a result code; the longest prefix that ends
before a `_` counts.
"""
_UNKNOWN: Final = (ErrorMeaning.OUTAGE, "cannot be used now", "check the disk and the file's permissions")
_SYSTEM: Final[Mapping[int, tuple[ErrorMeaning, str, str]]] = {
    errno.ENOSPC: ERROR_TABLE["SQLITE_FULL"],
    errno.EDQUOT: ERROR_TABLE["SQLITE_FULL"],
    errno.EROFS: ERROR_TABLE["SQLITE_READONLY_DIRECTORY"],
    errno.EACCES: ERROR_TABLE["SQLITE_PERM"],
    errno.EPERM: ERROR_TABLE["SQLITE_PERM"],
    errno.EIO: ERROR_TABLE["SQLITE_IOERR"],
    errno.EMFILE: (ErrorMeaning.OUTAGE, "cannot be opened: no file descriptor is free", _DESCRIPTORS),
    errno.ENFILE: (ErrorMeaning.OUTAGE, "cannot be opened: no file descriptor is free", _DESCRIPTORS),
}
_ABOUT_FILES: Final = ("SQLITE_CANTOPEN", "SQLITE_IOERR")
"""Codes that SQLite also returns for a full disk, when a file beside the database cannot be created or grow."""
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})


def meaning(name: str) -> tuple[ErrorMeaning, str, str]:
    """The meaning, message and hint of a result code."""
    while name:
        if name in ERROR_TABLE:
            return ERROR_TABLE[name]
        name = name.rpartition("_")[0]
    return _UNKNOWN


def is_locked(error: BaseException) -> bool:
    """Whether another process or connection holds the lock, so that a wait may help."""
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def translate_error(error: sqlite3.Error | MemoryError | OSError, file: Path) -> Unavailable:
    """Translate an error of SQLite or of the file system. The message contains no values and no path."""
    if isinstance(error, OSError):
        _, reason, hint = _SYSTEM.get(error.errno or 0, _UNKNOWN)
        return Unavailable(
            f"the broker's file {reason} ({errno.errorcode.get(error.errno or 0, 'OSError')})", hint=hint
        )
    name = "SQLITE_NOMEM" if isinstance(error, MemoryError) else _name(error)
    _, reason, hint = meaning(name)
    if name.startswith(_ABOUT_FILES) and (room := room_at(file)) is not None and room.full:
        _, reason, hint = ERROR_TABLE["SQLITE_FULL"]
    elif name.startswith("SQLITE_CANTOPEN"):
        reason, hint = _why_not_opened(file) or (reason, hint)
    return Unavailable(f"the broker's file {reason} ({name})", hint=hint)


def _why_not_opened(file: Path) -> tuple[str, str] | None:
    """The reason why SQLite could not open the file, which its code does not show; None where it is not found.

    The file itself is not opened for that: closing it would end this process's locks on it.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in _NO_DESCRIPTOR:
            return "cannot be opened: no file descriptor is free", _DESCRIPTORS
    if file.is_dir():
        return "is a directory", "check FREEHOLD_BROKER"
    if not file.parent.is_dir():
        return "is in a directory that does not exist", "put the directory back"
    return None


def _name(error: BaseException) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
