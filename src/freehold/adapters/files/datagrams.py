"""Datagrams between processes of this machine, by Unix sockets in a directory beside a file.

Imports the standard library only. A sender never waits: what a frozen receiver has no room for is lost.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["NAME_CHARACTERS_MAX", "DatagramSender", "bind_socket", "socket_directory", "unbind_socket"]

NAME_CHARACTERS_MAX: Final = 36
"""The longest name of a receiver; in ASCII."""
# A socket's path has at most 108 bytes on Linux and 104 on macOS, with the final zero.
_PATH_BYTES_MAX: Final = 103
_BIND_TRIES: Final = 20


def socket_directory(file: Path, suffix: str) -> Path:
    """The directory of the sockets of a file: beside it, or among temporary files if that path is too long."""
    beside = file.with_name(file.name + suffix)
    if len(os.fsencode(beside)) + 1 + NAME_CHARACTERS_MAX <= _PATH_BYTES_MAX:
        return beside
    digest = hashlib.blake2b(os.fsencode(file), digest_size=8).hexdigest()
    kind = "" if suffix == ".wake" else suffix
    return Path(tempfile.gettempdir()) / f"freehold-{os.getuid()}-{digest}{kind}"


def bind_socket(directory: Path, name: str) -> socket.socket:
    """A socket that receives as `name`. Raises `OSError` where it cannot be created."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setblocking(False)
    try:
        _bind(receiver, directory, name)
    except BaseException:
        receiver.close()
        raise
    return receiver


def unbind_socket(directory: Path, name: str) -> None:
    """Delete a receiver's socket; the last one deletes the directory."""
    with contextlib.suppress(OSError):  # others still receive there, or the directory is deleted already
        (directory / name).unlink(missing_ok=True)
        directory.rmdir()


def _bind(receiver: socket.socket, directory: Path, name: str) -> None:
    """Create the directory and a socket in it; again where another receiver deleted the directory in between."""
    for _ in range(_BIND_TRIES - 1):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            _bind_once(receiver, directory, name)
            return
    _bind_once(receiver, directory, name)


def _bind_once(receiver: socket.socket, directory: Path, name: str) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "the directory belongs to another user")
    receiver.bind(str(directory / name))


class DatagramSender:
    """Sends to receivers; never waits and never fails. Used by one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket: socket.socket | None = None

    def send(self, names: Iterable[str], data: bytes) -> None:
        """Send to each receiver; a socket without a receiver is deleted."""
        for name in names:
            path = self._directory / name
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._socket.setblocking(False)
                self._socket.sendto(data, str(path))
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
            self._socket = None
