"""The message that begins a transaction ahead of its first statement. Imports asyncpg.

It is written to the connection right before asyncpg writes the statement, and asks for no answer of its own (no Sync):
the server answers to both together, in one round trip. asyncpg passes over the three messages that answer to BEGIN. If
BEGIN fails, the server skips the statement up to its Sync, and asyncpg raises BEGIN's error. A text of several
statements has no Sync: there BEGIN is written into the text.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import asyncpg

__all__ = ["BEGIN", "BEGIN_MESSAGE", "send"]

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


# The statement and the portal without a name, as asyncpg's own statements have them for a moment only.
BEGIN_MESSAGE: Final = (
    _message(b"P", b"\0" + BEGIN.encode() + b"\0" + struct.pack("!h", 0))
    + _message(b"B", b"\0\0" + struct.pack("!hhh", 0, 0, 0))
    + _message(b"E", b"\0" + struct.pack("!i", 0))
)
"""Parse, Bind, Execute."""


def send(driver: asyncpg.Connection[Any], messages: bytes) -> None:
    """Send messages ahead of what asyncpg sends next. The connection must not be closed."""
    connection: Any = driver
    connection._transport.write(messages)  # noqa: SLF001 - no public name; without it (`TAPS`) nothing is folded
