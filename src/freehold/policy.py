"""Pure decisions on failure: try again after so long, or give up. Foundation: standard library only."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["GiveUp", "Retry", "RetryAfter", "RetryDecision"]


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again after this many seconds."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again; `reason` is for a person."""

    reason: str


RetryDecision = RetryAfter | GiveUp


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter, by exception type.

    `attempts` counts the first one. The delay before attempt n+1 is drawn from `[d/2, d]`, d being
    `min(delay_seconds * multiplier**(n-1), delay_seconds_max)`: half is kept, so that backing off really does, and half
    is drawn, so that replicas do not come back together. `never` wins over `only`; both match subclasses.
    """

    attempts: int = 5
    delay_seconds: float = 0.2
    multiplier: float = 2.0
    delay_seconds_max: float = 60.0
    only: tuple[type[BaseException], ...] = (Exception,)
    never: tuple[type[BaseException], ...] = ()
    draw: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        if self.attempts < 1:
            msg = f"Retry.attempts must be at least 1, not {self.attempts}: it counts the first attempt"
            raise ValueError(msg)
        if self.delay_seconds < 0 or self.multiplier < 1 or self.delay_seconds_max < self.delay_seconds:
            msg = "Retry needs 0 <= delay_seconds <= delay_seconds_max and multiplier >= 1"
            raise ValueError(msg)

    def decide(self, attempt: int, error: BaseException | None = None) -> RetryDecision:
        """Say what follows after `attempt` (from 1) failed, with `error` where there is one."""
        if error is not None and (isinstance(error, self.never) or not isinstance(error, self.only)):
            return GiveUp(f"{type(error).__name__} is not retried")
        if attempt >= self.attempts:
            return GiveUp(f"all {self.attempts} attempts failed")
        exponent = min(attempt - 1, 64)
        ceiling = min(self.delay_seconds * self.multiplier**exponent, self.delay_seconds_max)
        return RetryAfter(ceiling * (0.5 + 0.5 * self.draw()))
