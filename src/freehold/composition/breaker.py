"""When to stop calling a service that fails: a pure state machine. Imports the foundation only.

closed      calls pass; their outcomes are counted over a sliding window. Enough failures open it.
open        nothing passes for `open_seconds`.
half-open   one call passes, the probe. Its success closes the breaker, its failure opens it again. A probe of which
            nothing is heard for `probe_seconds` makes room for the next.

Every call that passes carries a permit. A permit given before the last change of phase says nothing about the service
as it is now, so its outcome is ignored: a slow failure from before cannot open what a probe has closed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite
from typing import Final

from freehold.errors import DeclarationError

__all__ = [
    "BreakerPhase",
    "BreakerPolicy",
    "BreakerState",
    "CallFinished",
    "CallOutcome",
    "CallPermitted",
    "CallRejected",
    "CallRequested",
]

_BUCKETS: Final = 10


class BreakerPhase(StrEnum):
    """Where a breaker is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CallOutcome(StrEnum):
    """What became of a call. `ABANDONED`: given up too early to say anything about the service."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class CallRequested:
    """Somebody wants to call."""


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call that was admitted with this permit has ended."""

    permit: int
    outcome: CallOutcome


@dataclass(frozen=True, slots=True)
class CallPermitted:
    """The call may be made; its end is told with the permit."""

    permit: int


@dataclass(frozen=True, slots=True)
class CallRejected:
    """The call must not be made; asking again makes sense after so long."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Outcomes of a tenth of the window."""

    number: int
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class BreakerState:
    """All that is remembered of a service. `permit` is the one that counts; `until` ends the rest or the probe."""

    phase: BreakerPhase = BreakerPhase.CLOSED
    permit: int = 0
    buckets: tuple[Bucket, ...] = ()
    until: float = 0.0

    @property
    def failed(self) -> int:
        """Failures in the window as of the last event."""
        return sum(bucket.failed for bucket in self.buckets)

    @property
    def counted(self) -> int:
        """Calls in the window as of the last event."""
        return self.failed + sum(bucket.succeeded for bucket in self.buckets)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Opens when at least `calls_min` calls ended within `window_seconds` and `failure_ratio` of them failed.

    A call that had no answer when it was given up counts as failed if it had waited for `slow_seconds`, or for its own
    limit where that is shorter; with less, it says nothing.
    """

    window_seconds: float = 10.0
    calls_min: int = 5
    failure_ratio: float = 0.5
    open_seconds: float = 5.0
    probe_seconds: float = 10.0
    slow_seconds: float = 0.5

    def __post_init__(self) -> None:
        """Raise `DeclarationError` for numbers that cannot be meant."""
        spans = (self.window_seconds, self.open_seconds, self.probe_seconds, self.slow_seconds)
        possible = all(isfinite(each) and each > 0 for each in spans)
        if not possible or self.calls_min < 1 or not 0 < self.failure_ratio <= 1:
            raise DeclarationError(
                "a breaker's numbers cannot be meant",
                hint="seconds are greater than 0, calls_min is at least 1, failure_ratio is above 0 and at most 1",
            )

    def decide(
        self, state: BreakerState, event: CallRequested | CallFinished, now: float
    ) -> tuple[BreakerState, CallPermitted | CallRejected | None]:
        """The state after the event, and the answer to who asked. `now` is monotonic seconds."""
        match event:
            case CallRequested():
                return self._asked(state, now)
            case CallFinished(permit=permit) if permit != state.permit:
                return state, None
            case CallFinished(outcome=outcome):
                return self._ended(state, outcome, now), None

    def _asked(self, state: BreakerState, now: float) -> tuple[BreakerState, CallPermitted | CallRejected]:
        if state.phase is BreakerPhase.CLOSED:
            return state, CallPermitted(state.permit)
        if now < state.until:
            return state, CallRejected(state.until - now)
        probing = BreakerState(BreakerPhase.HALF_OPEN, state.permit + 1, until=now + self.probe_seconds)
        return probing, CallPermitted(probing.permit)

    def _ended(self, state: BreakerState, outcome: CallOutcome, now: float) -> BreakerState:
        match state.phase, outcome:
            case BreakerPhase.CLOSED, CallOutcome.SUCCEEDED | CallOutcome.FAILED:
                counted = replace(state, buckets=self._count(state.buckets, outcome, now))
                return self._opened(counted, now) if self._too_many(counted) else counted
            case BreakerPhase.HALF_OPEN, CallOutcome.SUCCEEDED:
                return BreakerState(BreakerPhase.CLOSED, state.permit + 1)
            case BreakerPhase.HALF_OPEN, CallOutcome.FAILED:
                return self._opened(state, now)
            case BreakerPhase.HALF_OPEN, CallOutcome.ABANDONED:
                return replace(state, until=now)
            case _:
                return state

    def _opened(self, state: BreakerState, now: float) -> BreakerState:
        return BreakerState(BreakerPhase.OPEN, state.permit + 1, until=now + self.open_seconds)

    def _too_many(self, state: BreakerState) -> bool:
        return state.counted >= self.calls_min and state.failed >= self.failure_ratio * state.counted

    def _count(self, buckets: tuple[Bucket, ...], outcome: CallOutcome, now: float) -> tuple[Bucket, ...]:
        number = int(now / self.window_seconds * _BUCKETS)
        kept = tuple(bucket for bucket in buckets if number - _BUCKETS < bucket.number < number)
        found = next((bucket for bucket in buckets if bucket.number == number), Bucket(number))
        if outcome is CallOutcome.FAILED:
            return (*kept, replace(found, failed=found.failed + 1))
        return (*kept, replace(found, succeeded=found.succeeded + 1))
