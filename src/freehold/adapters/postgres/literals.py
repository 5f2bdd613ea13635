"""Values as literals, for statements that go to the server as one text. Imports the standard library only.

This is the only module that writes values into SQL: where a proxy pools transactions, and prepared statements of a
session (`bound_call`) cannot be used.

A literal means the same whatever `standard_conforming_strings`, `backslash_quote` and the encodings are: a quote is
doubled, a text with a backslash is written in the form with escapes, and bytes are hexadecimal digits. The server
converts a statement into its own encoding before it reads it, so no byte of a character can be taken for a quote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import zip_longest
from types import NoneType
from typing import Any, Final
from uuid import UUID

__all__ = ["call_sql", "is_writable", "literal"]


def is_writable(text: str) -> bool:
    """Whether a text can be written as a literal: it has no NUL, and no surrogate, which is no character."""
    if text.isascii():
        return "\x00" not in text
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def literal(value: object) -> str:
    """The literal of a value. Raises `ValueError` for a text that is not writable, `TypeError` for another type."""
    write = _WRITERS.get(type(value))
    if write is None:
        write = next((write for kind, write in _WRITERS.items() if isinstance(value, kind)), None)
    if write is None:
        msg = f"a {type(value).__name__} has no literal"
        raise TypeError(msg)
    return write(value)


def call_sql(function: str, arguments: Iterable[object], types: Iterable[str] = ()) -> str:
    """A statement that calls a function. `types` are those of its arguments, where a literal alone does not have the
    right one. `function` and `types` are written as they are.
    """
    given = (f"{literal(value)}::{cast}" if cast else literal(value) for value, cast in zip_longest(arguments, types))
    return f"SELECT {function}({', '.join(given)})"


def _text(text: str) -> str:
    if not is_writable(text):
        msg = "the text contains a character that PostgreSQL cannot store"
        raise ValueError(msg)
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else "E'" + quoted.replace("\\", "\\\\") + "'"


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    str: _text,
    bytes: lambda value: f"E'\\\\x{value.hex()}'",
    UUID: lambda value: f"'{value.int:032x}'",
    datetime: lambda value: f"'{value.isoformat()}'",
    bool: lambda value: "TRUE" if value else "FALSE",
    # Without quotes a minus would be an operator, of lower precedence than a cast.
    int: lambda value: f"{value:d}" if value >= 0 else f"'{value:d}'",
    list: lambda value: f"ARRAY[{','.join(map(literal, value))}]",
    NoneType: lambda _value: "NULL",
}
"""By type; `bool` before `int`, which it is as well."""
