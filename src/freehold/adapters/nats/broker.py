"""NATS JetStream as a broker. Adapter: imports the broker port, the leases pattern and its package.

Messages lie in one stream, a subject for each partition; a group's progress is a record changed by compare-and-set.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import NAME_IN_USE, STREAM_NOT_FOUND, ApiError
from freehold.adapters.nats.follow import Follower
from freehold.adapters.nats.identity import count_strangers
from freehold.adapters.nats.lag import read_lag
from freehold.adapters.nats.log import NatsLog
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.publisher import Publication, Publisher
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
from freehold.errors import ConfigurationError, FreeholdError, MessageRejected, Unavailable
from freehold.ids import new_id, stable_hash
from freehold.leases.log import Place
from freehold.leases.member import GroupMember

__all__ = ["NatsBroker"]

_MESSAGE_BYTES_MAX: Final = 1_048_576
# The server counts headers as part of a message.
_HEADER_BYTES: Final = 1024
_OLDEST_VERSION: Final = (2, 9)


class NatsBroker:
    """See `freehold.broker.Broker`. Open it after forking."""

    def __init__(self, url: str, options: BrokerOptions, clock: Clock) -> None:
        self._url = url
        self._options = options
        self._clock = clock
        self._names = Names(options.prefix)
        self._partitions = options.partitions
        self._members: list[GroupMember] = []
        self._connection: NatsConnection | None = None
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()

    @property
    def features(self) -> BrokerFeatures:
        """What it guarantees. The server flushes to disk every two minutes unless it is told to do it always."""
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
        """How many partitions a topic has."""
        return self._partitions

    async def open(self) -> None:
        """Connect, and make the streams where they are missing; again where the server closed it for good."""
        async with self._opening:
            if self._connection is None or self._connection.ended:
                await self._open()

    async def _open(self) -> None:
        connection = NatsConnection(self._url, self._options.connect_timeout_seconds)
        await connection.open()
        try:
            await self._make_streams(connection)
            publisher = Publisher(connection)
            await publisher.open()
        except BaseException:
            await connection.close()
            raise
        self._connection, self._publisher = connection, publisher

    async def close(self) -> None:
        """Close the consumers, then the connection."""
        members, self._members = self._members, []
        for member in members:
            await member.close()
        connection, self._connection, self._publisher = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def ping(self, timeout_seconds: float) -> None:
        """Return when JetStream answers."""
        connection, _ = self._opened()
        try:
            await connection.ask("INFO", timeout_seconds=timeout_seconds)
        except ApiError as error:
            raise Unavailable("JetStream does not answer", hint=error.message) from error

    async def publish(self, messages: Sequence[Outgoing], timeout_seconds: float) -> Sequence[PublishOutcome]:
        """Store messages: of each key one at a time, of different keys all at once."""
        connection, publisher = self._opened()
        connection.check()
        deadline = self._clock.monotonic() + timeout_seconds
        outcomes: dict[int, PublishOutcome] = {}
        failed: set[tuple[str, str]] = set()
        for indexes in _rounds(messages):
            sendable = [index for index in indexes if not self._refused(messages[index], index, outcomes, failed)]
            remaining = max(0.0, deadline - self._clock.monotonic())
            publications = [self._publication(messages[index]) for index in sendable]
            results = await publisher.publish(publications, remaining) if publications else []
            for index, result in zip(sendable, results, strict=True):
                outcome = self._outcome(result)
                outcomes[index] = outcome
                if isinstance(outcome, PublishFailed):
                    failed.add((messages[index].topic, messages[index].key))
        return [outcomes[index] for index in range(len(messages))]

    async def subscribe(self, subscription: Subscription) -> GroupMember:
        """Join a group."""
        connection, publisher = self._opened()
        if not subscription.topics:
            raise ConfigurationError("a subscription needs topics")
        places = [
            Place(self._names.dotted(topic), number)
            for topic in sorted(subscription.topics)
            for number in range(self._partitions)
        ]
        log = NatsLog(
            connection,
            publisher,
            Follower(connection, self._names, str(new_id()), self._clock),
            self._names,
            subscription=subscription,
            places=places,
            timeout_seconds=self._options.connect_timeout_seconds,
        )
        member = GroupMember(log, self._options.lease_seconds, self._clock)
        await member.join()
        self._members.append(member)
        return member

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """What the group still has before it."""
        connection, _ = self._opened()
        return await read_lag(connection, self._names, group, self._options.connect_timeout_seconds, self._clock)

    async def examine(self) -> list[Finding]:
        """Check the server."""
        connection, _ = self._opened()
        version = tuple(int(number) for number in re.findall(r"\d+", connection.server_version)[:2])
        info = await connection.ask(f"STREAM.INFO.{self._names.log}")
        config = info["config"]
        strangers = await count_strangers(connection, self._names, self._options.connect_timeout_seconds)
        return [
            Finding(
                "broker version",
                ok=version >= _OLDEST_VERSION,
                detail=f"nats-server {connection.server_version}",
                remedy="" if version >= _OLDEST_VERSION else "nats-server 2.9 or newer",
            ),
            Finding(
                "broker storage",
                ok=config["storage"] == "file",
                detail=f"storage={config['storage']}, replicas={config.get('num_replicas', 1)}",
                remedy=""
                if config["storage"] == "file"
                else "let Freehold make the stream, or make it with file storage",
            ),
            Finding(
                "broker log",
                ok=not strangers,
                detail=f"made {info['created']}; {strangers} positions belong to another log",
                remedy="the stream was made anew: each group reads from the earliest message as soon as it runs",
            ),
            Finding(
                "broker confirmation",
                ok=True,
                detail="a confirmed message survives process-kill; against loss of power set "
                "`sync_interval: always` (2.10 or newer) or run three replicas",
            ),
        ]

    def _opened(self) -> tuple[NatsConnection, Publisher]:
        if self._connection is None or self._publisher is None:
            raise Unavailable("the NATS broker is not open", hint="call open() first")
        return self._connection, self._publisher

    async def _make_streams(self, connection: NatsConnection) -> None:
        try:
            log = await self._stream(
                connection, self._names.log, self._names.log_config(self._options.retention_seconds, self._partitions)
            )
            await self._stream(connection, self._names.bucket, self._names.bucket_config())
        except ApiError as error:
            raise ConfigurationError("JetStream does not make the streams", hint=error.message) from error
        stored = re.fullmatch(r"partitions=(\d+)", str(log.get("description")))
        if stored is None:
            raise ConfigurationError("the stream of this prefix was not made by Freehold", hint="use another prefix")
        self._partitions = int(stored[1])

    async def _stream(self, connection: NatsConnection, name: str, config: Any) -> dict[str, Any]:
        """Return the stream's configuration as it is; the first to come makes it."""
        try:
            found = await connection.ask(f"STREAM.INFO.{name}")
        except ApiError as error:
            if error.number != STREAM_NOT_FOUND:
                raise
            try:
                found = await connection.ask(f"STREAM.CREATE.{name}", config)
            except ApiError as raced:
                if raced.number != NAME_IN_USE:
                    raise
                found = await connection.ask(f"STREAM.INFO.{name}")
        stored: dict[str, Any] = found["config"]
        return stored

    def _refused(
        self, message: Outgoing, index: int, outcomes: dict[int, PublishOutcome], failed: set[tuple[str, str]]
    ) -> bool:
        key = (message.topic, message.key)
        if key in failed:
            error: FreeholdError = Unavailable("a message before it with the same key was not stored")
        elif len(message.document) > self._message_bytes_max():
            error = self._too_large(message)
        elif not self._names.carries(message.topic):
            # The topic may come from a request's `reply_to`: one message is refused, not the whole call.
            error = MessageRejected(
                f"message {message.id} has a topic that cannot be a subject", hint="letters, digits, '-', '_' and dots"
            )
        else:
            return False
        failed.add(key)
        outcomes[index] = PublishFailed(error)
        return True

    def _publication(self, message: Outgoing) -> Publication:
        place = Place(message.topic, stable_hash(message.key) % self._partitions)
        return Publication(self._names.message(place), message.document, {"Nats-Msg-Id": str(message.id)})

    def _outcome(self, result: Any) -> PublishOutcome:
        if not isinstance(result, FreeholdError):
            return Stored(duplicate=bool(result.get("duplicate")))
        return PublishFailed(result)

    def _message_bytes_max(self) -> int:
        """What the server takes now: a restarted one may take less, and the driver then refuses a whole call."""
        told = self._connection.message_bytes_max if self._connection is not None else _MESSAGE_BYTES_MAX
        return min(_MESSAGE_BYTES_MAX, told) - _HEADER_BYTES

    def _too_large(self, message: Outgoing) -> MessageRejected:
        return MessageRejected(
            f"message {message.id} is larger than {self._message_bytes_max()} bytes", hint="send a reference"
        )


def _rounds(messages: Sequence[Outgoing]) -> Sequence[Sequence[int]]:
    """Divide into rounds that hold a key once each, in order."""
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
