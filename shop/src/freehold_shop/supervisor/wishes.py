"""What the supervisor and a service's process say to each other over their socket pair: one JSON line at a time.

The supervisor says the whole of what it wishes each time, so that a process that starts later, or hears twice, ends up
the same. Imports msgspec only.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["Failed", "Lines", "Ready", "Wishes", "encode_line", "read_word"]


class Wishes(msgspec.Struct, frozen=True):
    """How a process should misbehave. What is a tuple names services.

    `databases_full`, `databases_read_only` and `broker_full` count for files of SQLite: a server is told itself.
    """

    duplicates: bool = False
    relays_stopped: tuple[str, ...] = ()
    projections_slow: bool = False
    databases_full: tuple[str, ...] = ()
    databases_read_only: tuple[str, ...] = ()
    broker_full: bool = False


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Every service of the process serves."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The process ends, for this reason."""

    reason: str


def encode_line(message: msgspec.Struct) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


def read_word(line: bytes) -> Ready | Failed:
    """What a process says."""
    return msgspec.json.decode(line, type=Ready | Failed)


class Lines:
    """Cuts what arrives into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> Iterator[bytes]:
        """Return the lines that are complete now."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        return iter(lines)
