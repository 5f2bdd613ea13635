"""A proxy before a server that counts what goes over the wire: statements, and round trips. Imports the proxy.

It reads the protocol, not the code above it, so that nothing can be done past it.

PostgreSQL: a round trip begins when the client asks for an answer (Query, Sync, Flush) and no other answer is due:
statements that are sent along without waiting for the one before share one. A statement is what the server says that it
has carried out, or refused.
MariaDB: each command of the client is a round trip, and its queries are the statements.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from freehold.testing.network.proxy import TcpProxy
from freehold.testing.network.stream import Observer

__all__ = ["MariaDbReader", "PostgresReader", "Wire", "wire"]

_SSL_REQUEST: Final = 80877103
_ASKS: Final = frozenset(b"QSHF")
"""Query, Sync, Flush, FunctionCall: the client waits for an answer to these."""
_ENDS: Final = frozenset(b"CIsE")
"""CommandComplete, EmptyQueryResponse, PortalSuspended, ErrorResponse: a statement has come to an end."""
_QUIT: Final = 1
_QUERIES: Final = frozenset((3, 23))
"""COM_QUERY, COM_STMT_EXECUTE."""


class Wire:
    """What went over the connections of one proxy since it was opened."""

    def __init__(self) -> None:
        self.statements = 0
        self.trips = 0


class _Frames:
    """Cuts a stream into messages; `found` is given the type of each. Begins with messages that have no type."""

    def __init__(self, found: Callable[[int], None]) -> None:
        self.typed = False
        self.skip_bytes = 0
        self._found = found
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Take what came; returns the code of an untyped message that is complete by now, 0 for none."""
        code, data = 0, self._rest + data
        skipped = min(self.skip_bytes, len(data))
        self.skip_bytes -= skipped
        data = data[skipped:]
        while len(data) >= 5 if self.typed else len(data) >= 8:
            (length,) = struct.unpack_from("!I", data, self.typed)
            if len(data) < length + self.typed:
                break
            if self.typed:
                self._found(data[0])
                data = data[length + 1 :]
            else:
                (code,) = struct.unpack_from("!I", data, 4)
                self.typed = code != _SSL_REQUEST
                data = data[length:]
        self._rest = data
        return code


class PostgresReader:
    """Reads a connection to PostgreSQL."""

    def __init__(self, counted: Wire) -> None:
        self._counted = counted
        self._answer_due = False
        self._asked = _Frames(self._client_says)
        self._answered = _Frames(self._server_says)
        self._answered.typed = True

    def from_client(self, data: bytes) -> None:
        """Read what the client sends."""
        if self._asked.feed(data) == _SSL_REQUEST:
            self._answered.skip_bytes = 1  # the answer to it is a single letter

    def from_server(self, data: bytes) -> None:
        """Read what the server sends."""
        self._answer_due = False
        self._answered.feed(data)

    def _client_says(self, kind: int) -> None:
        if kind in _ASKS and not self._answer_due:
            self._answer_due = True
            self._counted.trips += 1

    def _server_says(self, kind: int) -> None:
        self._counted.statements += kind in _ENDS


class MariaDbReader:
    """Reads a connection to MariaDB. A packet with the number 0 begins a command; the login has higher ones."""

    def __init__(self, counted: Wire) -> None:
        self._counted = counted
        self._rest = b""

    def from_client(self, data: bytes) -> None:
        """Cut what came into packets: three bytes of length, the number, the command."""
        data = self._rest + data
        while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:3], "little")):
            if data[3] == 0 and data[4] != _QUIT:
                self._counted.trips += 1
                self._counted.statements += data[4] in _QUERIES
            data = data[end:]
        self._rest = data

    def from_server(self, data: bytes) -> None:
        """Nothing is counted of it."""


@asynccontextmanager
async def wire(host: str, port: int, reads: Callable[[Wire], Observer]) -> AsyncIterator[tuple[int, Wire]]:
    """Open a proxy before a server; yields its port on the loopback, and what it counts."""
    counted = Wire()
    async with TcpProxy(host, port, observer=lambda: reads(counted)) as proxy:
        yield proxy.port, counted
