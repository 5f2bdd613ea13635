"""Deletes old messages of the log in small steps, in the writing thread. Adapter: standard library and the clock."""

from __future__ import annotations

import sqlite3
from typing import Final

from freehold.adapters.embedded.connection import begin
from freehold.clock import Clock
from freehold.crash_points import crash_point

__all__ = ["Pruner"]

_EVERY_SECONDS: Final = 2.0
_ROWS_MAX: Final = 5000
_EXPIRED_SQL: Final = """
DELETE FROM message WHERE seq IN (SELECT seq FROM message ORDER BY seq LIMIT ?) AND stored_at < ?
"""
_PASSED_SQL: Final = """
DELETE FROM message WHERE seq IN (SELECT seq FROM message WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?)
AND seq <= (SELECT min(position) FROM progress WHERE progress.topic = message.topic AND progress.part = message.part)
"""


class Pruner:
    """Deletes messages older than the retention; above `keep_messages` also those that all groups of the topic have
    passed.
    """

    def __init__(self, keep_messages: int, retention_seconds: float, clock: Clock) -> None:
        self._keep_messages = keep_messages
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._next_at = clock.monotonic()
        self._cursor = 0

    def step(self, connection: sqlite3.Connection) -> None:
        """Delete up to a few thousand messages in a transaction of its own, at most every two seconds."""
        now = self._clock.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + min(_EVERY_SECONDS, self._retention_seconds / 4)
        first, last = connection.execute("SELECT min(seq), max(seq) FROM message").fetchone()
        if first is None:
            return
        oldest = self._clock.now().timestamp() - self._retention_seconds
        (first_at,) = connection.execute("SELECT stored_at FROM message WHERE seq = ?", (first,)).fetchone()
        surplus = last - self._keep_messages
        if first_at >= oldest and first > surplus:
            return
        try:
            begin(connection, 0.0)
        except sqlite3.OperationalError:
            # Another process is writing: pruning can wait.
            return
        connection.execute(_EXPIRED_SQL, (_ROWS_MAX, oldest))
        self._remove_passed(connection, surplus)
        crash_point("embedded.before-prune-commit")
        connection.execute("COMMIT")

    def _remove_passed(self, connection: sqlite3.Connection, surplus: int) -> None:
        """Delete passed messages among the surplus, one step further at each call.

        So messages that a group still needs do not keep later ones from being deleted.
        """
        (reached,) = connection.execute(
            "SELECT max(seq) FROM (SELECT seq FROM message WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?)",
            (self._cursor, surplus, _ROWS_MAX),
        ).fetchone()
        if reached is None:
            self._cursor = 0
            return
        connection.execute(_PASSED_SQL, (self._cursor, surplus, _ROWS_MAX))
        self._cursor = reached
