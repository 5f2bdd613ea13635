"""Reads partitions of the log by pull consumers without acknowledgements, one for each partition. Adapter: imports its
package.

Requests: one request asks for many messages, which the server sends as they are stored. A lost message shows as a gap
in the consumer's numbers; the partition is then read again from the last message that came.

Names: the consumer of a partition has the same name for every member of a group. A member that starts to read creates
it again, which ends the requests of an earlier member. Each start uses a new subject, so that messages for an earlier
one are not taken for its own. The server deletes a consumer that is no longer read.

Lost end: a server that lost the end of the log (power loss, older copy) gives the same numbers again. So a partition is
read from the last message that came before. The first message must be the same one; else the partition is `rewound`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.consumers import make_consumer
from freehold.adapters.nats.errors import ApiError, StreamGone, as_outage
from freehold.adapters.nats.identity import LogIdentity
from freehold.adapters.nats.log_stream import LogStream
from freehold.adapters.nats.names import Names
from freehold.clock import Clock
from freehold.errors import Unavailable
from freehold.groups.log import Entry, TopicPartition

__all__ = ["PartitionReader"]

_BATCH: Final = 256
_LOW: Final = 64
_EXPIRES_SECONDS: Final = 20.0
_LATE_SECONDS: Final = 5.0
_INACTIVE_SECONDS: Final = 60.0
_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class _Follow:
    """The reading of one partition.

    after      the number of the last message that was acknowledged.
    stored_at  the time of that message in nanoseconds, by the server; 0 where it is not known.
    entries    messages that came and were not acknowledged, with their times.
    expected   number and time of the message that must come first.
    credit     how many messages of the last request are still to come.
    """

    place: TopicPartition
    after: int
    stored_at: int
    log: LogIdentity
    inbox: str = ""
    subscription: Subscription | None = None
    entries: deque[tuple[Entry, int]] = field(default_factory=deque)
    expected: tuple[int, int] | None = None
    rewound: bool = False
    sequence: int = 0
    credit: int = 0
    asked_at: float = 0.0
    broken: bool = True
    beginning: asyncio.Lock = field(default_factory=asyncio.Lock)

    def pass_by(self, after: int) -> None:
        """Drop the entries that were acknowledged."""
        if after > self.after:
            self.after, self.stored_at = after, 0
        while self.entries and self.entries[0][0].number <= after:
            entry, stored_at = self.entries.popleft()
            if entry.number == after:
                self.stored_at = stored_at

    @property
    def last(self) -> tuple[int, int]:
        """Number and time of the last message that came."""
        if not self.entries:
            return self.after, self.stored_at
        entry, stored_at = self.entries[-1]
        return entry.number, stored_at


class PartitionReader:
    """Reads partitions, and keeps a bounded number of messages of each.

    `log` is the log that the callers' positions belong to. Where the server has another one, nothing is read, and
    `on_another` is called.
    """

    def __init__(self, connection: NatsConnection, names: Names, stream: LogStream, group: str, clock: Clock) -> None:
        self._connection = connection
        self._names = names
        self._stream = stream
        self._group = group
        self._clock = clock
        self.log: LogIdentity | None = None
        self._follows: dict[TopicPartition, _Follow] = {}
        self._turns: defaultdict[TopicPartition, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._listening = False
        self._on_messages: Callable[[], None] = lambda: None
        self._on_another: Callable[[], None] = lambda: None

    def open(self, on_messages: Callable[[], None], on_another: Callable[[], None]) -> None:
        """Set the callbacks, and listen for reconnections."""
        self._on_messages, self._on_another = on_messages, on_another
        self._connection.on_reconnected.append(self._reconnected)
        self._listening = True

    async def close(self) -> None:
        """Stop listening."""
        if not self._listening:
            return
        self._listening = False
        self._connection.on_reconnected.remove(self._reconnected)
        for place in list(self._follows):
            await self.stop_reading(place)

    @property
    def rewound(self) -> frozenset[TopicPartition]:
        """The partitions whose positions are no longer valid, because the log has lost its end."""
        return frozenset(place for place, follow in self._follows.items() if follow.rewound)

    def stored_at(self, place: TopicPartition, number: int) -> int:
        """The time of a message that came and was not acknowledged, in nanoseconds; 0 where it is not known."""
        follow = self._follows.get(place)
        if follow is None:
            return 0
        return next((at for entry, at in follow.entries if entry.number == number), 0)

    async def start_reading(self, place: TopicPartition, after: int, stored_at: int = 0) -> None:
        """Start to read behind the message `after`, whose time is `stored_at`. Where that fails now, `repair` retries.

        Raises `Unavailable` where `log` is not set yet.
        """
        if self.log is None:
            raise Unavailable("the identity of the log is not known yet", hint="the group is read again soon")
        follow = _Follow(place, after, stored_at, self.log)
        self._follows[place] = follow
        with contextlib.suppress(Unavailable):
            await self._begin(follow)

    async def stop_reading(self, place: TopicPartition) -> None:
        """Stop reading. The consumer is not deleted: another member may have created it again already."""
        follow = self._follows.pop(place, None)
        if follow is not None:
            await self._end(follow)

    async def repair(self) -> None:
        """Start broken readings again; a failure of one does not block others. Raises `StreamGone`, `Unavailable`."""
        self._connection.check()
        now = self._clock.monotonic()
        failure: Unavailable | None = None
        for follow in list(self._follows.values()):
            late = follow.credit and now - follow.asked_at > _EXPIRES_SECONDS + _LATE_SECONDS
            if follow.rewound or not (follow.broken or late):
                if len(follow.entries) < _LOW:
                    await self._ask(follow)
                continue
            try:
                await self._begin(follow)
            except StreamGone:
                raise
            except Unavailable as error:
                failure = error
                self._connection.check()
        if failure is not None:
            raise failure

    def has_messages(self, place: TopicPartition, after: int) -> bool:
        """Whether messages behind `after` have come."""
        follow = self._follows.get(place)
        if follow is None:
            return False
        follow.pass_by(after)
        return bool(follow.entries)

    async def read(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        """Return messages behind `after` that have come."""
        follow = self._follows.get(place)
        if follow is None:
            return []
        follow.pass_by(after)
        entries = [entry for (entry, _), _ in zip(follow.entries, range(limit), strict=False)]
        if len(follow.entries) - len(entries) < _LOW:
            await self._ask(follow)
        return entries

    async def _begin(self, follow: _Follow) -> None:
        """Continue to read behind the last message that came. Raises `Unavailable`."""
        if follow.beginning.locked():
            return
        # The consumer is named by its partition: two readings must not create it at the same time.
        async with follow.beginning, self._turns[follow.place]:
            if self._follows.get(follow.place) is follow:
                await self._make(follow)
        if self._follows.get(follow.place) is follow:
            await self._ask(follow)
        else:
            # `stop_reading` was called meanwhile.
            await self._end(follow)

    async def _make(self, follow: _Follow) -> None:
        await self._end(follow)
        name = self._names.reader(self._group, follow.place)
        start, stored_at = follow.last
        checked = start > 0 and stored_at > 0
        # Without this check the consumer of a member that reads a newer log would be replaced, with another filter.
        self._check(follow, await self._stream.look(), start)
        config = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start if checked else start + 1,
            "ack_policy": "none",
            "filter_subject": follow.log.layout.message(follow.place),
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(_INACTIVE_SECONDS * 1e9),
        }
        try:
            await make_consumer(self._connection, self._names.log, config)
        except ApiError as error:
            raise as_outage(error, "NATS cannot create the consumer of a partition") from error
        # Read after the consumer was created: it belongs to this log, or was deleted together with an earlier one.
        identity = await self._stream.look()
        try:
            self._check(follow, identity, start)
        except Unavailable:
            # A member that reads the partition in this log gets the status that the consumer is gone, and creates it.
            await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._names.log}.{name}", b"")
            raise
        follow.expected = (start, stored_at) if checked and identity.first <= start else None
        follow.inbox = self._connection.inbox()
        follow.subscription = await self._connection.subscribe(
            follow.inbox, partial(self._received, follow, follow.inbox)
        )
        follow.sequence, follow.credit, follow.broken = 0, 0, False

    def _check(self, follow: _Follow, identity: LogIdentity, start: int) -> None:
        """Raise `Unavailable`, and call `on_another`, where the position does not belong to this log."""
        if identity.made_at == follow.log.made_at and identity.last >= start:
            return
        follow.rewound = identity.made_at == follow.log.made_at
        self._on_another()
        raise Unavailable("the position belongs to another log", hint="the group is read again soon")

    async def _end(self, follow: _Follow) -> None:
        """Stop receiving messages of earlier requests."""
        subscription, follow.subscription, follow.inbox, follow.broken = follow.subscription, None, "", True
        if subscription is not None:
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    async def _ask(self, follow: _Follow) -> None:
        if follow.credit or follow.broken or len(follow.entries) >= _BATCH:
            return
        follow.credit = _BATCH
        follow.asked_at = self._clock.monotonic()
        question = encode({"batch": _BATCH, "expires": int(_EXPIRES_SECONDS * 1e9), "max_bytes": _BYTES_MAX})
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._names.log}.{self._names.reader(self._group, follow.place)}"
        try:
            await self._connection.publish(subject, question, follow.inbox)
        except Unavailable:
            follow.broken = True

    async def _received(self, follow: _Follow, inbox: str, message: Msg) -> None:
        if follow.inbox != inbox or follow.broken:
            return
        if not message.reply.startswith("$JS.ACK."):
            await self._status(follow, message)
            return
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<number in the stream>.<number to the consumer>.<time>.<pending>
        parts = message.reply.split(".")
        follow.sequence += 1
        if int(parts[6]) != follow.sequence:
            self._break(follow)
            return
        number, stored_at = int(parts[5]), int(parts[7])
        if follow.expected is not None and not await self._continues(follow, inbox, (number, stored_at)):
            return
        follow.credit -= 1
        if number > follow.last[0]:
            follow.entries.append((Entry(number, message.data), stored_at))
            self._on_messages()
        if not follow.credit and len(follow.entries) < _LOW:
            await self._ask(follow)

    async def _continues(self, follow: _Follow, inbox: str, came: tuple[int, int]) -> bool:
        """Whether the first message is the expected one, or that one was pruned meanwhile; else mark as rewound."""
        expected, follow.expected = follow.expected, None
        if expected is None or came == expected:
            return True
        try:
            pruned = (await self._stream.look()).first > expected[0]
        except Unavailable:
            self._break(follow)
            return False
        if follow.inbox != inbox or follow.broken:
            return False
        if not pruned:
            follow.entries.clear()
            follow.rewound = True
            self._break(follow)
            self._on_another()
        return pruned

    async def _status(self, follow: _Follow, message: Msg) -> None:
        """Handle the end of a request: it has expired, or the consumer is gone."""
        headers = message.headers or {}
        status = headers.get("Status")
        over = status == "408" or (status == "409" and "Exceeded" in str(headers.get("Description")))
        if not over:
            self._break(follow)
            return
        follow.credit = 0
        # Also with many entries left: when all are acknowledged, no call of `read` would send a request.
        await self._ask(follow)

    def _break(self, follow: _Follow) -> None:
        follow.broken = True
        self._on_messages()

    def _reconnected(self) -> None:
        for follow in self._follows.values():
            follow.broken = True
        self._on_messages()
        self._on_another()
