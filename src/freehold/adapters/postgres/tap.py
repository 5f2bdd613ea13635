"""Reads the rows of what goes to the server with a text of asyncpg's, which asyncpg discards. Imports asyncpg.

asyncpg sends a text without parameters as one message, whatever number of statements it has, and reads of the answer
only how the last statement ended. The tap stands between the socket and asyncpg's protocol while such a text runs. It
passes every byte on unchanged, and notes the rows that it sees.

Calls that were sent ahead of the text (`bound_call`) ask for no answer of their own. If one fails, the server skips all
that follows until a Sync, the text too: then the tap sends that Sync, and asyncpg gets the error as that of its text.

It needs two attributes that asyncpg does not document, the connection's transport and its protocol; `TAPS` says whether
this release has them. Where it does not, no statement is sent with a COMMIT.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import asyncpg

from freehold.adapters.postgres.bound_call import SYNC

__all__ = ["TAPS", "RowTap"]

TAPS: Final = {"_protocol", "_transport"} <= set(asyncpg.Connection.__slots__)
_ROW: Final = ord("D")
_COMPLETE: Final = ord("C")
_ERROR: Final = ord("E")
_HEAD_BYTES: Final = 5
_VALUE_AT: Final = 11
"""Where the first column's value begins: behind the type and length of the message, the number of columns, and the
value's length.
"""


class RowTap(asyncio.Protocol):
    """The tap on one connection, within a block in which nothing but one text of statements runs.

    ahead  so many statements were sent ahead of the text, without a Sync.
    """

    def __init__(self, driver: asyncpg.Connection[Any], *, ahead: int = 0) -> None:
        connection: Any = driver
        self._ahead = ahead
        self._values: list[bytes] = []
        self._rest = b""
        self._transport: asyncio.Transport = connection._transport  # noqa: SLF001 - no public name; without it nothing is folded
        self._protocol: Any = connection._protocol  # noqa: SLF001 - no public name; without it nothing is folded

    def __enter__(self) -> Self:
        self._transport.set_protocol(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.set_protocol(self._protocol)

    @property
    def values(self) -> list[str]:
        """The first column of each row, as text."""
        return [value.decode() for value in self._values]

    def data_received(self, data: bytes) -> None:
        """Note the rows, and pass the bytes on."""
        self._read(self._rest + data)
        self._protocol.data_received(data)

    def eof_received(self) -> Any:
        """As asyncpg's protocol does."""
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncpg's protocol does."""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """As asyncpg's protocol does."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """As asyncpg's protocol does."""
        self._protocol.resume_writing()

    def _read(self, data: bytes) -> None:
        at = 0
        while at + _HEAD_BYTES <= len(data):
            end = at + 1 + int.from_bytes(data[at + 1 : at + _HEAD_BYTES])
            if end > len(data):
                break
            kind = data[at]
            if kind == _ROW:
                self._values.append(data[at + _VALUE_AT : end])
            elif kind == _COMPLETE:
                self._ahead -= 1
            elif kind == _ERROR and self._ahead > 0:
                self._ahead = 0
                self._transport.write(SYNC)
            at = end
        self._rest = data[at:]
