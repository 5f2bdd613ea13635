"""What a relay says of its lanes: places and watermarks, as pure functions. Pattern: imports the foundation, the ports.

The **watermark** of a published message is a fact about the log: every event of its lane with a position at or below it
is on the broker before this message, or is it itself, or was dead-lettered. Of the rows of one call only those are
known to be stored before a later one that have its key: a broker stores nothing of a key behind a failure, and goes on
with others. So a watermark ends below the first row of another key in the same call, and what it could not say is a
pending watermark, until the next message of the lane, or one that carries nothing else, announces it.

It needs no fence. A high-water mark stays true, whoever holds the lease when the message is stored at last;
a relay that lost its lease publishes old truths.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from freehold.broker import OutgoingMessage, PublishConfirmed, PublishOutcome
from freehold.clock import Clock
from freehold.ids import new_id, stable_hash
from freehold.messages import Envelope, MessageKind, encode_envelope
from freehold.messages.lanes import LANE, WATERMARK_VERSION, lane_name, stamped, watermark_type
from freehold.outbox.store import OutboxBatch, StagedMessage

__all__ = ["StampedBatch", "WatermarkClaim", "WatermarkStamper", "lanes_in_order"]


@dataclass(frozen=True, slots=True)
class WatermarkClaim:
    """What a message announces: everything of this partition up to `watermark` is on the broker. `position` is 0 where
    it is no row."""

    partition: int
    watermark: int
    position: int = 0


@dataclass(frozen=True, slots=True)
class StampedBatch:
    """What to publish: the rows' messages, in their order, then those that carry a watermark alone."""

    messages: Sequence[OutgoingMessage]
    claims: Sequence[WatermarkClaim | None]

    def pending_watermarks(self, fetched: OutboxBatch, outcomes: Sequence[PublishOutcome]) -> dict[int, int]:
        """The pending watermarks after this, where they have changed. A duplicate is on the broker with the watermark
        that it had the first time; nobody has heard the one that it has now.
        """
        reached, claimed = dict(fetched.pending_watermarks), dict[int, int]()
        for claim, outcome in zip(self.claims, outcomes, strict=True):
            if claim is not None and isinstance(outcome, PublishConfirmed):
                partition = claim.partition
                reached[partition] = max(claim.position, reached.get(partition, 0))
                if not outcome.duplicate:
                    claimed[partition] = max(claim.watermark, claimed.get(partition, 0))
        left = {
            partition: 0 if claimed.get(partition, 0) >= position else position
            for partition, position in reached.items()
        }
        return {
            partition: owes for partition, owes in left.items() if owes != fetched.pending_watermarks.get(partition, 0)
        }


class WatermarkStamper:
    """Stamps the messages of one service with their lanes and watermarks. Only its events are stamped: what goes to one
    service alone is nobody's to wait for.
    """

    def __init__(self, service: str, partitions: int, clock: Clock) -> None:
        self._service = service
        self._partitions = partitions
        self._clock = clock
        self._topic = f"{service}.events"
        self._keys: dict[int, str] = {}

    @staticmethod
    def can_name(service: str) -> bool:
        """Whether the service's name can be that of a lane."""
        return LANE.fullmatch(lane_name(service, 0)) is not None

    def stamp(self, fetched: OutboxBatch) -> StampedBatch:
        """Stamp each event with its place, and announce pending watermarks in lanes that have nothing to publish."""
        events: dict[int, list[StagedMessage]] = defaultdict(list)
        for row in fetched.rows:
            if row.message.topic == self._topic:
                events[row.partition].append(row)
        claims: dict[int, WatermarkClaim] = {}
        for partition, rows in events.items():
            for claim in _claims(rows, _limit(fetched, partition, rows[-1].position)):
                claims[claim.position] = claim
        messages = [self._stamped(row, claims.get(row.position)) for row in fetched.rows]
        told: list[WatermarkClaim | None] = [claims.get(row.position) for row in fetched.rows]
        for partition, position in fetched.pending_watermarks.items():
            if partition not in events and fetched.high_water_marks.get(partition, 0) >= position:
                messages.append(self._watermark(partition, position))
                told.append(WatermarkClaim(partition, position))
        return StampedBatch(messages, told)

    def barriers(self) -> list[OutgoingMessage]:
        """A message of each lane that carries a watermark and nothing else, to be staged like any other: its position
        is above all that was committed before, and so is what the relay says with it.
        """
        return [self._watermark(partition, 0) for partition in range(self._partitions)]

    def _stamped(self, row: StagedMessage, claim: WatermarkClaim | None) -> OutgoingMessage:
        if claim is None:
            return row.message
        lane = lane_name(self._service, claim.partition)
        document = stamped(row.message.document, lane, claim.watermark, claim.position)
        return replace(row.message, document=document)

    def _watermark(self, partition: int, position: int) -> OutgoingMessage:
        """A message that nobody handles, in the lane: whoever follows it takes its watermark and passes it over."""
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
        """A key that falls into the partition."""
        number = 0
        while partition not in self._keys:
            key = f"watermark/{number}"
            self._keys.setdefault(stable_hash(key) % self._partitions, key)
            number += 1
        return self._keys[partition]


def _limit(fetched: OutboxBatch, partition: int, last: int) -> int:
    """How far may be claimed: the high-water mark, and no further than what exists. A position that was only drawn may
    be drawn again after a crash.
    """
    return min(fetched.high_water_marks.get(partition, 0), max(last, fetched.pending_watermarks.get(partition, 0)))


def _claims(rows: Sequence[StagedMessage], limit: int) -> Sequence[WatermarkClaim]:
    """Of each row of one lane, in order: what is certain to be stored when it is."""
    first = rows[0]
    other = next((row.position for row in rows if row.message.key != first.message.key), None)
    claims = []
    for number, row in enumerate(rows):
        following = rows[number + 1].position if number + 1 < len(rows) else limit + 1
        if row.message.key != first.message.key:
            certain = first.position - 1
        elif other is not None and other < row.position:
            certain = other - 1
        else:
            certain = following - 1
        claims.append(WatermarkClaim(row.partition, max(0, min(limit, certain)), row.position))
    return claims


def lanes_in_order(outbox_partitions: int, broker_partitions: int) -> bool:
    """Whether all of an outbox partition comes to one partition of the broker: both take the same hash of the key."""
    return outbox_partitions % broker_partitions == 0
