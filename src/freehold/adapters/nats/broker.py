"""NATS JetStream as a broker. Adapter: imports the broker port, the groups pattern and its package.

All messages are in one stream, with a subject for each partition. A group's progress is a record for each partition,
changed by compare-and-set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from freehold.adapters.nats.condition import probe, read_group
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.doctor import run_checks
from freehold.adapters.nats.errors import ApiError, StreamGone, as_outage
from freehold.adapters.nats.follow import PartitionReader
from freehold.adapters.nats.hints import NatsHints
from freehold.adapters.nats.identity import LogIdentity
from freehold.adapters.nats.lag import read_lag
from freehold.adapters.nats.log import NatsLog
from freehold.adapters.nats.log_stream import LogStream
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.publisher import Publication, Publisher
from freehold.adapters.nats.streams import ensure_stream
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
from freehold.errors import (
    ConfigurationError,
    FreeholdError,
    LogReplaced,
    MessageRejected,
    OperationTimeout,
    Unavailable,
)
from freehold.groups.member import GroupMember
from freehold.hints import HintChannel
from freehold.ids import stable_hash

__all__ = ["NatsBroker"]

_MESSAGE_BYTES_MAX: Final = 1_048_576
_CONFIRMED: Final = PublishConfirmed()
_DUPLICATE: Final = PublishConfirmed(duplicate=True)
# The server counts headers as part of a message.
_HEADER_BYTES: Final = 1024


class NatsBroker:
    """A `freehold.broker.Broker` on NATS JetStream. Open it after a fork."""

    def __init__(self, url: str, options: BrokerOptions, clock: Clock) -> None:
        self._url = url
        self._options = options
        self._clock = clock
        self._names = Names(options.prefix)
        self._members: list[GroupMember] = []
        self._connection: NatsConnection | None = None
        self._publisher: Publisher | None = None
        self._stream: LogStream | None = None
        self._opening = asyncio.Lock()
        self._counting = asyncio.Lock()

    @property
    def features(self) -> BrokerFeatures:
        """The features of the broker. By default the server flushes to the disk only every two minutes."""
        return BrokerFeatures(
            technology="NATS JetStream",
            emulation=False,
            durable=True,
            several_processes=True,
            confirm_survives="process-kill",
            message_bytes_max=self._message_bytes_max(),
            redelivery_horizon_seconds=self._options.retention_seconds,
        )

    @property
    def partitions(self) -> int:
        """The number of partitions of a topic."""
        return self._stream.layout.partitions if self._stream is not None else self._options.partitions

    @property
    def notice(self) -> str:
        """A notice of what NATS has lost recently; see `freehold.broker.Noticing`."""
        return self._stream.notice if self._stream is not None else ""

    def hint_channel(self, service: str) -> HintChannel | None:
        """A subject of core NATS; None for a service whose name cannot be part of one."""
        try:
            subject = self._names.hint(service)
        except ConfigurationError:
            return None
        return NatsHints(lambda: self._opened()[0], subject)

    async def open(self) -> None:
        """Connect, and create the stream where it is missing; also again, after the connection was closed for good."""
        async with self._opening:
            if self._connection is None or self._connection.ended:
                await self._open()

    async def _open(self) -> None:
        connection = NatsConnection(self._url, self._options.connect_timeout_seconds)
        await connection.open()
        try:
            stream = LogStream(connection, self._names, self._options, self._clock)
            await stream.make()
            publisher = Publisher(connection)
            await publisher.open()
        except BaseException:
            await connection.close()
            raise
        self._connection, self._publisher, self._stream = connection, publisher, stream

    async def close(self) -> None:
        """Close the consumers, then the connection."""
        members, self._members = self._members, []
        for member in members:
            await member.close()
        connection, stream = self._connection, self._stream
        self._connection = self._publisher = self._stream = None
        if stream is not None:
            await stream.close()
        if connection is not None:
            await connection.close()

    async def ping(self, timeout_seconds: float) -> None:
        """Read the stream's state; create the stream again where it is gone. Raises `Unavailable`."""
        _, _, stream = self._opened()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._look(stream)
        except TimeoutError as error:
            raise OperationTimeout("NATS did not answer in time", hint="is nats-server running?") from error

    async def probe(self, name: str, timeout_seconds: float) -> None:
        """Write a record into a bucket of the service's own, and check that the log has room. Raises `Unavailable`."""
        connection, publisher, _ = self._opened()
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        await self.ping(timeout_seconds)
        left_seconds = max(0.1, deadline - asyncio.get_running_loop().time())
        await probe(connection, publisher, self._names, name, left_seconds)

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        """Store messages: one after the other for each key, at the same time for different keys.

        The identity of the stream is known from its last check; it is checked after each reconnection. When another
        process deletes and creates the stream in between, the numbers of stored messages show it: such messages are
        not confirmed.
        """
        connection, _, stream = self._opened()
        connection.check()
        deadline = self._clock.monotonic() + timeout_seconds
        await self._verify(stream, timeout_seconds)
        stream.check(log)
        outcomes: dict[int, PublishOutcome] = {}
        failed: set[tuple[str, str]] = set()
        for indexes in _rounds(messages):
            bytes_max, sendable = self._message_bytes_max(), []
            for index in indexes:
                error = self._refusal(messages[index], failed, bytes_max)
                if error is None:
                    sendable.append(index)
                else:
                    failed.add((messages[index].topic, messages[index].key))
                    outcomes[index] = PublishFailed(error)
            results = await self._store([messages[index] for index in sendable], deadline, log) if sendable else []
            for index, result in zip(sendable, results, strict=True):
                outcome = self._outcome(result)
                outcomes[index] = outcome
                if isinstance(outcome, PublishFailed):
                    failed.add((messages[index].topic, messages[index].key))
        return [outcomes[index] for index in range(len(messages))]

    async def _store(
        self, messages: Sequence[OutgoingMessage], deadline: float, log: str
    ) -> Sequence[Mapping[str, Any] | FreeholdError]:
        """Publish messages of different keys. Where the stream is gone, create it again and publish once more."""
        _, publisher, stream = self._opened()
        try:
            stream.check(log)
        except LogReplaced as error:
            return [error] * len(messages)
        before = stream.reached
        results = await publisher.publish([self._publication(each, stream) for each in messages], self._left(deadline))
        if not stream.stored(_numbers(results), before) and log:
            return [result if isinstance(result, FreeholdError) else _numbered_again() for result in results]
        gone = [index for index, result in enumerate(results) if isinstance(result, StreamGone)]
        if not gone:
            return results
        try:
            async with asyncio.timeout(self._left(deadline)):
                await stream.repair()
            stream.check(log)
        except TimeoutError:
            return results
        except Unavailable as error:
            return [error if isinstance(result, StreamGone) else result for result in results]
        publications = [self._publication(messages[index], stream) for index in gone]
        again = dict(zip(gone, await publisher.publish(publications, self._left(deadline)), strict=True))
        return [
            self._not_permitted(messages[index], again[index]) if index in again else result
            for index, result in enumerate(results)
        ]

    @staticmethod
    def _not_permitted(
        message: OutgoingMessage, result: Mapping[str, Any] | FreeholdError
    ) -> Mapping[str, Any] | FreeholdError:
        """Replace `StreamGone` of a second attempt: the stream exists, so the server does not permit the message."""
        if not isinstance(result, StreamGone):
            return result
        return Unavailable(
            f"NATS does not permit these credentials to publish to topic {message.topic}",
            hint="grant the service this right in the accounts of the server's configuration",
        )

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.monotonic())

    async def subscribe(self, subscription: Subscription) -> GroupMember:
        """Join a group."""
        connection, publisher, stream = self._opened()
        if not subscription.topics:
            raise ConfigurationError("a subscription needs topics")
        for topic in subscription.topics:
            self._names.dotted(topic)
        log = NatsLog(
            connection,
            publisher,
            PartitionReader(connection, self._names, stream, subscription.group, self._clock),
            stream,
            self._names,
            subscription=subscription,
            timeout_seconds=self._options.connect_timeout_seconds,
        )
        member = GroupMember(log, self._options.lease_seconds, self._clock)
        await member.join()
        self._members.append(member)
        return member

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """How many messages the group has not read, and their age, by topic."""
        connection, _, _ = self._opened()
        async with self._counting:
            return await read_lag(connection, self._names, group, self._options.connect_timeout_seconds, self._clock)

    async def group_state(self, group: str) -> GroupState:
        """The partitions of a group with their owners and positions, and its members."""
        connection, _, _ = self._opened()
        return await read_group(connection, self._names, group, self._options.connect_timeout_seconds)

    async def provision(self, groups: Iterable[str]) -> None:
        """Create missing streams: that of the messages, and those of the groups' records. Raises `Unavailable`."""
        connection, _, stream = self._opened()
        await self._look(stream)
        try:
            for group in groups:
                await ensure_stream(connection, self._names.bucket_config(group))
        except ApiError as error:
            raise as_outage(error, "NATS cannot create the stream of a group's records") from error

    async def log_identity(self) -> str:
        """The time when the stream was created, as the server prints it. Creates the stream again where it is gone."""
        _, _, stream = self._opened()
        return (await self._look(stream)).made_at

    async def log_mark(self) -> str:
        """The number and time of the stream's last message; empty where there is none."""
        _, _, stream = self._opened()
        identity = await self._look(stream)
        return identity.mark if identity.last else ""

    async def log_holds(self, mark: str) -> bool:
        """Whether the log still has the message of a mark: by its number, and by its time where it is the last one."""
        _, _, stream = self._opened()
        return (await self._look(stream)).has_come_to(mark)

    @staticmethod
    async def _look(stream: LogStream) -> LogIdentity:
        try:
            return await stream.look()
        except StreamGone:
            await stream.repair()
            return await stream.look()

    @staticmethod
    async def _verify(stream: LogStream, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await stream.verify()
        except TimeoutError as error:
            raise OperationTimeout("NATS did not answer in time", hint="is nats-server running?") from error

    async def run_checks(self) -> list[CheckResult]:
        """Check the server and the stream."""
        connection, _, _ = self._opened()
        return await run_checks(connection, self._names, self._options.connect_timeout_seconds)

    def _opened(self) -> tuple[NatsConnection, Publisher, LogStream]:
        if self._connection is None or self._publisher is None or self._stream is None:
            raise Unavailable("the NATS broker is not open", hint="call open() first")
        return self._connection, self._publisher, self._stream

    def _refusal(
        self, message: OutgoingMessage, failed: Collection[tuple[str, str]], bytes_max: int
    ) -> FreeholdError | None:
        """The reason not to send a message: one before it failed, or it cannot be stored."""
        if failed and (message.topic, message.key) in failed:
            return Unavailable("a message before it with the same key was not stored")
        if len(message.document) > bytes_max:
            return self._too_large(message)
        if not self._names.carries(message.topic):
            # The topic may come from a request's `reply_to`: only this message is refused, not the whole call.
            return MessageRejected(
                f"message {message.id} has a topic that cannot be a subject", hint="letters, digits, '-', '_' and dots"
            )
        return None

    @staticmethod
    def _publication(message: OutgoingMessage, stream: LogStream) -> Publication:
        layout = stream.layout
        subject = layout.subject(message.topic, stable_hash(message.key) % layout.partitions)
        return Publication(subject, message.document, {"Nats-Msg-Id": str(message.id)})

    def _outcome(self, result: Any) -> PublishOutcome:
        if not isinstance(result, FreeholdError):
            return _DUPLICATE if result.get("duplicate") else _CONFIRMED
        return PublishFailed(result)

    def _message_bytes_max(self) -> int:
        """The present limit. A restarted server may have a lower one, and the driver would refuse a whole call then."""
        limit = self._connection.message_bytes_max if self._connection is not None else _MESSAGE_BYTES_MAX
        return min(_MESSAGE_BYTES_MAX, limit) - _HEADER_BYTES

    def _too_large(self, message: OutgoingMessage) -> MessageRejected:
        return MessageRejected(
            f"message {message.id} is larger than {self._message_bytes_max()} bytes", hint="send a reference"
        )


def _numbered_again() -> LogReplaced:
    return LogReplaced(
        "NATS gave a number of its stream a second time: it is another stream, or an older copy",
        hint="the service checks the stream again, and notes a loss",
        went_back=True,
    )


def _numbers(results: Sequence[Mapping[str, Any] | FreeholdError]) -> list[int]:
    """The numbers of messages that were stored now; not of duplicates, which have an earlier number."""
    return [
        int(result["seq"])
        for result in results
        if not isinstance(result, FreeholdError) and not result.get("duplicate")
    ]


def _rounds(messages: Sequence[OutgoingMessage]) -> Sequence[Sequence[int]]:
    """Divide the indexes of messages into rounds, in order; each round has a key at most once."""
    rounds: list[list[int]] = []
    seen: dict[tuple[str, str], int] = {}
    for index, message in enumerate(messages):
        key = (message.topic, message.key)
        turn = seen.get(key, 0)
        seen[key] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(index)
    return rounds
