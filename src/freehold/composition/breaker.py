"""A circuit breaker, which stops calls to a service that keeps failing: a pure state machine. Imports the foundation.

closed      calls are permitted; their outcomes are counted in a sliding window. Enough failures open the breaker.
open        no call is permitted for `open_seconds`.
half-open   one call is permitted, the probe. Its success closes the breaker, its failure opens it again. If it does not
            end within `probe_seconds`, another probe is permitted.

Every permitted call has a permit. The outcome of a permit from before the last change of phase is ignored, because it
says nothing about the service now: a slow call that fails late cannot open a breaker that a probe has closed.
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
    """The phase of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CallOutcome(StrEnum):
    """How a call ended. `ABANDONED`: cancelled too early to say anything about the service."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class CallRequested:
    """A call is to be made."""


@dataclass(frozen=True, slots=True)
class CallFinished:
    """The call with this permit has ended."""

    permit: int
    outcome: CallOutcome


@dataclass(frozen=True, slots=True)
class CallPermitted:
    """The call may be made; its end is reported with the permit."""

    permit: int


@dataclass(frozen=True, slots=True)
class CallRejected:
    """The call must not be made; the next one may be permitted after `retry_after_seconds`."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Outcomes of a tenth of the window."""

    number: int
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The breaker of one service. `permit` is the valid one; `until` is the end of the open phase or of the probe."""

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

    A call that is cancelled without a reply counts as failed if it had waited for `slow_seconds`, or for its own limit
    if that is shorter; otherwise it is not counted.
    """

    window_seconds: float = 10.0
    calls_min: int = 5
    failure_ratio: float = 0.5
    open_seconds: float = 5.0
    probe_seconds: float = 10.0
    slow_seconds: float = 0.5

    def __post_init__(self) -> None:
        """Raise `DeclarationError` for numbers out of range."""
        spans = (self.window_seconds, self.open_seconds, self.probe_seconds, self.slow_seconds)
        possible = all(isfinite(each) and each > 0 for each in spans)
        if not possible or self.calls_min < 1 or not 0 < self.failure_ratio <= 1:
            raise DeclarationError(
                "a breaker has a number out of range",
                hint="seconds are greater than 0, calls_min is at least 1, failure_ratio is above 0 and at most 1",
            )

    def decide(
        self, state: BreakerState, event: CallRequested | CallFinished, now: float
    ) -> tuple[BreakerState, CallPermitted | CallRejected | None]:
        """The state after the event, and for `CallRequested` whether the call is permitted. `now` is monotonic."""
        match event:
            case CallRequested():
                return self._requested(state, now)
            case CallFinished(permit=permit) if permit != state.permit:
                return state, None
            case CallFinished(outcome=outcome):
                return self._ended(state, outcome, now), None

    def _requested(self, state: BreakerState, now: float) -> tuple[BreakerState, CallPermitted | CallRejected]:
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
