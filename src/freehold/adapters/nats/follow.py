"""Reading places of the log: one pull consumer a place, without acknowledgements. Adapter: imports its package.

The server sends what was asked for as it comes, so nothing is asked for each message, and no more is in progress than
was asked for. What is lost on the way shows as a gap in the consumer's numbers, and the place is followed again.

The consumer of a place has the same name for every member of a group: whoever begins to read the place makes it again
and so ends what a member before was sent. Each reading listens on a subject of its own, so that nothing of an earlier
one is taken for its own. A consumer that is no longer read is forgotten by the server.

A server that lost the end of the log, with its power or by an older copy, gives the same numbers again. So a place is
read from the last message that came before, which must be the very same; else the place is `rewound`.
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
    """`stored_at` is when the message `after` was stored, in nanoseconds as the server says it; 0 where not known.
    `expected` are number and time of the message that has to come first.
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
        """Let go of what was acknowledged."""
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
    """Keeps what comes for the places followed, a bounded number each.

    `log` tells which log the positions given belong to; another one is not followed: `on_another` is called then.
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
        """Begin to listen."""
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
        """The places followed whose positions are none any more: the log has lost its end."""
        return frozenset(place for place, follow in self._follows.items() if follow.rewound)

    def stored_at(self, place: TopicPartition, number: int) -> int:
        """When a message that came and was not passed by was stored, in nanoseconds; 0 where that is not known."""
        follow = self._follows.get(place)
        if follow is None:
            return 0
        return next((at for entry, at in follow.entries if entry.number == number), 0)

    async def start_reading(self, place: TopicPartition, after: int, stored_at: int = 0) -> None:
        """Have what follows `after` sent, a message stored then. Where that fails just now, `mend` does it later."""
        if self.log is None:
            raise Unavailable("it is not known yet which log it is", hint="the group is looked at soon")
        follow = _Follow(place, after, stored_at, self.log)
        self._follows[place] = follow
        with contextlib.suppress(Unavailable):
            await self._begin(follow)

    async def stop_reading(self, place: TopicPartition) -> None:
        """Stop. The consumer is left to the server: another member may have made it again already."""
        follow = self._follows.pop(place, None)
        if follow is not None:
            await self._end(follow)

    async def mend(self) -> None:
        """Follow again what broke; one that cannot be followed blocks no other. Raises `StreamGone`, `Unavailable`."""
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
        """Whether something came that lies behind `after`."""
        follow = self._follows.get(place)
        if follow is None:
            return False
        follow.pass_by(after)
        return bool(follow.entries)

    async def read(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        """Return what came."""
        follow = self._follows.get(place)
        if follow is None:
            return []
        follow.pass_by(after)
        entries = [entry for (entry, _), _ in zip(follow.entries, range(limit), strict=False)]
        if len(follow.entries) - len(entries) < _LOW:
            await self._ask(follow)
        return entries

    async def _begin(self, follow: _Follow) -> None:
        """Read on behind what came. Raises `Unavailable`."""
        if follow.beginning.locked():
            return
        # The consumer has the name of the place: one that was being made for an earlier reading would take its filter.
        async with follow.beginning, self._turns[follow.place]:
            if self._follows.get(follow.place) is follow:
                await self._make(follow)
        if self._follows.get(follow.place) is follow:
            await self._ask(follow)
        else:
            # Unfollowed meanwhile.
            await self._end(follow)

    async def _make(self, follow: _Follow) -> None:
        await self._end(follow)
        name = self._names.reader(self._group, follow.place)
        start, stored_at = follow.last
        checked = start > 0 and stored_at > 0
        # Or the consumer of whoever reads the log that took its place would be made again, with another filter.
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
            raise as_outage(error, "NATS does not make the consumer of a partition") from error
        # Asked after the consumer was made: it belongs to this log, or to one that is gone and took it along.
        identity = await self._stream.look()
        try:
            self._check(follow, identity, start)
        except Unavailable:
            # Whoever reads the place in this log hears that it is gone, and makes it as it has to be.
            await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._names.log}.{name}", b"")
            raise
        follow.expected = (start, stored_at) if checked and identity.first <= start else None
        follow.inbox = self._connection.inbox()
        follow.subscription = await self._connection.subscribe(
            follow.inbox, partial(self._received, follow, follow.inbox)
        )
        follow.sequence, follow.credit, follow.broken = 0, 0, False

    def _check(self, follow: _Follow, identity: LogIdentity, start: int) -> None:
        """Raise `Unavailable` where the position is none of this log, and have the leases looked at."""
        if identity.made_at == follow.log.made_at and identity.last >= start:
            return
        follow.rewound = identity.made_at == follow.log.made_at
        self._on_another()
        raise Unavailable("the log is another one than that of the position", hint="it is looked at again soon")

    async def _end(self, follow: _Follow) -> None:
        """Hear nothing more of what was asked for."""
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
        """Whether the first message fits what came before: it is the last of that, unless that was pruned meanwhile."""
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
        """The end of what was asked for: its time is over, or the consumer is gone."""
        headers = message.headers or {}
        status = headers.get("Status")
        over = status == "408" or (status == "409" and "Exceeded" in str(headers.get("Description")))
        if not over:
            self._break(follow)
            return
        follow.credit = 0
        # Also with much in hand: when all of that is acknowledged, nothing is read that would ask.
        await self._ask(follow)

    def _break(self, follow: _Follow) -> None:
        follow.broken = True
        self._on_messages()

    def _reconnected(self) -> None:
        for follow in self._follows.values():
            follow.broken = True
        self._on_messages()
        self._on_another()
