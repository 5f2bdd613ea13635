"""The embedded broker. Adapter: imports the broker port, the groups pattern and its package."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from freehold.adapters.embedded.condition import read_group, write_record
from freehold.adapters.embedded.connection import FileOptions, read_log_id, read_past
from freehold.adapters.embedded.errors import translate_error
from freehold.adapters.embedded.file import BrokerFile
from freehold.adapters.embedded.log import EmbeddedLog, PendingWakeups, owners_of
from freehold.adapters.embedded.mark import holds, read_mark
from freehold.adapters.embedded.prune import Pruner
from freehold.adapters.embedded.threads import ReadThread, WriteThread
from freehold.adapters.embedded.wake import MESSAGES, WakeListener, WakeNotifier, wake_directory
from freehold.adapters.files.hints import file_hints
from freehold.adapters.files.holder import told_writer
from freehold.adapters.files.presence import PresenceFiles
from freehold.broker import (
    BrokerFeatures,
    BrokerOptions,
    GroupState,
    OutgoingMessage,
    PublishConfirmed,
    PublishFailed,
    PublishOutcome,
    Subscription,
    TopicLag,
)
from freehold.clock import Clock
from freehold.database import CheckResult
from freehold.disk import check_free_space, require_writable
from freehold.errors import ConfigurationError, LogReplaced, MessageRejected, OperationTimeout, Unavailable
from freehold.groups.member import GroupMember
from freehold.hints import HintChannel
from freehold.ids import stable_hash

__all__ = ["EmbeddedBroker"]

_MESSAGE_BYTES_MAX: Final = 1_048_576
_INSERT_SQL: Final = "INSERT INTO message (topic, part, id, stored_at, document) VALUES (?, ?, ?, ?, ?)"
_LAG_SQL: Final = """
SELECT p.topic, count(m.seq), min(m.stored_at)
FROM progress AS p LEFT JOIN message AS m ON m.topic = p.topic AND m.part = p.part AND m.seq > p.position
WHERE p.group_name = ? GROUP BY p.topic ORDER BY p.topic
"""


class EmbeddedBroker:
    """A `freehold.broker.Broker` in one SQLite file. Open it after a fork: threads and connections belong to a process.

    Retention: messages older than `retention_seconds` are deleted, acknowledged or not. When there are more than
    `keep_messages`, the oldest of those that all groups of their topic have passed are deleted earlier.
    """

    def __init__(self, file: FileOptions, options: BrokerOptions, clock: Clock) -> None:
        self._file = file
        self._options = options
        self._clock = clock
        self._directory = wake_directory(file.path)
        self._presence = PresenceFiles(file.path.resolve())
        self._wakeups = PendingWakeups()
        self._pruner = Pruner(file.keep_messages, options.retention_seconds, clock)
        self._members: list[GroupMember] = []
        self._read: ReadThread | None = None
        self._write: WriteThread | None = None
        self._notifier: WakeNotifier | None = None
        self._partitions = options.partitions
        self._opening = asyncio.Lock()

    @property
    def features(self) -> BrokerFeatures:
        """The features of the broker."""
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
        """The number of partitions of a topic."""
        return self._partitions

    def hint_channel(self, service: str) -> HintChannel | None:
        """A directory with a socket for each process, beside the file."""
        return file_hints(self._file.path, f"{self._options.prefix} {service}")

    async def open(self) -> None:
        """Create the file and its tables where they are missing, and start the threads."""
        async with self._opening:
            if self._write is None:
                await self._open()

    async def _open(self) -> None:
        limit = self._options.connect_timeout_seconds
        file = BrokerFile(self._file, self._options.prefix, self._options.partitions, limit)
        try:
            opened = await asyncio.to_thread(file.open, limit)
        except (sqlite3.Error, MemoryError, OSError) as error:
            raise translate_error(error, self._file.path) from error
        self._partitions = file.partitions
        self._notifier = WakeNotifier(self._directory)
        self._read = ReadThread("freehold-broker-read", file, limit)
        self._write = WriteThread("freehold-broker-write", file, limit, self._after_commit)
        await self._read.run(lambda _: None)
        opened.close()

    async def close(self) -> None:
        """Close the consumers, then the file."""
        members, self._members = self._members, []
        for member in members:
            await member.close()
        read, write, notifier = self._read, self._write, self._notifier
        self._read = self._write = self._notifier = None
        if read is not None and write is not None and notifier is not None:
            await read.close()
            await write.close()
            notifier.close()

    async def ping(self, timeout_seconds: float) -> None:
        """Read one row of the file."""
        read, _ = self._threads()
        await read.run(lambda connection: connection.execute("SELECT 1 FROM setting").fetchone(), timeout_seconds)

    async def probe(self, name: str, timeout_seconds: float) -> None:
        """Write a record and commit it. Raises `Unavailable`, `OperationTimeout`."""
        _, write = self._threads()
        require_writable(self._file.path)
        try:
            async with asyncio.timeout(timeout_seconds):
                await write.run(lambda connection: write_record(connection, self._options.prefix, name))
        except TimeoutError as error:
            if not write.waits:
                raise OperationTimeout(
                    "the broker's file did not take a record in time", hint="check the disk"
                ) from error
            raise Unavailable(
                f"the broker's file is locked by another process{told_writer(self._file.path)}"
                f" for longer than {timeout_seconds:g} s",
                hint="end the process that holds it, which may be frozen: fuser lists the processes that have it open",
            ) from error

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        """Store messages in one transaction, which other waiting writes share. It checks the log's identity."""
        _, write = self._threads()
        now = self._clock.now().timestamp()
        rows: list[tuple[str, int, bytes, float, bytes]] = []
        outcomes: list[PublishOutcome] = []
        failed: set[tuple[str, str]] = set()
        for message in messages:
            refusal = self._refusal(message, failed)
            outcomes.append(refusal or PublishConfirmed())
            if refusal is None:
                part = stable_hash(message.key) % self._partitions
                rows.append((self._scope(message.topic), part, message.id.bytes, now, message.document))
        if rows and not await write.run(lambda connection: self._insert(connection, rows, log), timeout_seconds):
            raise LogReplaced("the broker's file contains another log than before", hint="the service reads it again")
        return outcomes

    async def subscribe(self, subscription: Subscription) -> GroupMember:
        """Join a group."""
        read, write = self._threads()
        if not subscription.topics or not subscription.group:
            raise ConfigurationError("a subscription needs a group and topics")
        log = EmbeddedLog(
            read,
            write,
            self._wakeups,
            WakeListener(self._directory),
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
        """How many messages the group has not read, and their age, by topic."""
        read, _ = self._threads()
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

    async def log_identity(self) -> str:
        """A random id that was written into the file when the log was created."""
        read, _ = self._threads()
        return await read.run(read_log_id)

    async def log_mark(self) -> str:
        """The number and id of the newest message."""
        read, _ = self._threads()
        return await read.run(read_mark)

    async def log_holds(self, mark: str) -> bool:
        """Whether the log still has the message of a mark: by its number, and by its id while the message is stored.

        A log that was restored from an older copy gives the same numbers to other messages.
        """
        read, _ = self._threads()
        return await read.run(lambda connection: holds(connection, mark))

    async def group_state(self, group: str) -> GroupState:
        """The partitions of a group with their owners and positions, and its members."""
        read, _ = self._threads()
        name, start = self._scope(group), len(self._scope(""))
        return await read.run(lambda connection: read_group(connection, name, start, self._presence.gone))

    async def run_checks(self) -> list[CheckResult]:
        """Check the journal mode, the history of the log, and the disk."""
        read, _ = self._threads()
        mode = await read.run(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()[0])
        reason, made_at = await read.run(read_past)
        return [
            CheckResult("broker engine", ok=True, detail=f"SQLite {sqlite3.sqlite_version}, for one machine"),
            CheckResult(
                "broker journal",
                ok=mode == "wal",
                detail=f"journal_mode={mode}",
                fix="" if mode == "wal" else "keep the file on a local disk: network file systems cannot share it",
            ),
            _log_finding(reason, made_at),
            CheckResult(
                "broker confirmation",
                ok=True,
                detail=f"a confirmed message survives {self.features.confirm_survives}",
            ),
            check_free_space("broker disk", self._file.path),
        ]

    def _threads(self) -> tuple[ReadThread, WriteThread]:
        if self._read is None or self._write is None:
            raise Unavailable("the embedded broker is not open", hint="call open() first")
        return self._read, self._write

    def _scope(self, name: str) -> str:
        return f"{self._options.prefix}/{name}"

    def _refusal(self, message: OutgoingMessage, failed: set[tuple[str, str]]) -> PublishFailed | None:
        key = (message.topic, message.key)
        if key in failed:
            return PublishFailed(Unavailable("a message before it with the same key was not stored"))
        if len(message.document) <= _MESSAGE_BYTES_MAX:
            return None
        failed.add(key)
        return PublishFailed(
            MessageRejected(f"message {message.id} is larger than {_MESSAGE_BYTES_MAX} bytes", hint="send a reference")
        )

    def _insert(
        self, connection: sqlite3.Connection, rows: Sequence[tuple[str, int, bytes, float, bytes]], log: str
    ) -> bool:
        """Insert rows; False where the log is not the expected one. Raises nothing: others share the transaction."""
        if log and read_log_id(connection) != log:
            return False
        connection.executemany(_INSERT_SQL, rows)
        self._wakeups.add(MESSAGES, owners_of(connection, {(topic, part) for topic, part, _, _, _ in rows}))
        return True

    def _after_commit(self, connection: sqlite3.Connection) -> None:
        notifier = self._notifier
        for what, names in self._wakeups.take().items():
            if notifier is not None:
                notifier.notify(names, what)
        self._pruner.step(connection)


def _log_finding(reason: str, made_at: float) -> CheckResult:
    """The check of the log's history. A replaced log is only advice: all groups have continued in the new one."""
    if not reason:
        return CheckResult("broker log", ok=True, detail="the same since it was created")
    when = datetime.fromtimestamp(made_at, UTC).isoformat(timespec="seconds")
    return CheckResult(
        "broker log",
        ok=True,
        detail=f"replaced {when}: {reason}",
        fix=f"resend the messages that it had confirmed and lost: freehold outbox resend --since {when}, or earlier",
    )
