"""The embedded broker itself. Adapter: imports the broker port, the leases pattern and its package."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Final

from freehold.adapters.embedded.connection import FileOptions, diagnose, prepare
from freehold.adapters.embedded.lanes import ReadLane, WriteLane
from freehold.adapters.embedded.log import EmbeddedLog, Rings, owners_of
from freehold.adapters.embedded.prune import Pruner
from freehold.adapters.embedded.wake import MESSAGES, Bell, Ringer, wake_directory
from freehold.broker import (
    BrokerFeatures,
    BrokerOptions,
    Outgoing,
    PublishFailed,
    PublishOutcome,
    Stored,
    Subscription,
    TopicLag,
)
from freehold.clock import Clock
from freehold.database import Finding
from freehold.errors import ConfigurationError, MessageRejected, Unavailable
from freehold.ids import stable_hash
from freehold.leases.member import GroupMember
from freehold.leases.presence import PresenceFiles

__all__ = ["EmbeddedBroker"]

_MESSAGE_BYTES_MAX: Final = 1_048_576
_INSERT_SQL: Final = "INSERT INTO message (topic, part, id, stored_at, document) VALUES (?, ?, ?, ?, ?)"
_LAG_SQL: Final = """
SELECT p.topic, count(m.seq), min(m.stored_at)
FROM progress AS p LEFT JOIN message AS m ON m.topic = p.topic AND m.part = p.part AND m.seq > p.position
WHERE p.group_name = ? GROUP BY p.topic ORDER BY p.topic
"""


class EmbeddedBroker:
    """See `freehold.broker.Broker`. Open it after forking: threads and connections belong to one process.

    Kept: every message for `retention_seconds`, but no more than `keep_messages` of those that all groups of their
    topic have passed. Messages that are older than the retention go, acknowledged or not.
    """

    def __init__(self, file: FileOptions, options: BrokerOptions, clock: Clock) -> None:
        self._file = file
        self._options = options
        self._clock = clock
        self._directory = wake_directory(file.path)
        self._presence = PresenceFiles(file.path.resolve())
        self._rings = Rings()
        self._pruner = Pruner(file.keep_messages, options.retention_seconds, clock)
        self._members: list[GroupMember] = []
        self._read: ReadLane | None = None
        self._write: WriteLane | None = None
        self._ringer: Ringer | None = None
        self._partitions = options.partitions
        self._opening = asyncio.Lock()

    @property
    def features(self) -> BrokerFeatures:
        """What it guarantees."""
        return BrokerFeatures(
            technology="embedded (SQLite)",
            emulation=False,
            durable=True,
            several_processes=True,
            confirm_survives="power-loss" if self._file.power_safe else "process-kill",
            message_bytes_max=_MESSAGE_BYTES_MAX,
            redelivery_horizon_seconds=self._options.retention_seconds,
        )

    @property
    def partitions(self) -> int:
        """How many partitions a topic has."""
        return self._partitions

    async def open(self) -> None:
        """Make the file and its tables where they are missing, and start the threads."""
        async with self._opening:
            if self._write is None:
                await self._open()

    async def _open(self) -> None:
        limit = self._options.connect_timeout_seconds
        try:
            self._partitions = await asyncio.to_thread(
                prepare, self._file, self._options.prefix, self._options.partitions, limit
            )
        except sqlite3.Error as error:
            raise diagnose(error) from error
        except OSError as error:
            raise Unavailable(f"the broker's file cannot be reached: {error.strerror}") from error
        self._ringer = Ringer(self._directory)
        self._read = ReadLane("freehold-broker-read", self._file, limit)
        self._write = WriteLane("freehold-broker-write", self._file, limit, self._after_commit)

    async def close(self) -> None:
        """Close the consumers, then the file."""
        members, self._members = self._members, []
        for member in members:
            await member.close()
        read, write, ringer = self._read, self._write, self._ringer
        self._read = self._write = self._ringer = None
        if read is not None and write is not None and ringer is not None:
            await read.close()
            await write.close()
            ringer.close()

    async def ping(self, timeout_seconds: float) -> None:
        """Return when the file can be read."""
        read, _ = self._lanes()
        await read.run(lambda connection: connection.execute("SELECT 1 FROM setting").fetchone(), timeout_seconds)

    async def publish(self, messages: Sequence[Outgoing], timeout_seconds: float) -> Sequence[PublishOutcome]:
        """Store messages in one transaction, shared with whatever else waits to be written."""
        _, write = self._lanes()
        now = self._clock.now().timestamp()
        rows: list[tuple[str, int, bytes, float, bytes]] = []
        outcomes: list[PublishOutcome] = []
        failed: set[tuple[str, str]] = set()
        for message in messages:
            refusal = self._refusal(message, failed)
            outcomes.append(refusal or Stored())
            if refusal is None:
                part = stable_hash(message.key) % self._partitions
                rows.append((self._scope(message.topic), part, message.id.bytes, now, message.document))
        if rows:
            await write.run(lambda connection: self._insert(connection, rows), timeout_seconds)
        return outcomes

    async def subscribe(self, subscription: Subscription) -> GroupMember:
        """Join a group."""
        read, write = self._lanes()
        if not subscription.topics or not subscription.group:
            raise ConfigurationError("a subscription needs a group and topics")
        log = EmbeddedLog(
            read,
            write,
            self._rings,
            Bell(self._directory),
            self._presence,
            subscription=subscription,
            partitions=self._partitions,
            scope=self._scope,
        )
        member = GroupMember(log, self._options.lease_seconds, self._clock)
        await member.join()
        self._members.append(member)
        return member

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """What the group still has before it."""
        read, _ = self._lanes()
        values = (self._scope(group),)
        rows = await read.run(lambda connection: connection.execute(_LAG_SQL, values).fetchall())
        now = self._clock.now().timestamp()
        start = len(self._scope(""))
        return [
            TopicLag(
                group=group,
                topic=topic[start:],
                pending=pending,
                oldest_seconds=max(0.0, now - oldest) if oldest is not None else 0.0,
            )
            for topic, pending, oldest in rows
        ]

    async def examine(self) -> list[Finding]:
        """Check the file."""
        read, _ = self._lanes()
        mode = await read.run(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()[0])
        return [
            Finding("broker engine", ok=True, detail=f"SQLite {sqlite3.sqlite_version}, for one machine"),
            Finding(
                "broker journal",
                ok=mode == "wal",
                detail=f"journal_mode={mode}",
                remedy="" if mode == "wal" else "keep the file on a local disk: network file systems cannot share it",
            ),
            Finding(
                "broker confirmation",
                ok=True,
                detail=f"a confirmed message survives {self.features.confirm_survives}",
            ),
        ]

    def _lanes(self) -> tuple[ReadLane, WriteLane]:
        if self._read is None or self._write is None:
            raise Unavailable("the embedded broker is not open", hint="call open() first")
        return self._read, self._write

    def _scope(self, name: str) -> str:
        return f"{self._options.prefix}/{name}"

    def _refusal(self, message: Outgoing, failed: set[tuple[str, str]]) -> PublishFailed | None:
        key = (message.topic, message.key)
        if key in failed:
            return PublishFailed(Unavailable("a message before it with the same key was not stored"))
        if len(message.document) <= _MESSAGE_BYTES_MAX:
            return None
        failed.add(key)
        return PublishFailed(
            MessageRejected(f"message {message.id} is larger than {_MESSAGE_BYTES_MAX} bytes", hint="send a reference")
        )

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[str, int, bytes, float, bytes]]) -> None:
        connection.executemany(_INSERT_SQL, rows)
        self._rings.add(MESSAGES, owners_of(connection, {(topic, part) for topic, part, _, _, _ in rows}))

    def _after_commit(self, connection: sqlite3.Connection) -> None:
        ringer = self._ringer
        for what, names in self._rings.take().items():
            if ringer is not None:
                ringer.ring(names, what)
        self._pruner.step(connection)
