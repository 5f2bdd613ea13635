"""The log as SQL: messages, progress and members. Adapter: imports the groups pattern and its package."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from freehold.adapters.embedded.connection import read_epoch, read_past
from freehold.adapters.embedded.lanes import ReadThread, WriteThread
from freehold.adapters.embedded.wake import REGROUP, WakeListener
from freehold.adapters.files.presence import Presence, PresenceFiles
from freehold.broker import Subscription
from freehold.groups.log import Entry, GroupView, Member, PartitionState, TopicPartition

__all__ = ["EmbeddedLog", "PendingWakeups", "owners_of", "places_of"]

_NEW_GROUP_SQL = """
INSERT INTO progress (group_name, topic, part, owner, token, position, attempts)
SELECT :group, :topic, :part, '', 1,
       CASE WHEN :latest THEN coalesce((SELECT max(seq) FROM message WHERE topic = :topic AND part = :part), 0)
            ELSE 0 END, 0
WHERE true ON CONFLICT DO NOTHING
"""
_BEAT_SQL = """
INSERT INTO member (group_name, id, beat, topics) VALUES (?, ?, 1, ?)
ON CONFLICT (group_name, id) DO UPDATE SET beat = beat + 1
"""
_SAVE_SQL = """
UPDATE progress SET owner = ?, token = token + 1, position = ?, attempts = ?
WHERE group_name = ? AND topic = ? AND part = ? AND token = ?
AND (SELECT value FROM setting WHERE prefix = '' AND name = 'epoch') = ?
"""
_RECORDS_SQL = "SELECT count(*) FROM progress WHERE group_name = ?"
_HEAD_OF_ALL_SQL = "SELECT coalesce(max(seq), 0) FROM message"
_NOTICED_SECONDS = 600.0
# By row number and not by index: what is new lies at the end of the table.
_HEADS_SQL = "SELECT topic, part, max(seq) FROM message NOT INDEXED WHERE seq > ? GROUP BY topic, part"
_HEAD_SQL = "SELECT max(seq) FROM message WHERE topic = ? AND part = ?"
_READ_SQL = "SELECT seq, document FROM message WHERE topic = ? AND part = ? AND seq > ? ORDER BY seq LIMIT ?"


class PendingWakeups:
    """Who is to be woken once the transaction in progress is committed. Used in the writing thread only."""

    def __init__(self) -> None:
        self._names: dict[bytes, set[str]] = {}

    def add(self, what: bytes, names: Iterable[str]) -> None:
        """Note whom to wake for what."""
        self._names.setdefault(what, set()).update(names)

    def take(self) -> Mapping[bytes, set[str]]:
        """Return what was noted and begin again."""
        noted, self._names = self._names, {}
        return noted


def places_of(topics: Iterable[str], partitions: int) -> Sequence[TopicPartition]:
    """Every place of some topics."""
    return [TopicPartition(topic, number) for topic in sorted(topics) for number in range(partitions)]


class EmbeddedLog:
    """The log as one member sees it; see `freehold.groups.log.GroupLog`.

    `scope` makes the stored name of a topic or group: the broker's prefix belongs to it.
    """

    def __init__(
        self,
        read: ReadThread,
        write: WriteThread,
        rings: PendingWakeups,
        bell: WakeListener,
        presence: PresenceFiles,
        *,
        subscription: Subscription,
        partitions: int,
        scope: Callable[[str], str],
    ) -> None:
        self._read = read
        self._write = write
        self._rings = rings
        self._bell = bell
        self._presence = presence
        self._present: Presence | None = None
        self._group = scope(subscription.group)
        self._topics = "\n".join(sorted(subscription.topics))
        self._latest = subscription.start == "latest"
        self._places = places_of(subscription.topics, partitions)
        self._stored = {place: scope(place.topic) for place in self._places}
        self._by_stored = {(self._stored[place], place.partition): place for place in self._places}
        self._member = ""
        self._log = ""
        self._on_messages: Callable[[], None] = lambda: None
        self._on_group: Callable[[], None] = lambda: None
        self._heads: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._ahead: dict[TopicPartition, tuple[int, Sequence[Entry]]] = {}
        self._seen = 0

    def listen(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        """Note whom to call."""
        self._on_messages, self._on_group = on_messages, on_group

    async def join(self, member: str) -> None:
        """Make what is missing, send a heartbeat, and listen."""
        await self._enter(member)

    async def heartbeat(self, member: str) -> None:
        """Give a sign of life; in another file than before, enter that one. Records that are gone are made again."""
        await self._enter(member)

    async def _enter(self, member: str) -> None:
        known = self._log

        def work(connection: sqlite3.Connection) -> tuple[str, int]:
            log = read_epoch(connection)
            head = 0
            (records,) = connection.execute(_RECORDS_SQL, (self._group,)).fetchone()
            if log != known or records < len(self._places):
                # A group that was in a log before has seen nothing of the one that came in its place.
                latest = self._latest and not known
                rows = [
                    {"group": self._group, "topic": stored, "part": place.partition, "latest": latest}
                    for place, stored in self._stored.items()
                ]
                connection.executemany(_NEW_GROUP_SQL, rows)
                (head,) = connection.execute(_HEAD_OF_ALL_SQL).fetchone()
            connection.execute(_BEAT_SQL, (self._group, member, self._topics))
            return log, head

        if self._present is None:
            self._present = await asyncio.to_thread(self._presence.hold, member)
        log, head = await self._write.run(work)
        if log != known:
            self._forget_places()
            self._log, self._seen, self._member = log, head, member
            if known:
                await self._listen_again(member)
            else:
                self._bell.open(member, self._on_messages, self._on_group)

    async def _listen_again(self, member: str) -> None:
        """What stood beside the file may have gone with it."""
        self._bell.close()
        self._bell.open(member, self._on_messages, self._on_group)
        if self._present is not None:
            await self._present.release()
        self._present = await asyncio.to_thread(self._presence.hold, member)

    def _forget_places(self) -> None:
        """Nothing that is known of places holds in another log; they are followed again once they were taken there."""
        self._heads.clear()
        self._positions.clear()
        self._ahead.clear()

    def _is_another(self, log: str) -> bool:
        """Whether a log is another than the one that was entered: the keeper sees to it."""
        if log == self._log:
            return False
        self._forget_places()
        self._on_group()
        return True

    async def remove(self, member: str) -> None:
        """Remove a member."""
        sql = "DELETE FROM member WHERE group_name = ? AND id = ?"
        await self._write.run(lambda connection: connection.execute(sql, (self._group, member)))

    async def observe(self) -> GroupView:
        """Read records and heartbeats."""

        def work(connection: sqlite3.Connection) -> GroupView:
            origin = read_epoch(connection)
            records = [
                PartitionState(
                    place=place, owner=owner, token=token, position=position, attempts=attempts, origin=origin
                )
                for topic, part, owner, token, position, attempts in connection.execute(
                    "SELECT topic, part, owner, token, position, attempts FROM progress WHERE group_name = ?"
                    " ORDER BY topic, part",
                    (self._group,),
                )
                if (place := self._by_stored.get((topic, part))) is not None
            ]
            rows = connection.execute("SELECT id, beat, topics FROM member WHERE group_name = ?", (self._group,))
            members = {name: Member(beat, frozenset(topics.split("\n"))) for name, beat, topics in rows}
            others = {*members, *(record.owner for record in records)} - {"", self._member}
            return GroupView(records, members, frozenset(self._presence.gone(others)), _notice(connection))

        return await self._read.run(work)

    async def compare_and_set(
        self, expected: PartitionState, *, owner: str, position: int, attempts: int
    ) -> PartitionState | None:
        """Change a record that is still as expected."""
        stored, part = self._stored[expected.place], expected.place.partition
        values = (owner, position, attempts, self._group, stored, part, expected.token, expected.origin)
        saved = await self._write.run(lambda connection: connection.execute(_SAVE_SQL, values).rowcount)
        if not saved:
            return None
        if expected.place in self._positions:
            self._positions[expected.place] = position
        return replace(expected, owner=owner, token=expected.token + 1, position=position, attempts=attempts)

    async def notify_members(self) -> None:
        """Wake the other members of the group."""

        def work(connection: sqlite3.Connection) -> None:
            members = connection.execute("SELECT id FROM member WHERE group_name = ?", (self._group,)).fetchall()
            self._rings.add(REGROUP, {member for (member,) in members} - {self._member})

        await self._write.run(work)

    async def start_reading(self, place: TopicPartition, after: int) -> None:
        """Watch a place."""
        values = (self._stored[place], place.partition)
        head = await self._read.run(lambda connection: connection.execute(_HEAD_SQL, values).fetchone()[0])
        self._heads[place] = max(self._heads.get(place, 0), head or 0)
        self._positions[place] = after

    async def stop_reading(self, place: TopicPartition) -> None:
        """Stop watching a place."""
        self._heads.pop(place, None)
        self._positions.pop(place, None)
        self._ahead.pop(place, None)

    def has_messages(self, place: TopicPartition, after: int) -> bool:
        """Whether something lies behind a position."""
        return self._heads.get(place, 0) > after

    async def refresh(self) -> None:
        """Look for news."""
        seen = self._seen
        log, rows = await self._read.run(
            lambda connection: (read_epoch(connection), connection.execute(_HEADS_SQL, (seen,)).fetchall())
        )
        if self._is_another(log):
            return
        for topic, part, head in rows:
            self._seen = max(self._seen, head)
            place = self._by_stored.get((topic, part))
            if place is not None:
                self._heads[place] = max(self._heads.get(place, 0), head)

    async def read(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        """Read what follows a position; in the same hop, as many entries of other places, which are asked for next."""
        if place not in self._positions:
            # It was lost meanwhile, or is one of a log that is gone.
            self._heads.pop(place, None)
            return ()
        read_at, entries = self._ahead.pop(place, (None, ()))
        if read_at == after:
            return self._handed(place, entries[:limit])
        places = [(place, after), *self._next_places(place)]

        def work(connection: sqlite3.Connection) -> tuple[str, list[Sequence[Entry]]]:
            log = read_epoch(connection)
            found: list[Sequence[Entry]] = []
            left = limit
            for each, behind in places:
                values = (self._stored[each], each.partition, behind, left if found else limit)
                rows = connection.execute(_READ_SQL, values).fetchall()
                left -= len(rows) if found else 0
                found.append([Entry(number, document) for number, document in rows])
                if left <= 0:
                    break
            return log, found

        entered = self._log
        log, (first, *others) = await self._read.run(work)
        if self._is_another(log) or log != entered:
            # A position of one log means nothing in another.
            return ()
        for (each, behind), read in zip(places[1:], others, strict=False):
            if read and each in self._positions:
                self._ahead[each] = (behind, read)
        if not first:
            # What was known of has been pruned.
            self._heads.pop(place, None)
        return self._handed(place, first)

    def _handed(self, place: TopicPartition, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Note what was read of a place: reading ahead goes on behind it."""
        if entries and place in self._positions:
            self._positions[place] = entries[-1].number
        return entries

    def _next_places(self, place: TopicPartition) -> Sequence[tuple[TopicPartition, int]]:
        """Places that have something which was not read yet."""
        return [
            (each, position)
            for each, position in self._positions.items()
            if each != place and each not in self._ahead and self._heads.get(each, 0) > position
        ]

    async def close(self) -> None:
        """Stop listening."""
        self._bell.close()
        if self._present is not None:
            await self._present.release()


def _notice(connection: sqlite3.Connection) -> str:
    """What happened to the log in the last minutes."""
    reason, made_at = read_past(connection)
    passed = time.time() - made_at
    return f"the broker's log began again {passed:.0f} s ago: {reason}" if reason and passed < _NOTICED_SECONDS else ""


def owners_of(connection: sqlite3.Connection, touched: Iterable[tuple[str, int]]) -> set[str]:
    """The members that hold these places, in all groups."""
    sql = "SELECT owner FROM progress WHERE topic = ? AND part = ? AND owner <> ''"
    return {owner for place in touched for (owner,) in connection.execute(sql, place)}
