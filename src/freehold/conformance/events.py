"""The suite of the event store port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import pytest

from freehold.binding import Stores
from freehold.conformance.harness import StoresHarness
from freehold.errors import ConcurrencyConflict
from freehold.eventstore.store import Append, EventFilter, Expectation, ExpectedVersion, NewEvent, RecordedEvent
from freehold.ids import new_id

__all__ = ["EventStoreConformance", "add", "follow", "new_event"]

_CORRELATION: Final = UUID(int=7)


def new_event(data: bytes = b"{}", type: str = "shop.happened") -> NewEvent:
    """An event to append."""
    return NewEvent(id=new_id(), type=type, schema_version=1, data=data, correlation_id=_CORRELATION, hlc=1)


async def add(
    stores: Stores, stream: str, *events: NewEvent, expected: ExpectedVersion = Expectation.ANY
) -> tuple[int, ...]:
    """Append to one stream in a transaction of its own; returns the positions."""
    (appended,) = await stores.events.append_alone([Append(stream, events or (new_event(),), expected)])
    return appended.positions


async def follow(
    stores: Stores, after: int = 0, wanted: EventFilter | None = None, *, limit: int = 1000
) -> list[RecordedEvent]:
    """Everything wanted after a position, page by page, up to the head."""
    found: list[RecordedEvent] = []
    head = await stores.events.head()
    while after < head:
        page = await stores.events.read_all(after, limit=limit, wanted=wanted or EventFilter())
        assert page.through > after
        assert len(page.events) <= limit
        found += page.events
        after = page.through
    return found


def _data(events: Sequence[RecordedEvent]) -> list[bytes]:
    return [each.event.data for each in events]


class EventStoreConformance:
    """What every event store does."""

    async def test_what_is_appended_is_read_as_it_was_given(self, harness: StoresHarness) -> None:
        """Every field, and the bytes whatever they are."""
        store = harness.first.events
        event = NewEvent(
            id=new_id(),
            type="orders.order-placed",
            schema_version=3,
            data=b"\x00\xff{not json %(p1)s $1 ?1",
            correlation_id=new_id(),
            hlc=2**62 + 1,
            causation_id=new_id(),
            trace_parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            subject_key="customer/ä",
            headers={"a": "1", "ä'$1;--": '"\x00'},
        )
        bare = new_event(b"")
        (appended,) = await store.append_alone([Append("order-ä'$1;--", [event, bare])])
        first, second = await store.read_stream("order-ä'$1;--")
        assert (first.event, second.event) == (event, bare)
        assert (first.stream, first.version, second.version) == ("order-ä'$1;--", 1, 2)
        assert appended.positions == (first.position, second.position)
        assert appended.version == 2
        assert first.recorded_at == harness.clock.now()
        assert (await store.read_all(0)).events == (first, second)

    @pytest.mark.parametrize(
        ("expected", "empty", "at_two"),
        [
            (Expectation.ANY, True, True),
            (Expectation.NO_STREAM, True, False),
            (Expectation.STREAM_EXISTS, False, True),
            (0, True, False),
            (2, False, True),
            (1, False, False),
            (3, False, False),
        ],
    )
    async def test_what_is_expected_is_checked(
        self, harness: StoresHarness, expected: ExpectedVersion, empty: bool, at_two: bool
    ) -> None:
        """Any, no stream, stream exists, and an exact version, on an empty stream and on one with two events."""
        stores = harness.first
        await add(stores, "order-two", new_event(), new_event())
        for stream, version, allowed in (("order-none", 0, empty), ("order-two", 2, at_two)):
            if allowed:
                await add(stores, stream, expected=expected)
            else:
                with pytest.raises(ConcurrencyConflict, match=f"'{stream}' is at version {version}.*{expected} was"):
                    await add(stores, stream, expected=expected)
            assert await stores.events.version(stream) == version + allowed
