"""Calls of functions with their arguments bound, as messages of the protocol. Imports the SQL base.

They are sent ahead of a COMMIT and ask for no answer of their own (no Sync): the server answers to all together. Each
call is a prepared statement of its connection, so nothing is parsed or planned again, and no value is part of a text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from freehold.adapters.sql.engine.commit_text import FunctionCall

__all__ = ["SYNC", "BoundCalls"]

SYNC: Final = b"S\0\0\0\4"
"""Ends the server's skipping of messages after an error."""
_EXECUTE: Final = b"E\0\0\0\x09\0\0\0\0\0"
_Kind = tuple[str, tuple[str, ...]]
_NULL: Final = struct.pack("!i", -1)
_BINARY: Final = struct.pack("!hh", 1, 1)
_RESULT_AS_TEXT: Final = struct.pack("!h", 0)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_INT: Final = struct.Struct("!i").pack
_BIGINT: Final = struct.Struct("!q").pack
_MICROSECOND: Final = 1_000_000


class BoundCalls:
    """The calls of one connection, which knows what it has prepared."""

    def __init__(self) -> None:
        self._prepared: dict[_Kind, bytes] = {}
        self._new: dict[_Kind, bytes] = {}
        self._numbers = count(1)

    def messages(self, calls: Sequence[FunctionCall]) -> bytes:
        """The messages of calls. Raises `UnicodeEncodeError` for a text that is none."""
        return b"".join(map(self._call, calls))

    def succeeded(self) -> None:
        """Note that the messages were carried out: what was new in them is prepared."""
        if self._new:
            self._prepared.update(self._new)
            self._new.clear()

    def failed(self) -> None:
        """Note that they were not: what was new is prepared again, under another name."""
        self._new.clear()

    def _call(self, call: FunctionCall) -> bytes:
        kind = call.function, call.types
        name = self._prepared.get(kind) or self._new.get(kind)
        parse = b""
        if name is None:
            name = self._new[kind] = b"freehold_%d\0" % next(self._numbers)
            parse = _message(b"P", name + _sql(call).encode() + b"\0\0\0")
        values = b"".join(
            _NULL if value is None else _sized(_WRITERS[cast.partition("::")[0]](value))
            for value, cast in zip(call.arguments, call.types, strict=True)
        )
        bind = b"\0" + name + _BINARY + len(call.types).to_bytes(2) + values + _RESULT_AS_TEXT
        return parse + _message(b"B", bind) + _EXECUTE


def _sql(call: FunctionCall) -> str:
    given = ", ".join(f"${number}::{kind}" for number, kind in enumerate(call.types, 1))
    return f"SELECT {call.function}({given})"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + _INT(len(body) + 4) + body


def _sized(value: bytes) -> bytes:
    return _INT(len(value)) + value


def _moment(value: datetime) -> bytes:
    since = value - _EPOCH
    return _BIGINT((since.days * 86_400 + since.seconds) * _MICROSECOND + since.microseconds)


def _array(oid: int, write: Callable[[Any], bytes]) -> Callable[[Sequence[Any]], bytes]:
    def written(values: Sequence[Any]) -> bytes:
        if not values:
            return struct.pack("!iii", 0, 0, oid)
        head = struct.pack("!iiiii", 1, None in values, oid, len(values), 1)
        return head + b"".join(_NULL if value is None else _sized(write(value)) for value in values)

    return written


_ELEMENTS: Final[Mapping[str, tuple[int, Callable[[Any], bytes]]]] = {
    "bigint": (20, _BIGINT),
    "integer": (23, _INT),
    "uuid": (2950, lambda value: value.bytes),
    "text": (25, str.encode),
    "bytea": (17, bytes),
    "timestamptz": (1184, _moment),
    "jsonb": (3802, lambda value: b"\1" + value.encode()),
}
"""By the name of the type: its number, and how a value is written in its binary form."""
_WRITERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    **{kind: write for kind, (_, write) in _ELEMENTS.items()},
    **{f"{kind}[]": _array(oid, write) for kind, (oid, write) in _ELEMENTS.items()},
}
