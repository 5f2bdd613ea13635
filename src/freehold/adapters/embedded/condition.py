"""A test write to the broker's file, and the state of a group in it. Adapter: imports the ports."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from typing import Final

from freehold.broker import GroupPlace, GroupState

__all__ = ["read_group", "write_record"]

_ROOM_SQL: Final = "INSERT INTO setting VALUES (?, 'probe/room', hex(zeroblob(32768)))"
_RECORD_SQL: Final = (
    "INSERT INTO setting VALUES (?, 'probe/' || ?, '1')"
    " ON CONFLICT (prefix, name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
)
_PLACES_SQL: Final = "SELECT topic, part, owner, position FROM progress WHERE group_name = ? ORDER BY topic, part"
_BEATS_SQL: Final = "SELECT id, beat FROM member WHERE group_name = ?"


def write_record(connection: sqlite3.Connection, prefix: str, name: str) -> None:
    """Allocate pages, and write the record, in the open transaction."""
    connection.execute("SAVEPOINT room")
    connection.execute(_ROOM_SQL, (prefix,))
    connection.execute("ROLLBACK TO room")
    connection.execute("RELEASE room")
    connection.execute(_RECORD_SQL, (prefix, name))


def read_group(
    connection: sqlite3.Connection, group: str, topic_start: int, gone: Callable[[Collection[str]], Collection[str]]
) -> GroupState:
    """Read the partitions and heartbeats of a group; in stored names, the topic's name begins at `topic_start`."""
    places = [
        GroupPlace(topic[topic_start:], part, owner, position)
        for topic, part, owner, position in connection.execute(_PLACES_SQL, (group,))
    ]
    heartbeats = dict(connection.execute(_BEATS_SQL, (group,)).fetchall())
    return GroupState(places, heartbeats, frozenset(gone({*heartbeats, *(place.holder for place in places)} - {""})))
