"""Retry policies: pure decisions whether and when to try again. Foundation: standard library and the errors.

`Retry` gives up after a number of attempts. `Backoff` never gives up; the delays during outages are declared here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias

from freehold.errors import DeclarationError

__all__ = [
    "OUTAGE",
    "RESTART",
    "TROUBLE",
    "Backoff",
    "GiveUp",
    "InvalidRetry",
    "Retry",
    "RetryAfter",
    "RetryDecision",
    "causes_of",
]

ExceptionTypes: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
_DELAY_SECONDS_MAX: Final = 366 * 86400.0
_ATTEMPTS_MAX: Final = 2**31
_LINKS_MAX: Final = 1000


class InvalidRetry(DeclarationError, ValueError):
    """A `Retry` is declared with values of a wrong type or outside of their range."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again after this many seconds."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again; `reason` is for an operator."""

    reason: str


RetryDecision = RetryAfter | GiveUp


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with jitter, by exception type. `Retry.fixed(5.0)` waits the same time before each attempt.

    `attempts` counts the first one. The delay before attempt n+1 is drawn from `[d/2, d]`, d being
    `min(delay_seconds * multiplier**(n-1), delay_seconds_max)`: one half is fixed, so that there is always a pause, and
    one half is random, so that instances do not all retry at once. With `jitter=False` it is d itself.

    `only` and `never` take one exception type or several, and match subclasses. `never` wins. Both are compared with
    the raised exception and with what it was raised from: its causes and contexts, the driver's exception that
    SQLAlchemy keeps in `orig`, and the members of an exception group (`only` must match each of them, `never` any). So
    `never=IntegrityError` matches the `DatabaseError` into which a store translates it. Raises `InvalidRetry`, which is
    a `DeclarationError` and a `ValueError`.
    """

    attempts: int = 5
    delay_seconds: float = 0.2
    multiplier: float = 2.0
    delay_seconds_max: float = 60.0
    only: ExceptionTypes = (Exception,)
    never: ExceptionTypes = ()
    jitter: bool = True
    draw: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the values. Raises `InvalidRetry`."""
        if not _is_whole(self.attempts) or not 1 <= self.attempts <= _ATTEMPTS_MAX:
            raise InvalidRetry("Retry.attempts must be a whole number of 1 or more: it counts the first attempt")
        for name in ("delay_seconds", "multiplier", "delay_seconds_max"):
            _check_number(name, getattr(self, name))
        if self.delay_seconds < 0 or self.multiplier < 1 or self.delay_seconds_max < self.delay_seconds:
            raise InvalidRetry("Retry needs 0 <= delay_seconds <= delay_seconds_max and multiplier >= 1")
        if self.delay_seconds_max > _DELAY_SECONDS_MAX:
            raise InvalidRetry("Retry.delay_seconds_max must be a year or less")
        if not isinstance(self.jitter, bool):
            raise InvalidRetry("Retry.jitter must be true or false")
        object.__setattr__(self, "only", _types("only", self.only))
        object.__setattr__(self, "never", _types("never", self.never))

    @classmethod
    def fixed(
        cls, seconds: float, *, attempts: int = 5, only: ExceptionTypes = (Exception,), never: ExceptionTypes = ()
    ) -> Self:
        """The same delay before each attempt, without growth and without jitter. Raises `InvalidRetry`."""
        return cls(
            attempts=attempts,
            delay_seconds=seconds,
            multiplier=1.0,
            delay_seconds_max=seconds,
            only=only,
            never=never,
            jitter=False,
        )

    def decide(self, attempt: int, error: BaseException | None = None) -> RetryDecision:
        """Decide what follows after `attempt` (from 1) has failed, with `error` if there was one."""
        if error is not None and not self._retries(error):
            return GiveUp(f"{type(error).__name__} is not retried")
        if attempt >= self.attempts:
            return GiveUp(f"all {self.attempts} attempts failed")
        ceiling = _ceiling(attempt, self.delay_seconds, self.multiplier, self.delay_seconds_max)
        return RetryAfter(_drawn(ceiling, self.draw) if self.jitter else ceiling)

    def _retries(self, error: BaseException) -> bool:
        if any(isinstance(each, self.never) for each in causes_of(error)):
            return False
        # The causes of a cancellation or an exit are not looked at: it is retried only if `only` names its own type.
        return isinstance(error, self.only) or (isinstance(error, Exception) and _all_match(error, self.only))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter that never gives up: for failures that end by themselves, such as outages.

    The delay after the n-th failure in a row is drawn from `[d/2, d]`, d being
    `min(delay_seconds * 2**(n-1), delay_seconds_max)`, as for `Retry`.
    """

    delay_seconds: float
    delay_seconds_max: float
    draw: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def after(self, failures: int) -> float:
        """The seconds to wait after this number of failures in a row (from 1)."""
        return _drawn(_ceiling(failures, self.delay_seconds, 2.0, self.delay_seconds_max), self.draw)


OUTAGE: Final = Backoff(0.05, 2.0)
"""During an outage of a database or a broker: short, so that work continues soon after it."""
RESTART: Final = Backoff(0.1, 10.0)
"""Before the restart of a loop that failed for another reason than an outage."""
TROUBLE: Final = Backoff(0.1, 5.0)
"""Before a retry of one part while the others work: a connection, a partition of a topic."""


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that it was raised from: causes, contexts that are not suppressed, the driver's
    exception that SQLAlchemy keeps in `orig`, and the members of groups; each once, the error itself first.
    """
    seen: set[int] = set()
    left = [error]
    while left and len(seen) < _LINKS_MAX:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left.extend(reversed([*_members(each), *_raised_from(each)]))


def _all_match(error: BaseException, types: ExceptionTypes) -> bool:
    """Whether the error matches, or something that it was raised from, or all its members if it is a group."""
    seen: set[int] = set()
    left = [error]
    while left and len(seen) < _LINKS_MAX:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        members = _members(each)
        if isinstance(each, types) or (members and all(_all_match(member, types) for member in members)):
            return True
        left.extend(_raised_from(each))
    return False


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _raised_from(error: BaseException) -> Iterable[BaseException]:
    origin = getattr(error, "orig", None)
    if isinstance(origin, BaseException):
        yield origin
    if error.__cause__ is not None:
        yield error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield error.__context__


def _ceiling(attempt: int, delay_seconds: float, multiplier: float, delay_seconds_max: float) -> float:
    try:
        return min(delay_seconds * multiplier ** min(attempt - 1, 64), delay_seconds_max)
    except OverflowError:
        return delay_seconds_max if delay_seconds else 0.0


def _drawn(ceiling: float, draw: Callable[[], float]) -> float:
    return ceiling * (0.5 + 0.5 * draw())


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRetry(f"Retry.{name} must be a finite number")


def _types(name: str, value: object) -> tuple[type[BaseException], ...]:
    found = tuple(value) if isinstance(value, tuple | list | set | frozenset) else (value,)
    for each in found:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise InvalidRetry(f"Retry.{name} takes exception types", hint=f"{name}=(TimeoutError, KeyError)")
    return found
