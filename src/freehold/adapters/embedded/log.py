"""A group's log in the broker's file, by SQL. Adapter: imports the groups pattern and its package."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from freehold.adapters.embedded.connection import read_epoch, read_past
from freehold.adapters.embedded.threads import ReadThread, WriteThread
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
# Along the row numbers, not an index: new messages are at the end of the table.
_HEADS_SQL = "SELECT topic, part, max(seq) FROM message NOT INDEXED WHERE seq > ? GROUP BY topic, part"
_HEAD_SQL = "SELECT max(seq) FROM message WHERE topic = ? AND part = ?"
_READ_SQL = "SELECT seq, document FROM message WHERE topic = ? AND part = ? AND seq > ? ORDER BY seq LIMIT ?"


class PendingWakeups:
    """The members to wake after the commit of the present transaction. Used only in the writing thread."""

    def __init__(self) -> None:
        self._names: dict[bytes, set[str]] = {}

    def add(self, what: bytes, names: Iterable[str]) -> None:
        """Note members to wake, and for what."""
        self._names.setdefault(what, set()).update(names)

    def take(self) -> Mapping[bytes, set[str]]:
        """Return the noted members, and forget them."""
        noted, self._names = self._names, {}
        return noted


def places_of(topics: Iterable[str], partitions: int) -> Sequence[TopicPartition]:
    """All partitions of some topics."""
    return [TopicPartition(topic, number) for topic in sorted(topics) for number in range(partitions)]


class EmbeddedLog:
    """A `freehold.groups.log.GroupLog` on the broker's file, for one member.

    `scope` returns the stored name of a topic or group, which includes the broker's prefix.
    """

    def __init__(
        self,
        read: ReadThread,
        write: WriteThread,
        wakeups: PendingWakeups,
        listener: WakeListener,
        presence: PresenceFiles,
        *,
        subscription: Subscription,
        partitions: int,
        scope: Callable[[str], str],
    ) -> None:
        self._read = read
        self._write = write
        self._wakeups = wakeups
        self._listener = listener
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
        """Set the callbacks."""
        self._on_messages, self._on_group = on_messages, on_group

    async def join(self, member: str) -> None:
        """Insert missing records, send a heartbeat, and listen."""
        await self._enter(member)

    async def heartbeat(self, member: str) -> None:
        """Send a heartbeat. In a new file, join there; insert missing records again."""
        await self._enter(member)

    async def _enter(self, member: str) -> None:
        known = self._log

        def work(connection: sqlite3.Connection) -> tuple[str, int]:
            log = read_epoch(connection)
            head = 0
            (records,) = connection.execute(_RECORDS_SQL, (self._group,)).fetchone()
            if log != known or records < len(self._places):
                # A group that was in another log before has read nothing of this one: it starts at the beginning.
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
                self._listener.open(member, self._on_messages, self._on_group)

    async def _listen_again(self, member: str) -> None:
        """Create socket and presence file again: they may have been deleted together with the former file."""
        self._listener.close()
        self._listener.open(member, self._on_messages, self._on_group)
        if self._present is not None:
            await self._present.release()
        self._present = await asyncio.to_thread(self._presence.hold, member)

    def _forget_places(self) -> None:
        """Forget the positions of a former log. Partitions are read again once they are acquired in the new one."""
        self._heads.clear()
        self._positions.clear()
        self._ahead.clear()

    def _is_another(self, log: str) -> bool:
        """Whether this is another log than the one that was joined. If so, wakes the coordinator, which joins again."""
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
        """Read the records of partitions and members."""

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
        """Change a record by compare-and-set; None where it is not as expected."""
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
            self._wakeups.add(REGROUP, {member for (member,) in members} - {self._member})

        await self._write.run(work)

    async def start_reading(self, place: TopicPartition, after: int) -> None:
        """Start to read a partition."""
        values = (self._stored[place], place.partition)
        head = await self._read.run(lambda connection: connection.execute(_HEAD_SQL, values).fetchone()[0])
        self._heads[place] = max(self._heads.get(place, 0), head or 0)
        self._positions[place] = after

    async def stop_reading(self, place: TopicPartition) -> None:
        """Stop reading a partition."""
        self._heads.pop(place, None)
        self._positions.pop(place, None)
        self._ahead.pop(place, None)

    def has_messages(self, place: TopicPartition, after: int) -> bool:
        """Whether there are messages behind a position, as far as is known."""
        return self._heads.get(place, 0) > after

    async def refresh(self) -> None:
        """Look for new messages."""
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
        """Read the entries behind a position. The same call of the thread reads ahead as many entries of other
        partitions, which are requested next.
        """
        if place not in self._positions:
            # The partition was lost meanwhile, or belongs to a former log.
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
            # The position belongs to another log.
            return ()
        for (each, behind), read in zip(places[1:], others, strict=False):
            if read and each in self._positions:
                self._ahead[each] = (behind, read)
        if not first:
            # The messages that were known here have been pruned.
            self._heads.pop(place, None)
        return self._handed(place, first)

    def _handed(self, place: TopicPartition, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Note the last entry that was read of a partition: the next read-ahead starts behind it."""
        if entries and place in self._positions:
            self._positions[place] = entries[-1].number
        return entries

    def _next_places(self, place: TopicPartition) -> Sequence[tuple[TopicPartition, int]]:
        """Other partitions with messages that were not read yet."""
        return [
            (each, position)
            for each, position in self._positions.items()
            if each != place and each not in self._ahead and self._heads.get(each, 0) > position
        ]

    async def close(self) -> None:
        """Stop listening."""
        self._listener.close()
        if self._present is not None:
            await self._present.release()


def _notice(connection: sqlite3.Connection) -> str:
    """The notice that the log was replaced in the last minutes; empty where it was not."""
    reason, made_at = read_past(connection)
    passed = time.time() - made_at
    return f"the broker's log was replaced {passed:.0f} s ago: {reason}" if reason and passed < _NOTICED_SECONDS else ""


def owners_of(connection: sqlite3.Connection, touched: Iterable[tuple[str, int]]) -> set[str]:
    """The members of all groups that own these partitions."""
    sql = "SELECT owner FROM progress WHERE topic = ? AND part = ? AND owner <> ''"
    return {owner for place in touched for (owner,) in connection.execute(sql, place)}
