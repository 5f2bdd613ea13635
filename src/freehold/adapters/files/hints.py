"""Hints between processes that share a file: each has a Unix socket in a directory beside it.

Imports the port and its package. The directory, `orders.db.hint/`, belongs to the user of the processes; a process of
another user polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from freehold.adapters.files.datagrams import (
    DatagramSender,
    bind_socket,
    socket_directory,
    unbind_socket,
)
from freehold.errors import Unavailable
from freehold.hints import HINT_CHARACTERS_MAX, HintLine
from freehold.ids import new_id

__all__ = ["FileHints", "file_hints"]

_AT_ONCE_MAX: Final = 64
"""How many hints are read before other callbacks of the event loop have their turn."""


def file_hints(file: Path, service: str) -> FileHints | None:
    """The channel of a service beside a file; None on systems without such sockets."""
    return FileHints(file, service) if hasattr(socket, "AF_UNIX") else None


class FileHints:
    """The channel of one service beside a file, which several services may share."""

    def __init__(self, file: Path, service: str) -> None:
        self._directory = socket_directory(file, ".hint")
        self._service = hashlib.blake2b(service.encode(), digest_size=4).hexdigest() + "-"

    async def open(self, heard: Callable[[str], None]) -> HintLine:
        """Create a socket. Raises `Unavailable`."""
        name = f"{self._service}{new_id().hex[-24:]}"
        try:
            receiver = bind_socket(self._directory, name)
        except OSError as error:
            raise Unavailable(f"no socket for hints can be made ({error.strerror or type(error).__name__})") from error
        return _Line(self._directory, self._service, name, receiver, heard)


class _Line:
    """A process's socket."""

    def __init__(
        self, directory: Path, service: str, name: str, receiver: socket.socket, heard: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._service = service
        self._name = name
        self._receiver = receiver
        self._heard = heard
        self._sender = DatagramSender(directory)
        self._lost = asyncio.Event()
        asyncio.get_running_loop().add_reader(receiver, self._receive)

    async def send(self, text: str) -> None:
        """Send to the sockets in the directory. Raises `Unavailable` where the own one is not there any more."""
        try:
            names = [path.name for path in self._directory.iterdir() if path.name.startswith(self._service)]
        except OSError:
            names = []
        if self._name not in names:
            self._lost.set()
            raise Unavailable("the socket for hints was deleted")
        self._sender.send([name for name in names if name != self._name], text.encode())

    async def ended(self) -> None:
        """Return once the socket was found deleted."""
        await self._lost.wait()

    async def close(self) -> None:
        """Delete the socket."""
        if self._receiver.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._receiver)
            self._receiver.close()
            self._sender.close()
            unbind_socket(self._directory, self._name)

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(_AT_ONCE_MAX):
                if self._receiver.fileno() < 0:
                    return
                text = self._receiver.recv(4 * HINT_CHARACTERS_MAX)
                self._heard(text.decode(errors="replace"))
