"""What is said of an error where it is written down, for people. Foundation: imports its siblings.

Whatever the error is, the text can be stored by every engine and shown on every terminal: no NUL, no other control
character, no half of a surrogate pair, and a bound. An error that cannot be described is none that cannot be recorded.

What ends its process raises nothing. It is counted before it is started, and the count is taken back when it ends in
any way (`CrashLimit`): what was started too often and never ended probably crashes the process.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from freehold import origin
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.policy import Retry

__all__ = [
    "TEXT_CHARACTERS_MAX",
    "CrashLimit",
    "FailureLog",
    "ProcessCrashed",
    "describe",
    "name_of",
    "plain_text",
    "root_cause",
]

TEXT_CHARACTERS_MAX: Final = 2000
_NAME_CHARACTERS_MAX: Final = 200
_KINDS_MAX: Final = 256
_AGAIN_SECONDS: Final = 600.0
_UNSTORABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain_text(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """A text for people, cut off at a bound; what cannot be stored or shown everywhere is replaced."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:characters_max])


def name_of(error: BaseException) -> str:
    """The name of an error's class."""
    return plain_text(type(error).__name__, _NAME_CHARACTERS_MAX)


def describe(error: BaseException) -> str:
    """What `freehold.origin.describe` tells of an error, as far as it can be told."""
    try:
        return plain_text(origin.describe(error))
    except Exception:  # noqa: BLE001 - a class of the user's own, whose text cannot be made
        return name_of(error)


def root_cause(error: BaseException) -> BaseException:
    """What went wrong in a group of errors, as task groups raise them: the first that no outage explains, or the first;
    the error itself where it is no group.
    """
    leaves = _leaves(error)
    return next((each for each in leaves if not isinstance(each, Unavailable)), leaves[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]


class ProcessCrashed(FreeholdError):
    """What was started several times never ended: each time the process crashed, or hung until it was replaced."""


@dataclass(frozen=True, slots=True)
class CrashLimit:
    """How often something may be started and never end before it is given up: `crashes_max` times."""

    crashes_max: int = 3

    @classmethod
    def of(cls, retry: Retry) -> Self:
        """As many as a policy has attempts, between 3 and 10: processes are ended for many reasons, so that fewer say
        nothing of what was in progress, and each costs a process.
        """
        return cls(min(max(retry.attempts, 3), 10))

    def reached(self, started: int) -> bool:
        """Whether what was started so many times without an end is not started again."""
        return started >= self.crashes_max

    def error(
        self, started: int, what: str, hint: str = "the handler may crash or block the process"
    ) -> ProcessCrashed:
        """What is said of it; `what` was started, in words: `this event was handled in isolation`."""
        return ProcessCrashed(f"{what} {started} times and never finished", hint=hint)


class FailureLog:
    """Which failures of the user's code are told in the log with their traceback: the first of a kind (a class, raised
    at a place), and one each ten minutes; those that repeat it are told in a line. No value is shown.

    tracebacks  whether any is (`log_tracebacks` of the settings).
    """

    def __init__(self, *, tracebacks: bool = True, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tracebacks = tracebacks
        self._monotonic = monotonic
        self._told: dict[str, float] = {}

    def traceback(self, error: BaseException) -> str:
        """What goes behind a line of the log, begun on a line of its own; empty where nothing does. An outage and a
        conflict have none: they are nobody's bug.
        """
        if not self._tracebacks or isinstance(error, (Unavailable, ConcurrencyConflict)):
            return ""
        try:
            kind, now = f"{type(error).__name__} {origin.origin(error)}", self._monotonic()
            told_at = self._told.get(kind)
            if told_at is not None and now - told_at < _AGAIN_SECONDS:
                return ""
            if len(self._told) >= _KINDS_MAX:
                self._told.clear()
            self._told[kind] = now
            return f"\n{origin.stack(error)}"
        except Exception:  # noqa: BLE001 - a class of the user's own, whose text cannot be made
            return ""
