"""The policy for an event that failed: its error without any content, and when to retry. Imports its package."""

from __future__ import annotations

from typing import Final

from freehold.errors import ConcurrencyConflict, Unavailable
from freehold.eventstore.store import RecordedEvent
from freehold.failures import ProcessCrashed, describe, name_of
from freehold.policy import RetryAfter
from freehold.projection.declaration import Projection
from freehold.projection.store import ParkedStreamUpdate

__all__ = ["CRASH_HINT", "again_seconds", "is_transient", "parked_by", "retry_seconds"]

CRASH_HINT: Final = "fix the crash, then retry; or skip the event"


def parked_by(projection: Projection, event: RecordedEvent, error: BaseException, attempts: int) -> ParkedStreamUpdate:
    """The update that parks a stream whose event has failed in so many attempts."""
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
    """The time until the next retry after so many attempts; None to wait for an operator, always after crashes."""
    if isinstance(error, ProcessCrashed):
        return None
    decision = projection.retry.decide(attempts, error)
    return decision.delay_seconds if isinstance(decision, RetryAfter) else None


def again_seconds(projection: Projection, attempts: int) -> float:
    """The time after which a retry without an outcome is repeated; such a retry is never the last one."""
    decision = projection.retry.decide(attempts)
    return decision.delay_seconds if isinstance(decision, RetryAfter) else projection.retry.delay_seconds


def is_transient(error: BaseException) -> bool:
    """Whether an error is not due to the event: the database is away, or another writer was faster."""
    return isinstance(error, (Unavailable, ConcurrencyConflict))
