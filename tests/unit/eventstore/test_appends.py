"""What a transaction collects for streams, what writers expect, and where a stream belongs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from freehold.conformance.events_order import new_event
from freehold.errors import ConcurrencyConflict, DeclarationError
from freehold.eventstore.append import PendingAppends, check_appends, conflict, is_met
from freehold.eventstore.store import (
    BUCKETS,
    Append,
    Expectation,
    ExpectedVersion,
    RecordedEvent,
    bucket_of,
    category_of,
)


@pytest.mark.parametrize(
    ("stream", "category"), [("order-17", "order"), ("order-a-b", "order"), ("order", "order"), ("-1", "")]
)
def test_a_category_is_the_name_up_to_the_first_dash(stream: str, category: str) -> None:
    assert category_of(stream) == category


def test_buckets_are_the_same_in_every_process_and_share_the_streams_evenly() -> None:
    """Partitions of read models are built on them: they must never move."""
    assert [bucket_of(f"order-{number}") for number in range(4)] == [209, 61, 155, 8]
    counts = [0] * BUCKETS
    for number in range(BUCKETS * 40):
        counts[bucket_of(f"order-{number}")] += 1
    assert min(counts) > 10
    assert max(counts) < 90


def test_appends_go_together_by_stream_in_the_order_first_named() -> None:
    pending = PendingAppends()
    first, second, third = new_event(), new_event(), new_event()
    pending.add("order-1", [first], 4)
    pending.add("cart-1", [second], Expectation.ANY)
    pending.add("order-1", [third], 5)
    pending.add("none-1", [], 7)
    assert pending.of("order-1") == (first, third)
    assert pending.of("none-1") == ()
    assert pending.take() == [Append("order-1", (first, third), 4), Append("cart-1", (second,), Expectation.ANY)]
    assert not pending


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (4, 4),
        (4, 6),
        (Expectation.NO_STREAM, 0),
        (Expectation.ANY, Expectation.NO_STREAM),
        (0, Expectation.NO_STREAM),
        # With one event pending, nothing that the stream was at before leads to these.
        (Expectation.ANY, 0),
        (Expectation.STREAM_EXISTS, 0),
        (Expectation.STREAM_EXISTS, 1),
    ],
)
def test_expectations_that_contradict_each_other_are_refused(earlier: ExpectedVersion, later: ExpectedVersion) -> None:
    pending = PendingAppends()
    pending.add("order-1", [new_event()], earlier)
    with pytest.raises(ConcurrencyConflict, match="'order-1'"):
        pending.add("order-1", [new_event()], later)


def test_a_later_exact_version_says_what_the_stream_was_at() -> None:
    pending = PendingAppends()
    pending.add("order-1", [new_event(), new_event()], Expectation.ANY)
    pending.add("order-1", [new_event()], 6)
    assert pending.take()[0].expected == 4


def test_a_conflict_names_stream_expectation_and_version() -> None:
    for expected in (3, Expectation.NO_STREAM):
        append = Append("order-1", [new_event()], expected)
        assert not is_met(append, 5)
        assert str(conflict(append, 5)).startswith(f"stream 'order-1' is at version 5, where {expected} was expected")


def test_a_stream_is_named_once() -> None:
    check_appends([Append("order-1", [new_event()]), Append("order-2", [new_event()])])
    with pytest.raises(DeclarationError, match="twice"):
        check_appends([Append("order-1", [new_event()]), Append("order-1", [new_event()])])


def test_no_stream_is_at_a_version_below_zero() -> None:
    with pytest.raises(DeclarationError, match="-1"):
        check_appends([Append("order-1", [new_event()], -1)])


def test_payloads_are_not_shown() -> None:
    """Events are logged and compared in tests; what they hold stays out of it."""
    assert "secret" not in repr(new_event(b"secret"))


def test_an_event_shows_nothing_of_what_it_holds_and_cannot_be_changed() -> None:
    event = new_event(b"private")
    recorded = RecordedEvent(1, "order-1", 1, datetime.now(UTC), event)
    assert "private" not in repr(recorded)
    assert str(event.id) in repr(recorded)
    with pytest.raises(AttributeError):
        setattr(event, "data", b"other")  # noqa: B010 - what the type checker refuses
    assert recorded == RecordedEvent(1, "order-1", 1, recorded.recorded_at, replace(event))
    assert replace(event, hlc=event.hlc + 1) != event
