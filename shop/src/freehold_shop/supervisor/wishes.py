"""What the supervisor and a service's process say to each other over their socket pair: one JSON line at a time.

The supervisor says the whole of what it wishes each time, so that a process that starts later, or hears twice, ends up
the same. Imports msgspec only.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["Lines", "Ready", "Wishes", "encode_line"]


class Wishes(msgspec.Struct, frozen=True):
    """How a process should misbehave. `relays_stopped` names services."""

    duplicates: bool = False
    relays_stopped: tuple[str, ...] = ()
    projections_slow: bool = False


class Ready(msgspec.Struct, frozen=True):
    """Every service of the process serves."""

    ready: bool = True


def encode_line(message: msgspec.Struct) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


class Lines:
    """Cuts what arrives into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> Iterator[bytes]:
        """Return the lines that are complete now."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        return iter(lines)
