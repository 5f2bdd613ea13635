"""How commands answer: a table for people, or one JSON document. Face: imports rich and the codec.

Payloads are shown only where a command is asked for them; a table cell never holds one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
from rich.console import Console
from rich.table import Table

__all__ = ["answer_json", "console", "duration", "note", "table", "to_plain"]

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


def answer_json(document: object) -> None:
    """Write one JSON document to standard output."""
    encoded = msgspec.json.format(msgspec.json.encode(to_plain(document)), indent=2)
    sys.stdout.write(encoded.decode() + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Show rows under a title, or say that there is nothing."""
    shown = [tuple(_cell(value) for value in row) for row in rows]
    if not shown:
        console.print(f"{title}: {empty}", markup=False)
        return
    made = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in shown:
        made.add_row(*row)
    console.print(made)


def note(text: str) -> None:
    """Say something beside the answer, on standard error."""
    _errors.print(text, markup=False)


def duration(seconds: float | None) -> str:
    """A time span in the unit that fits: `340 ms`, `12.0 s`, `3 min`, `2.5 h`, `4.0 d`."""
    if seconds is None:
        return "-"
    for limit, divisor, unit in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}" if unit in {"ms", "min"} else f"{seconds / divisor:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"


def to_plain(value: Any) -> Any:
    """What JSON can hold: dataclasses as objects, bytes as text, everything else as msgspec has it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (str, int, float, bool, type(None), datetime, UUID)) and not isinstance(value, Enum):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(each) for each in value]
    fields = getattr(value, "__dataclass_fields__", None)
    return {name: to_plain(getattr(value, name)) for name in fields} if fields else str(value)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Enum):
        return str(value.value)
    return "-" if value is None or value == "" else str(value)
