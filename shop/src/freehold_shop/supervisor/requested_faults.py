"""The messages between the supervisor and a service's process over their socket pair, one JSON line each.

The supervisor always sends all requested faults, so that a process that starts later, or receives them twice, has the
same ones. Imports msgspec only.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["Failed", "Lines", "Ready", "RequestedFaults", "decode_line", "encode_line"]


class RequestedFaults(msgspec.Struct, frozen=True):
    """The faults that a process should have. Tuples have names of services.

    `databases_full`, `databases_read_only` and `broker_full` apply to SQLite files; a server has these faults itself.
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
    """The process ends, for `reason`."""

    reason: str


def encode_line(message: msgspec.Struct) -> bytes:
    """Encode a message as one line."""
    return msgspec.json.encode(message) + b"\n"


def decode_line(line: bytes) -> Ready | Failed:
    """Decode a message of a process."""
    return msgspec.json.decode(line, type=Ready | Failed)


class Lines:
    """Splits received bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> Iterator[bytes]:
        """Add bytes and return the lines that are complete now."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        return iter(lines)
