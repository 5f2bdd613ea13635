"""Proof that a process of this machine has died: a file that it holds locked for as long as it lives.

Imports the standard library only. The lock belongs to the open file, so the kernel lets go of it when the last
process that has it open is gone: killed, out of memory, or without a machine to run on. A process that is frozen keeps
it, and so does a child that was forked and lives on: then nothing is proved, and time decides. The file stands for the
vouching: where there is none, nothing is said. Locks do not reach other machines; files of SQLite do not either.
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
    """One owner's file, held by this process until `release`, or until it dies."""

    def __init__(self, files: PresenceFiles, owner: str) -> None:
        self._files = files
        self._owner = owner
        self._released = False

    async def is_valid(self) -> bool:
        """Whether the proof is still there: until it is released."""
        return not self._released

    async def release(self) -> None:
        """Say nothing of the owner any more, once nobody here does."""
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
        """Vouch for an owner. None where that cannot be done here: nothing is proved of it then."""
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
        """End one vouching for an owner; with the last, its file goes, and the directory with the last file."""
        with self._turn:
            held = self._held[owner]
            held.count -= 1
            if held.count:
                return
            del self._held[owner]
            with contextlib.suppress(OSError):
                self._path(owner).unlink(missing_ok=True)
            os.close(held.descriptor)
            with contextlib.suppress(OSError):  # others have files there
                self._directory.rmdir()

    def _lock(self, owner: str) -> int | None:
        if not _LOCKS:
            return None
        path = self._path(owner)
        for _ in range(_TRIES):
            try:
                descriptor = self._open(path)
            except FileNotFoundError:
                continue  # the last one to leave took the directory away
            except OSError:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                time.sleep(_PAUSE_SECONDS)  # somebody looks at it just now
                continue
            return descriptor
        return None

    def gone(self, owners: Collection[str]) -> set[str]:
        """Those of the owners whose process has provably died."""
        return {owner for owner in owners if self._is_free(self._path(owner))}

    def _open(self, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def _is_free(self, path: Path) -> bool:
        """Whether nobody holds a file that exists. It is marked then, to be removed much later: all who ask must see
        it.
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
        """Remove what was found dead long ago."""
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                found = path.stat()
                if found.st_size and time.time() - found.st_mtime > _KEPT_SECONDS:
                    path.unlink(missing_ok=True)

    def _path(self, owner: str) -> Path:
        return self._directory / hashlib.blake2b(owner.encode(), digest_size=16).hexdigest()
