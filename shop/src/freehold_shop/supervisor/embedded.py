"""The embedded ground: a SQLite file for each service and the embedded broker's file. Imports the standard library.

An outage is a process that holds the file's write lock: nobody can write, and with that nobody can do anything that
lasts. The lock lives in a process of its own because the supervisor may be anywhere when it has to end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from freehold.errors import Unavailable
from freehold_shop.supervisor.kernel import fork, send_signal

__all__ = ["EmbeddedGround"]

_LOCK_PATIENCE_SECONDS = 10.0
_LOCK_MARGIN_SECONDS = 2.0


@dataclass(slots=True)
class EmbeddedGround:
    """Files below the state directory."""

    directory: Path
    databases: Mapping[str, str] = field(default_factory=dict)
    _locks: dict[Path, _FileLock] = field(default_factory=dict)

    def prepare(self, services: Sequence[str]) -> None:
        """Make the directory; the files are made by who opens them first."""
        (self.directory / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.databases = {service: f"sqlite:///{self._file(service)}" for service in services}

    @property
    def broker(self) -> str:
        """The broker's file as URL."""
        return f"embedded:///{quote(str(self._file('broker')))}"

    def pids(self) -> Mapping[str, int]:
        """No servers."""
        return {}

    def revive(self) -> None:
        """There is nothing that could have died."""

    def begin_broker_outage(self) -> None:
        """Lock the broker's file."""
        self._lock(self._file("broker"))

    def end_broker_outage(self) -> None:
        """Unlock the broker's file."""
        self._unlock(self._file("broker"))

    def begin_database_outage(self, service: str) -> None:
        """Lock the database's file."""
        self._lock(self._file(service))

    def end_database_outage(self, service: str) -> None:
        """Unlock the database's file."""
        self._unlock(self._file(service))

    def stop(self) -> None:
        """End every outage."""
        for path in list(self._locks):
            self._unlock(path)

    def _file(self, name: str) -> Path:
        return self.directory.absolute() / "data" / f"{name}.db"

    def _lock(self, path: Path) -> None:
        if path not in self._locks:
            self._locks[path] = _FileLock(path, self.directory / "logs" / "outage.log")

    def _unlock(self, path: Path) -> None:
        lock = self._locks.pop(path, None)
        if lock is not None:
            lock.release()


class _FileLock:
    """The write lock of a SQLite file, held by a child until `release`."""

    def __init__(self, path: Path, log: Path) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._pid = fork(lambda: _hold(path, ours, theirs), log)
        theirs.close()
        readable, _, _ = select.select([ours], [], [], _LOCK_PATIENCE_SECONDS + _LOCK_MARGIN_SECONDS)
        if not readable or ours.recv(1) != b"+":
            self.release()
            raise Unavailable(f"the file {path.name} could not be locked in time", hint="try again")

    def release(self) -> None:
        """Let go, and wait until the child has."""
        # A byte rather than the end of the stream: children forked meanwhile hold copies of the socket.
        with contextlib.suppress(OSError):
            self._socket.sendall(b"-")
        self._socket.close()
        deadline = time.monotonic() + _LOCK_MARGIN_SECONDS
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    send_signal(self._pid, signal.SIGKILL)
                time.sleep(0.01)


def _hold(path: Path, ours: socket.socket, theirs: socket.socket) -> int:
    ours.close()
    connection = sqlite3.connect(path, timeout=_LOCK_PATIENCE_SECONDS, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    theirs.sendall(b"+")
    theirs.recv(1)
    connection.rollback()
    connection.close()
    return 0
