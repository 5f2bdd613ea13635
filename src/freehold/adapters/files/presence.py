"""Proof that a process of this machine has died: a file that it keeps locked as long as it lives.

Imports the standard library only. The lock belongs to the open file, so the kernel releases it when the last process
that has the file open has ended, in whatever way. A frozen process keeps the lock, and so does a forked child that
lives longer: then there is no proof, and the leases expire by time. An owner without a file is not known to be dead.
Locks do not reach other machines; files of SQLite do not either.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # on Windows
    _LOCKS = False
else:
    _LOCKS = True

__all__ = ["Presence", "PresenceFiles"]

_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.005
_KEPT_SECONDS: Final = 3600.0
_DEAD: Final = b"dead"


class Presence:
    """One owner's file, locked by this process until `release` or its end."""

    def __init__(self, files: PresenceFiles, owner: str) -> None:
        self._files = files
        self._owner = owner
        self._released = False

    async def is_valid(self) -> bool:
        """Whether the file is still locked: until `release`."""
        return not self._released

    async def release(self) -> None:
        """Release the owner; its file is deleted with the last holder in this process."""
        if not self._released:
            self._released = True
            self._files.let_go(self._owner)


@dataclass(slots=True)
class _Held:
    descriptor: int
    count: int = 1


class PresenceFiles:
    """The files of all owners beside a database: `orders.db.alive/`."""

    def __init__(self, file: Path) -> None:
        self._directory = file.with_name(file.name + ".alive")
        self._held: dict[str, _Held] = {}
        self._turn = threading.Lock()

    def hold(self, owner: str) -> Presence | None:
        """Lock the owner's file. None where that is not possible: its death cannot be proved then."""
        with self._turn:
            held = self._held.get(owner)
            if held is not None:
                held.count += 1
                return Presence(self, owner)
            descriptor = self._lock(owner)
            if descriptor is None:
                return None
            self._held[owner] = _Held(descriptor)
            self._sweep()
            return Presence(self, owner)

    def let_go(self, owner: str) -> None:
        """Release one holder of an owner. The last one deletes the file; the last file, the directory."""
        with self._turn:
            held = self._held[owner]
            held.count -= 1
            if held.count:
                return
            del self._held[owner]
            with contextlib.suppress(OSError):
                self._path(owner).unlink(missing_ok=True)
            os.close(held.descriptor)
            with contextlib.suppress(OSError):  # other processes may have files there
                self._directory.rmdir()

    def _lock(self, owner: str) -> int | None:
        if not _LOCKS:
            return None
        path = self._path(owner)
        for _ in range(_TRIES):
            try:
                descriptor = self._open(path)
            except FileNotFoundError:
                continue  # another process deleted the directory together with its last file
            except OSError:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                time.sleep(_PAUSE_SECONDS)  # another process is checking the lock, and sends no signal when it is done
                continue
            return descriptor
        return None

    def gone(self, owners: Collection[str]) -> set[str]:
        """The owners whose process has provably died."""
        return {owner for owner in owners if self._is_free(self._path(owner))}

    def _open(self, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def _is_free(self, path: Path) -> bool:
        """Whether the file exists and is not locked. It is marked then, and deleted much later, so that every process
        that checks the owner sees it.
        """
        if not _LOCKS:
            return False
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_size == 0:
                with contextlib.suppress(OSError):
                    path.write_bytes(_DEAD)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _sweep(self) -> None:
        """Delete files that were marked long ago."""
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                found = path.stat()
                if found.st_size and time.time() - found.st_mtime > _KEPT_SECONDS:
                    path.unlink(missing_ok=True)

    def _path(self, owner: str) -> Path:
        return self._directory / hashlib.blake2b(owner.encode(), digest_size=16).hexdigest()
