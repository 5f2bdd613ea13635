"""Limits on the SQLite connections of this process that make a file full or read-only on purpose.

The limits are SQLite's own, and so are the errors: `max_page_count` gives SQLITE_FULL, `query_only` gives
SQLITE_READONLY. A connection applies them in the thread that uses it, before its next statement: two threads that use
one connection at the same time crash the process (SIGSEGV). Imports the standard library only.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FileLimits"]

_PAGES_AS_THEY_ARE = 1
"""SQLite raises a limit that is below the file's size to that size."""
_PAGES_MAX = 1_073_741_823


@dataclass(frozen=True, slots=True)
class _Limits:
    full: frozenset[Path] = frozenset()
    read_only: frozenset[Path] = frozenset()


_NONE = _Limits()


class FileLimits:
    """Applies limits to the connections that are made after `watch`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._limits = _NONE

    def watch(self) -> None:
        """Apply the limits to every connection that `sqlite3.connect` makes from now on, until this process ends.

        A connection with a factory of its own has no limits.
        """
        connect = sqlite3.connect

        @functools.wraps(connect)
        def limited(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **{"factory": _LimitedConnection, **keywords})
            if isinstance(connection, _LimitedConnection):
                connection.keep_to(lambda: self._limits)
            return connection

        sqlite3.connect = limited  # type: ignore[assignment] # it has the overloads of the function that it wraps

    def put(self, *, full: frozenset[Path], read_only: frozenset[Path]) -> None:
        """Set the limits, instead of earlier ones, from the next statement of each connection on."""
        self._limits = _Limits(full, read_only)


class _LimitedConnection(sqlite3.Connection):
    """Applies the current limits before each statement."""

    _wanted: Callable[[], _Limits] | None = None
    _known = _NONE
    _file = Path()

    def keep_to(self, wanted: Callable[[], _Limits]) -> None:
        """Apply these limits from now on."""
        _, _, file = super().execute("PRAGMA database_list").fetchone()
        self._file = Path(file)
        self._wanted = wanted

    def cursor(self, *arguments: Any, **keywords: Any) -> Any:
        """As in the base class."""
        self._apply()
        return super().cursor(*arguments, **keywords)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As in the base class."""
        self._apply()
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """As in the base class."""
        self._apply()
        return super().executemany(*arguments)

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:
        """As in the base class."""
        self._apply()
        return super().executescript(*arguments)

    def _apply(self) -> None:
        wanted, known = self._known if self._wanted is None else self._wanted(), self._known
        if wanted is known:
            return
        self._known = wanted
        pages = _PAGES_AS_THEY_ARE if self._file in wanted.full else _PAGES_MAX
        query_only = "ON" if self._file in wanted.read_only else "OFF"
        try:
            super().execute(f"PRAGMA query_only = {query_only}")
            super().execute(f"PRAGMA max_page_count = {pages}").fetchall()
        except sqlite3.Error:
            self._known = known  # the next statement raises the error too; the limits are applied before the one after
