"""Wakes consumers in other processes by one datagram to a Unix socket. Polling is the fall-back.

Adapter: imports the datagrams of engines with a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from freehold.adapters.files.datagrams import DatagramSender, bind_socket, socket_directory, unbind_socket

__all__ = ["MESSAGES", "REGROUP", "WakeListener", "WakeNotifier", "wake_directory"]

MESSAGES: Final = b"m"
REGROUP: Final = b"g"


def wake_directory(file: Path) -> Path:
    """The directory of the sockets of a broker's file."""
    return socket_directory(file, ".wake")


class WakeListener:
    """A member's socket. Where it cannot be created, the member polls."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = ""
        self._socket: socket.socket | None = None

    def open(self, name: str, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        """Listen as `name`; the callbacks run in the running loop."""
        try:
            listener = bind_socket(self._directory, name)
        except OSError:
            return
        self._name, self._socket = name, listener
        asyncio.get_running_loop().add_reader(listener, self._receive, on_messages, on_group)

    def close(self) -> None:
        """Stop listening; the last listener deletes the directory."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            unbind_socket(self._directory, self._name)

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
        self._sender = DatagramSender(directory)

    def notify(self, names: Iterable[str], what: bytes) -> None:
        """Send one byte to each; a socket without a listener is deleted."""
        self._sender.send(names, what)

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()
