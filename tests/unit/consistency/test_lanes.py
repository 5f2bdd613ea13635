"""What a relay says of its lanes: never more than is certain, and in the end all of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from freehold.broker import OutgoingMessage, PublishConfirmed, PublishFailed, PublishOutcome
from freehold.clock import SystemClock
from freehold.conformance.outbox import outgoing
from freehold.errors import CodecError, MessageRejected
from freehold.ids import stable_hash
from freehold.messages import decode_envelope
from freehold.messages.lanes import stamped
from freehold.outbox.store import OutboxBatch, StagedMessage
from freehold.outbox.watermark import StampedBatch, WatermarkStamper

LANES = WatermarkStamper("orders", 4, SystemClock())
REFUSED = PublishFailed(MessageRejected("planned"))


def _rows(*places: tuple[int, str], partition: int = 1) -> list[StagedMessage]:
    return [StagedMessage(position, partition, outgoing(key, b'{"a":1}'), 0) for position, key in places]


def _fetched(rows: Sequence[StagedMessage], settled: int, owed: int = 0, limit: int = 100) -> OutboxBatch:
    return OutboxBatch.of(rows, limit, {1: settled}, {1: owed})


def _watermarks(made: StampedBatch) -> list[int | None]:
    return [None if claim is None else claim.watermark for claim in made.claims]


def _owed(made: StampedBatch, fetched: OutboxBatch, *outcomes: PublishOutcome) -> dict[int, int]:
    return made.pending_watermarks(fetched, outcomes or [PublishConfirmed()] * len(made.messages))


def test_a_single_event_says_all_that_there_is() -> None:
    fetched = _fetched(_rows((5, "a")), settled=9)
    made = LANES.stamp(fetched)
    assert _watermarks(made) == [5]
    assert made.messages[0].document == b'{"a":1,"lane":"orders/1","sequence":"5","watermark":"5"}'
    assert _owed(made, fetched) == {}


def test_behind_another_key_nothing_is_certain_of_it() -> None:
    fetched = _fetched(_rows((5, "a"), (6, "a"), (7, "b"), (8, "a"), (9, "b")), settled=9)
    made = LANES.stamp(fetched)
    assert _watermarks(made) == [5, 6, 4, 6, 4]
    assert _owed(made, fetched) == {1: 9}
    assert _owed(made, fetched, PublishConfirmed(), REFUSED, PublishConfirmed(), REFUSED, PublishConfirmed()) == {1: 9}


def test_what_was_not_stored_is_neither_claimed_nor_pending() -> None:
    fetched = _fetched(_rows((5, "a")), settled=5)
    made = LANES.stamp(fetched)
    assert _owed(made, fetched, REFUSED) == {}
    fetched = _fetched(_rows((5, "a"), (6, "b")), settled=6)
    assert _owed(LANES.stamp(fetched), fetched, REFUSED, PublishConfirmed()) == {1: 6}


def test_what_the_broker_had_already_says_nothing_new() -> None:
    """Stored when less was settled: that one is on the broker, and what this one says of the lane is not."""
    fetched = _fetched(_rows((5, "a"), (6, "a")), settled=9)
    made = LANES.stamp(fetched)
    assert _owed(made, fetched, PublishConfirmed(duplicate=True), PublishConfirmed(duplicate=True)) == {1: 6}
    assert _owed(made, fetched, PublishConfirmed(duplicate=True), PublishConfirmed()) == {}
    fetched = _fetched(_rows((12, "a")), settled=12, owed=9)
    assert _owed(LANES.stamp(fetched), fetched, PublishConfirmed(duplicate=True)) == {1: 12}


def test_no_watermark_is_beyond_the_high_water_mark_or_the_batch() -> None:
    made = LANES.stamp(_fetched(_rows((5, "a"), (8, "a")), settled=6))
    assert _watermarks(made) == [6, 6]
    made = LANES.stamp(_fetched(_rows((5, "a"), (8, "a")), settled=90, limit=2))
    assert _watermarks(made) == [7, 8]


def test_a_pending_watermark_is_published_by_the_next_event_or_by_a_message_of_its_own() -> None:
    fetched = _fetched(_rows((12, "a")), settled=12, owed=9)
    assert _owed(LANES.stamp(fetched), fetched) == {1: 0}
    fetched = _fetched([], settled=12, owed=9)
    made = LANES.stamp(fetched)
    (message,) = made.messages
    envelope = decode_envelope(message.document)
    assert (envelope.type, envelope.version, envelope.topic) == ("orders.watermark", 0, "orders.events")
    assert (envelope.lane, envelope.position, envelope.watermark) == ("orders/1", None, 9)
    assert stable_hash(message.key) % 4 == 1
    assert _owed(made, fetched) == {1: 0}
    assert _owed(made, fetched, REFUSED) == {}
    assert LANES.stamp(_fetched([], settled=8, owed=9)).messages == []


def test_commands_and_replies_are_left_as_they_are() -> None:
    row = StagedMessage(3, 1, outgoing("a", b'{"a":1}', "stock.commands"), 0)
    made = LANES.stamp(_fetched([row, *_rows((4, "b"))], settled=4))
    assert made.messages[0] == row.message
    assert _watermarks(made) == [None, 4]


@pytest.mark.parametrize("document", [b"{}", b"", b"[1]", b"\x00"])
def test_what_is_no_envelope_is_left_as_it_is(document: bytes) -> None:
    assert stamped(document, "orders/1", 3, 3) == document


@pytest.mark.parametrize(
    "place",
    [
        '"lane":"orders"',
        '"lane":"Orders/1"',
        '"lane":"orders/1","watermark":"-1"',
        '"lane":"orders/1","sequence":"1e3"',
        '"lane":"orders/1","sequence":"\uff11"',
        '"lane":"orders/1","watermark":"9999999999999999999"',
        '"lane":"orders/1","watermark":7',
        '"watermark":"7"',
        '"consistencytoken":"orders"',
        '"consistencytoken":"orders=1;"',
        '"consistencytoken":"orders=1\\u0000"',
    ],
)
def test_a_place_that_makes_no_sense_makes_the_envelope_unreadable(place: str) -> None:
    document = _watermark().document
    assert decode_envelope(document).watermark == 9
    bare = document.replace(b',"lane":"orders/1"', b"").replace(b',"watermark":"9"', b"")
    assert decode_envelope(bare).lane is None
    with pytest.raises(CodecError):
        decode_envelope(bare[:-1] + b"," + place.encode() + b"}")


def _watermark() -> OutgoingMessage:
    return LANES.stamp(_fetched([], settled=9, owed=9)).messages[0]
