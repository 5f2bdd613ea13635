"""What is said of an event that failed, for people: never its content. Imports the foundation and its package."""

from __future__ import annotations

from typing import Final

from freehold.errors import ConcurrencyConflict, Unavailable
from freehold.eventstore.store import RecordedEvent
from freehold.failures import ProcessCrashed, describe, name_of
from freehold.policy import RetryAfter
from freehold.projection.declaration import Projection
from freehold.projection.store import ParkedStreamUpdate

__all__ = ["CRASH_REMEDY", "again_seconds", "describe", "is_transient", "parked_by", "retry_seconds"]

CRASH_REMEDY: Final = "mend what ends the process, then retry; or skip the event"


def parked_by(projection: Projection, event: RecordedEvent, error: BaseException, attempts: int) -> ParkedStreamUpdate:
    """What is kept of a stream whose event has failed so many times."""
    return ParkedStreamUpdate(
        stream=event.stream,
        position=event.position,
        version=event.version,
        event_id=event.event.id,
        type=event.event.type,
        error=name_of(error),
        detail=describe(error),
        attempts=attempts,
        retry_seconds=retry_seconds(projection, error, attempts),
    )


def retry_seconds(projection: Projection, error: BaseException, attempts: int) -> float | None:
    """When to try again what has failed so many times; None where it waits for an operator. What costs a process each
    time does.
    """
    if isinstance(error, ProcessCrashed):
        return None
    decision = projection.retry.decide(attempts, error)
    return decision.delay_seconds if isinstance(decision, RetryAfter) else None


def again_seconds(projection: Projection, attempts: int) -> float:
    """When to try again where nothing is heard of an attempt any more: it always is, for it says nothing so far."""
    decision = projection.retry.decide(attempts)
    return decision.delay_seconds if isinstance(decision, RetryAfter) else projection.retry.delay_seconds


def is_transient(error: BaseException) -> bool:
    """Whether an error says nothing of the event: the database is away, or somebody changed the same thing first."""
    return isinstance(error, (Unavailable, ConcurrencyConflict))
