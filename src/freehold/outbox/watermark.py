"""The positions and watermarks with which a relay stamps messages, as pure functions. Pattern: imports the foundation
and the ports.

The **watermark** of a published message is a fact about the log: every event of its lane with a position at or below it
is on the broker before this message, or is this message, or was dead-lettered. Within one publish call this is known
only for rows of the same key: after a failure a broker stores nothing more of that key, but continues with others. So
a watermark stays below the first row of another key in the same call. The rest is a pending watermark, until the next
message of the lane announces it, or a message that carries nothing else.

Watermarks need no fencing token. A high-water mark stays true, whichever relay holds the lease when the message is
stored; a relay that lost its lease publishes watermarks that are old, but true.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from freehold.broker import OutgoingMessage, PublishConfirmed, PublishOutcome
from freehold.clock import Clock
from freehold.ids import new_id, stable_hash
from freehold.messages import Envelope, MessageKind, encode_envelope
from freehold.messages.lanes import LANE, WATERMARK_VERSION, lane_name, stamped, watermark_type
from freehold.outbox.store import OutboxBatch, StagedMessage

__all__ = ["PendingSince", "StampedBatch", "WatermarkClaim", "WatermarkStamper", "lanes_in_order"]

_ALONE_SECONDS: Final = 0.01


class WatermarkClaim(NamedTuple):
    """The claim of a message: all rows of this partition up to `watermark` are on the broker. `position` is the row's,
    or 0 for a message that is no row.
    """

    partition: int
    watermark: int
    position: int = 0


@dataclass(frozen=True, slots=True)
class StampedBatch:
    """The messages to publish: those of the rows, in their order, then those that carry a watermark only."""

    messages: Sequence[OutgoingMessage]
    claims: Sequence[WatermarkClaim | None]

    def pending_watermarks(self, fetched: OutboxBatch, outcomes: Sequence[PublishOutcome]) -> dict[int, int]:
        """Return the pending watermarks that changed with these outcomes, by partition. A duplicate is on the broker
        with its first watermark, so it does not announce its present one.
        """
        reached, claimed = dict(fetched.pending_watermarks), dict[int, int]()
        for claim, outcome in zip(self.claims, outcomes, strict=True):
            if claim is None or not isinstance(outcome, PublishConfirmed):
                continue
            partition = claim.partition
            if claim.position > reached.get(partition, 0):
                reached[partition] = claim.position
            if claim.watermark > claimed.get(partition, 0) and not outcome.duplicate:
                claimed[partition] = claim.watermark
        left = {
            partition: 0 if claimed.get(partition, 0) >= position else position
            for partition, position in reached.items()
        }
        return {
            partition: position
            for partition, position in left.items()
            if position != fetched.pending_watermarks.get(partition, 0)
        }


class PendingSince:
    """Since when the watermarks of lanes are pending, as one relay has seen it. Under load the next event of a lane
    announces them for nothing; a lane that has no next event gets a message of its own after `_ALONE_SECONDS`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[int, tuple[int, float]] = {}

    def overdue(self, fetched: OutboxBatch) -> Collection[int]:
        """Return the partitions whose pending watermark gets a message of its own: where there is nothing else to
        publish, all of them.
        """
        now = self._clock.monotonic()
        seen = {
            partition: before
            if (before := self._since.get(partition)) is not None and before[0] == position
            else (position, now)
            for partition, position in fetched.pending_watermarks.items()
        }
        self._since = seen
        if not fetched.rows:
            return seen.keys()
        return [partition for partition, (_, since) in seen.items() if now - since >= _ALONE_SECONDS]


class WatermarkStamper:
    """Stamps the events of one service with their lanes, positions and watermarks. Commands and replies have none,
    since no read waits for them.
    """

    def __init__(self, service: str, partitions: int, clock: Clock) -> None:
        self._service = service
        self._partitions = partitions
        self._clock = clock
        self._topic = f"{service}.events"
        self._keys: dict[int, str] = {}

    @staticmethod
    def can_name(service: str) -> bool:
        """Whether the service's name is valid in the name of a lane."""
        return LANE.fullmatch(lane_name(service, 0)) is not None

    def stamp(self, fetched: OutboxBatch, alone: Collection[int] | None = None) -> StampedBatch:
        """Stamp each event, and add a message for the pending watermark of each partition in `alone` without events to
        publish; None means all of them. The others are left to the next event of their lane.
        """
        messages = [row.message for row in fetched.rows]
        stamps: list[WatermarkClaim | None] = [None] * len(messages)
        events: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(fetched.rows):
            if row.message.topic == self._topic:
                events[row.partition].append(index)
        for partition, indexes in events.items():
            lane = lane_name(self._service, partition)
            rows = [fetched.rows[index] for index in indexes]
            claims = _claims(rows, _limit(fetched, partition, rows[-1].position))
            for index, row, claim in zip(indexes, rows, claims, strict=True):
                message = row.message
                document = stamped(message.document, lane, claim.watermark, row.position)
                messages[index] = OutgoingMessage(message.id, message.topic, message.key, document)
                stamps[index] = claim
        for partition, position in fetched.pending_watermarks.items():
            if partition in events or (alone is not None and partition not in alone):
                continue
            if fetched.high_water_marks.get(partition, 0) >= position:
                messages.append(self._watermark(partition, position))
                stamps.append(WatermarkClaim(partition, position))
        return StampedBatch(messages, stamps)

    def barriers(self) -> list[OutgoingMessage]:
        """Return a message for each lane that carries a watermark only. It is staged like any other message, so its
        position and its watermark are above everything that was committed before.
        """
        return [self._watermark(partition, 0) for partition in range(self._partitions)]

    def _watermark(self, partition: int, position: int) -> OutgoingMessage:
        """A message of the lane that no handler gets: consumers take its watermark and ignore it otherwise."""
        message_id = new_id()
        envelope = Envelope(
            id=message_id,
            type=watermark_type(self._service),
            version=WATERMARK_VERSION,
            kind=MessageKind.EVENT,
            source=self._service,
            topic=self._topic,
            key=self._key(partition),
            time=self._clock.now(),
            hlc=0,
            correlation_id=message_id,
            lane=lane_name(self._service, partition),
            watermark=position,
            body=b"{}",
        )
        return OutgoingMessage(message_id, self._topic, envelope.key, encode_envelope(envelope))

    def _key(self, partition: int) -> str:
        """A key whose hash belongs to the partition."""
        number = 0
        while partition not in self._keys:
            key = f"watermark/{number}"
            self._keys.setdefault(stable_hash(key) % self._partitions, key)
            number += 1
        return self._keys[partition]


def _limit(fetched: OutboxBatch, partition: int, last: int) -> int:
    """The highest possible watermark: the high-water mark, but not above the last row that exists. A position that was
    drawn and never committed may be drawn again after a crash.
    """
    return min(fetched.high_water_marks.get(partition, 0), max(last, fetched.pending_watermarks.get(partition, 0)))


def _claims(rows: Sequence[StagedMessage], limit: int) -> Sequence[WatermarkClaim]:
    """The claim of each row of one lane, in order: the rows that are certain to be stored when this row is."""
    first, key, partition = rows[0].position, rows[0].message.key, rows[0].partition
    other: int | None = None
    claims = []
    for row, following in zip(rows, [*(row.position for row in rows[1:]), limit + 1], strict=True):
        if row.message.key != key:
            other = other or row.position
            certain = first - 1
        else:
            certain = (other or following) - 1
        claims.append(WatermarkClaim(partition, max(0, min(limit, certain)), row.position))
    return claims


def lanes_in_order(outbox_partitions: int, broker_partitions: int) -> bool:
    """Whether all messages of an outbox partition go to one partition of the broker: both use the same hash of keys."""
    return outbox_partitions % broker_partitions == 0
