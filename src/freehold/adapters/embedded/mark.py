"""The mark of a log in the broker's file: its newest message, for a later comparison. Adapter: standard library."""

from __future__ import annotations

import sqlite3
from typing import Final

__all__ = ["holds", "read_mark"]

_NEWEST_SQL: Final = "SELECT seq, hex(id) FROM message ORDER BY seq DESC LIMIT 1"
_GIVEN_SQL: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'message'"
_ID_SQL: Final = "SELECT hex(id) FROM message WHERE seq = ?"


def read_mark(connection: sqlite3.Connection) -> str:
    """The number and id of the newest message; empty where there is none. Raises `sqlite3.Error`."""
    found = connection.execute(_NEWEST_SQL).fetchone()
    return "" if found is None else f"{found[0]} {found[1]}"


def holds(connection: sqlite3.Connection, mark: str) -> bool:
    """Whether the log has given a mark's number to a message; to the same message, while that is stored."""
    number, _, message_id = mark.partition(" ")
    if not number.isdecimal():
        return True
    (given,) = connection.execute(_GIVEN_SQL).fetchone()
    found = connection.execute(_ID_SQL, (int(number),)).fetchone()
    return int(given) >= int(number) and (found is None or found[0] == message_id)
