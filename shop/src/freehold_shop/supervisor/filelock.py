"""The write lock of a SQLite file, held by a process of its own. Imports the kernel.

In a process of its own, because the supervisor blocks while it waits and could not end the lock in time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sqlite3
import time
from pathlib import Path

from freehold import Unavailable
from freehold_shop.supervisor.kernel import fork, send_signal

__all__ = ["FileLock"]

_LOCK_PATIENCE_SECONDS = 10.0
_LOCK_MARGIN_SECONDS = 2.0
_TRY_SECONDS = 0.5
_PAUSE_SECONDS = 0.25
_LOOK_SECONDS = 0.02


class FileLock:
    """A lock that is held until `release`; with `hold_seconds`, that long at a time, with pauses between.

    With `at_once` the constructor waits for the lock, and raises `Unavailable` where it is not held in time, without
    leaving a process; otherwise the process takes the lock as soon as it can.
    """

    def __init__(self, path: Path, log: Path, hold_seconds: float | None = None, *, at_once: bool = True) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._pid = fork(lambda: _hold(path, ours, theirs, hold_seconds), log)
        theirs.close()
        if not at_once:
            return
        readable, _, _ = select.select([ours], [], [], _LOCK_PATIENCE_SECONDS)
        if not readable or ours.recv(1) != b"+":
            self.release()
            raise Unavailable(f"the file {path.name} could not be locked in time", hint="try again")

    def release(self) -> None:
        """Release the lock, and wait until the process has ended."""
        # A byte rather than the end of the stream: children forked meanwhile have copies of the socket.
        with contextlib.suppress(OSError):
            self._socket.sendall(b"-")
        self._socket.close()
        deadline = time.monotonic() + _LOCK_MARGIN_SECONDS
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    send_signal(self._pid, signal.SIGKILL)
                time.sleep(0.01)  # waitpid has no time limit, and there is no event loop here


def _hold(path: Path, ours: socket.socket, theirs: socket.socket, hold_seconds: float | None) -> int:
    ours.close()
    stopped = False
    while not stopped and not _is_there(path):
        stopped = _is_stopped(theirs, _LOOK_SECONDS)
    if stopped:
        return 0
    with contextlib.closing(sqlite3.connect(path, timeout=_TRY_SECONDS, isolation_level=None)) as connection:
        while not stopped:
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                stopped = _is_stopped(theirs, 0.0)  # another process has the lock
                continue
            with contextlib.suppress(OSError):
                theirs.sendall(b"+")
            stopped = _is_stopped(theirs, hold_seconds)
            connection.rollback()
            stopped = stopped or _is_stopped(theirs, _PAUSE_SECONDS)
    return 0


def _is_there(path: Path) -> bool:
    """Whether the file has been made by a process that uses it; this process must not make it."""
    with contextlib.suppress(OSError):
        return path.stat().st_size > 0
    return False


def _is_stopped(theirs: socket.socket, seconds: float | None) -> bool:
    readable, _, _ = select.select([theirs], [], [], seconds)
    return bool(readable)
