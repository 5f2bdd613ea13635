"""Reading places of the log: one pull consumer a place, without acknowledgements. Adapter: imports its package.

The server sends what was asked for as it comes, so nothing is asked for each message, and no more is under way than was
asked for. What is lost on the way shows as a gap in the consumer's numbers, and the place is followed anew.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.errors import ApiError
from freehold.adapters.nats.identity import read_identity
from freehold.adapters.nats.names import Names
from freehold.clock import Clock
from freehold.errors import Unavailable
from freehold.leases.log import Entry, Place

__all__ = ["Follower"]

_BATCH: Final = 256
_LOW: Final = 64
_EXPIRES_SECONDS: Final = 20.0
_LATE_SECONDS: Final = 5.0
_INACTIVE_SECONDS: Final = 60.0
_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class _Follow:
    place: Place
    after: int
    consumer: str = ""
    entries: deque[Entry] = field(default_factory=deque)
    sequence: int = 0
    credit: int = 0
    asked_at: float = 0.0
    broken: bool = True

    def pass_by(self, after: int) -> None:
        """Let go of what was acknowledged."""
        self.after = max(self.after, after)
        while self.entries and self.entries[0].number <= after:
            self.entries.popleft()


class Follower:
    """Keeps what comes for the places followed, a bounded number each.

    `made_at` tells which log the positions given belong to; another one is not followed.
    """

    def __init__(self, connection: NatsConnection, names: Names, member: str, clock: Clock) -> None:
        self._connection = connection
        self._names = names
        self._member = member
        self._clock = clock
        self.made_at = ""
        self._inbox = ""
        self._made = 0
        self._follows: dict[Place, _Follow] = {}
        self._by_subject: dict[str, _Follow] = {}
        self._subscription: Any = None
        self._on_messages: Callable[[], None] = lambda: None

    async def open(self, on_messages: Callable[[], None]) -> None:
        """Begin to listen. Raises `Unavailable`."""
        self._on_messages = on_messages
        self._inbox = self._connection.inbox()
        self._subscription = await self._connection.subscribe(f"{self._inbox}.*", self._received)
        self._connection.on_reconnected.append(self._reconnected)

    async def close(self) -> None:
        """Stop listening."""
        if self._subscription is None:
            return
        self._connection.on_reconnected.remove(self._reconnected)
        for place in list(self._follows):
            await self.unfollow(place)
        with contextlib.suppress(Exception):
            await self._subscription.unsubscribe()

    async def follow(self, place: Place, after: int) -> None:
        """Have what follows `after` sent. Where that fails just now, `mend` does it later."""
        follow = _Follow(place=place, after=after)
        self._follows[place] = follow
        self._by_subject[self._names.message(place)] = follow
        with contextlib.suppress(Unavailable):
            await self._begin(follow)

    async def unfollow(self, place: Place) -> None:
        """Stop; the server forgets the consumer."""
        follow = self._follows.pop(place, None)
        if follow is not None:
            self._by_subject.pop(self._names.message(place), None)
            await self._end(follow)

    async def mend(self) -> None:
        """Follow anew what broke. Raises `Unavailable`."""
        self._connection.check()
        now = self._clock.monotonic()
        for follow in list(self._follows.values()):
            if follow.broken or (follow.credit and now - follow.asked_at > _EXPIRES_SECONDS + _LATE_SECONDS):
                await self._end(follow)
                await self._begin(follow)

    def has_news(self, place: Place, after: int) -> bool:
        """Whether something came that lies behind `after`."""
        follow = self._follows.get(place)
        if follow is None:
            return False
        follow.pass_by(after)
        return bool(follow.entries)

    async def read(self, place: Place, after: int, limit: int) -> Sequence[Entry]:
        """Return what came."""
        follow = self._follows.get(place)
        if follow is None:
            return []
        follow.pass_by(after)
        entries = [entry for entry, _ in zip(follow.entries, range(limit), strict=False)]
        if len(follow.entries) - len(entries) < _LOW:
            await self._ask(follow)
        return entries

    async def _begin(self, follow: _Follow) -> None:
        self._made += 1
        name = f"{self._member}-{self._made}"
        start = follow.entries[-1].number if follow.entries else follow.after
        subject = self._names.message(follow.place)
        config = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start + 1,
            "ack_policy": "none",
            "filter_subject": subject,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(_INACTIVE_SECONDS * 1e9),
        }
        try:
            await self._connection.ask(
                f"CONSUMER.CREATE.{self._names.log}.{name}.{subject}",
                {"stream_name": self._names.log, "config": config},
            )
        except ApiError as error:
            raise Unavailable("NATS cannot follow a partition", hint="is the stream there?") from error
        # Asked after the consumer was made: it belongs to this log, or to one that is gone and took it along.
        identity = await read_identity(self._connection, self._names)
        if identity.made_at != self.made_at or identity.last < start:
            raise Unavailable("the log is another one than that of the position", hint="it is looked at again soon")
        follow.consumer, follow.sequence, follow.credit, follow.broken = name, 0, 0, False
        await self._ask(follow)

    async def _end(self, follow: _Follow) -> None:
        if follow.consumer:
            with contextlib.suppress(Unavailable):
                await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._names.log}.{follow.consumer}", b"")
        follow.consumer = ""

    async def _ask(self, follow: _Follow) -> None:
        if follow.credit or follow.broken or len(follow.entries) >= _BATCH:
            return
        follow.credit = _BATCH
        follow.asked_at = self._clock.monotonic()
        question = encode({"batch": _BATCH, "expires": int(_EXPIRES_SECONDS * 1e9), "max_bytes": _BYTES_MAX})
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._names.log}.{follow.consumer}"
        try:
            await self._connection.publish(subject, question, f"{self._inbox}.{follow.consumer}")
        except Unavailable:
            follow.broken = True

    async def _received(self, message: Msg) -> None:
        follow = self._by_subject.get(message.subject)
        if follow is None:
            await self._status(message)
            return
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<number in the stream>.<number to the consumer>.<time>.<pending>
        parts = message.reply.split(".")
        if parts[3] != follow.consumer:
            return
        follow.sequence += 1
        if int(parts[6]) != follow.sequence:
            self._break(follow)
            return
        follow.entries.append(Entry(int(parts[5]), message.data))
        follow.credit -= 1
        self._on_messages()
        if not follow.credit and len(follow.entries) < _LOW:
            await self._ask(follow)

    async def _status(self, message: Msg) -> None:
        """The end of what was asked for: its time is over, or the consumer is gone."""
        consumer = message.subject.rpartition(".")[2]
        follow = next((each for each in self._follows.values() if each.consumer == consumer), None)
        if follow is None or not message.headers:
            return
        status = message.headers.get("Status")
        over = status == "408" or (status == "409" and "Exceeded" in str(message.headers.get("Description")))
        if not over:
            self._break(follow)
            return
        follow.credit = 0
        if len(follow.entries) < _LOW:
            await self._ask(follow)

    def _break(self, follow: _Follow) -> None:
        follow.broken = True
        self._on_messages()

    def _reconnected(self) -> None:
        for follow in self._follows.values():
            follow.broken = True
        self._on_messages()
