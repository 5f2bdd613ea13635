"""Wakes consumers in other processes by one datagram to a Unix socket. Polling is the fall-back.

Adapter: standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

__all__ = ["MESSAGES", "REGROUP", "WakeListener", "WakeNotifier", "wake_directory"]

MESSAGES: Final = b"m"
REGROUP: Final = b"g"

# A socket's path has at most 108 bytes on Linux and 104 on macOS, with the final zero; a member's name has 36.
_PATH_BYTES_MAX: Final = 103
_NAME_BYTES: Final = 37
_BIND_TRIES: Final = 20


def wake_directory(file: Path) -> Path:
    """The directory of the sockets of a broker's file: beside it, or among temporary files if that path is too long."""
    beside = file.with_name(file.name + ".wake")
    if len(os.fsencode(beside)) + _NAME_BYTES <= _PATH_BYTES_MAX:
        return beside
    digest = hashlib.blake2b(os.fsencode(file), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"freehold-{os.getuid()}-{digest}"


class WakeListener:
    """A member's socket. Where it cannot be created, the member polls."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path: Path | None = None
        self._socket: socket.socket | None = None

    def open(self, name: str, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        """Listen as `name`; the callbacks run in the running loop."""
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        except OSError:  # no file descriptor is free
            return
        listener.setblocking(False)
        try:
            self._bind(listener, name)
        except OSError:
            listener.close()
            return
        self._path, self._socket = self._directory / name, listener
        asyncio.get_running_loop().add_reader(listener, self._receive, on_messages, on_group)

    def close(self) -> None:
        """Stop listening; the last listener deletes the directory."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
            with contextlib.suppress(OSError):  # others still listen there, or the directory is deleted already
                self._directory.rmdir()

    def _bind(self, listener: socket.socket, name: str) -> None:
        """Create the directory and a socket in it; again where another member deleted the directory in between."""
        for _ in range(_BIND_TRIES - 1):
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                self._bind_once(listener, name)
                return
        self._bind_once(listener, name)

    def _bind_once(self, listener: socket.socket, name: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._directory.stat().st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "the directory belongs to another user")
        listener.bind(str(self._directory / name))

    def _receive(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        heard: set[bytes] = set()
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while self._socket is not None:
                heard.add(self._socket.recv(1))
        if MESSAGES in heard:
            on_messages()
        if REGROUP in heard:
            on_group()


class WakeNotifier:
    """Sends to the sockets of listeners; never waits and never fails. Used by one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket: socket.socket | None = None

    def notify(self, names: Iterable[str], what: bytes) -> None:
        """Send one byte to each; a socket without a listener is deleted."""
        for name in names:
            path = self._directory / name
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._socket.setblocking(False)
                self._socket.sendto(what, str(path))
            except ConnectionRefusedError:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            except OSError:
                # The socket does not exist, its buffer is full already, or no file descriptor is free.
                continue

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
