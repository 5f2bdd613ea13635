"""The output of commands: tables and lines for operators, or one JSON document. Face: imports rich and the codec.

Payloads are shown only on request, and never in a cell of a table.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from freehold.clock import duration

__all__ = [
    "ago",
    "answer_json",
    "document_of",
    "duration",
    "line",
    "note",
    "note_on_interrupt",
    "seconds_of",
    "table",
    "to_plain",
]

_GAP: Final = 2
_UNFOLDED: Final = 20
_PIPE_WIDTH: Final = 10_000
"""The width where the output is not a terminal: nothing is wrapped on its way to `grep`."""


def answer_json(document: object) -> None:
    """Write one JSON document to standard output."""
    encoded = msgspec.json.format(msgspec.json.encode(to_plain(document)), indent=2)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()  # a program that reads the document of `run` through a pipe must not wait until it ends


def line(text: str = "", *, style: str = "") -> None:
    """Write a line of the answer. Only the terminal wraps long lines, so that they can be copied."""
    _console().print(Text(text, style=style), soft_wrap=True)


def note(text: str) -> None:
    """Write a line to standard error: it is not part of the answer."""
    Console(stderr=True, highlight=False).print(Text(text), soft_wrap=True)


@contextmanager
def note_on_interrupt(words: Callable[[], str]) -> Iterator[None]:
    """If ctrl-c ends the block, write a note that says how far it is."""
    try:
        yield
    except asyncio.CancelledError:
        note(words())
        raise


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, least: Sequence[str] = ()
) -> None:
    """Show rows under a title, or the text `empty` if there are none.

    least  columns that are left out, the first one first, if the terminal is too narrow for all.
    """
    values = [tuple(row) for row in rows]
    if not values:
        line(f"{title}: {empty}")
        return
    console = _console()
    made = {name: _Column(name, [row[number] for row in values]) for number, name in enumerate(columns)}
    hidden = []
    for name in least:
        if _least_width(made.values()) <= console.width:
            break
        if name in made:
            hidden.append(name)
            del made[name]
    console.print(_drawn(title, list(made.values()), len(values)))
    if hidden:
        note(f"the terminal is too narrow for: {', '.join(hidden)}")


def seconds_of(seconds: float | None) -> str:
    """A time span in a column whose title says that it is in seconds."""
    return "-" if seconds is None else f"{seconds:.1f}"


def ago(at: datetime | None) -> str:
    """How long ago something was, as a table shows it."""
    return "-" if at is None else f"{duration(max(0.0, (datetime.now(UTC) - at).total_seconds()))} ago"


def to_plain(value: Any) -> Any:
    """Convert a value for JSON: dataclasses to objects, bytes to text, other unknown types to their `str`."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (str, int, float, bool, type(None), datetime, UUID)):
        return value
    if isinstance(value, dict):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(each) for each in value]
    fields = getattr(value, "__dataclass_fields__", None)
    return {name: to_plain(getattr(value, name)) for name in fields} if fields else str(value)


def document_of(content: bytes | None) -> object:
    """A decoded JSON document. One that cannot be decoded is returned as text, with other bytes escaped."""
    if content is None:
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return content.decode(errors="backslashreplace")


class _Column:
    """A column, and the width that it needs. Ids, times and numbers are never wrapped."""

    def __init__(self, name: str, values: Sequence[object]) -> None:
        self.name = name
        self.cells = [_cell(value) for value in values]
        self.number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        self.rigid = self.number or all(isinstance(value, (UUID, datetime)) for value in values)
        self.width = max(cell_len(text) for text in (name, *self.cells))

    @property
    def least(self) -> int:
        """The least width before a column is left out: short cells stay whole, long ones are wrapped once."""
        return self.width if self.rigid else min(self.width, max(_UNFOLDED, (self.width + 1) // 2))


def _least_width(columns: Iterable[_Column]) -> int:
    widths = [column.least for column in columns]
    return sum(widths) + _GAP * (len(widths) - 1)


def _drawn(title: str, columns: Sequence[_Column], rows: int) -> Table:
    drawn = Table(title=Text(title), title_justify="left", box=None, header_style="bold", pad_edge=False)
    drawn.padding = (0, _GAP, 0, 0)
    for column in columns:
        drawn.add_column(
            Text(column.name),
            overflow="fold",
            no_wrap=column.rigid,
            min_width=column.width if column.rigid else None,
            justify="right" if column.number else "left",
        )
    for number in range(rows):
        drawn.add_row(*(Text(column.cells[number]) for column in columns))
    return drawn


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    return "-" if value is None or value == "" else str(value)


def _console() -> Console:
    """A console, made for each answer: standard output may have been replaced since the last."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
