"""The event store: streams of events in the service's own database, and their order over all streams."""

from freehold.eventstore.store import (
    EVENTS,
    EVERYTHING,
    Append,
    AppendResult,
    Body,
    EventFilter,
    EventStore,
    Expectation,
    ExpectedVersion,
    NewEvent,
    Page,
    RecordedEvent,
)

__all__ = [
    "EVENTS",
    "EVERYTHING",
    "Append",
    "AppendResult",
    "Body",
    "EventFilter",
    "EventStore",
    "Expectation",
    "ExpectedVersion",
    "NewEvent",
    "Page",
    "RecordedEvent",
]
