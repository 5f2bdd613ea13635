"""Texts that describe an error, for tables and logs, and the limit for work that crashes its process. Foundation:
imports its siblings.

Every engine can store the texts and every terminal can show them: they contain no NUL, no other control character and
no half of a surrogate pair, and their length is limited. If the text of an error cannot be made, its class is recorded.

A crash raises no exception. So each start is counted before the work begins, and the count is reset when the work ends
in any way (`CrashLimit`): work that was started too often and never ended probably crashes the process.
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
    """A text cut off at `characters_max`; characters that not every engine or terminal accepts are replaced."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:characters_max])


def name_of(error: BaseException) -> str:
    """The name of an error's class."""
    return plain_text(type(error).__name__, _NAME_CHARACTERS_MAX)


def describe(error: BaseException) -> str:
    """The description of an error (`freehold.origin.describe`), or its class if its text cannot be made."""
    try:
        return plain_text(origin.describe(error))
    except Exception:  # noqa: BLE001 - a class of the user's own, whose text cannot be made
        return name_of(error)


def root_cause(error: BaseException) -> BaseException:
    """The decisive error of a group, as task groups raise them: the first that is not an outage, else the first; the
    error itself if it is not a group.
    """
    leaves = _leaves(error)
    return next((each for each in leaves if not isinstance(each, Unavailable)), leaves[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]


class ProcessCrashed(FreeholdError):
    """Work was started several times and never ended: each time the process crashed, or hung until it was replaced."""


@dataclass(frozen=True, slots=True)
class CrashLimit:
    """How often work may be started without an end before it is given up: `crashes_max` times."""

    crashes_max: int = 3

    @classmethod
    def of(cls, retry: Retry) -> Self:
        """The number of attempts of a policy, but between 3 and 10. Processes end for many reasons, so one or two
        crashes do not prove that the work caused them. More than 10 would cost too many processes.
        """
        return cls(min(max(retry.attempts, 3), 10))

    def reached(self, started: int) -> bool:
        """Whether work that was started `started` times without an end is given up."""
        return started >= self.crashes_max

    def error(
        self, started: int, what: str, hint: str = "the handler may crash or block the process"
    ) -> ProcessCrashed:
        """The error for work that was given up; `what` says what was started: `this event was handled in isolation`."""
        return ProcessCrashed(f"{what} {started} times and never finished", hint=hint)


class FailureLog:
    """Decides which failures of the user's code are logged with a traceback: the first of a kind (a class, raised at a
    place), and then one of it every ten minutes; the others are logged as one line. No value is shown.

    tracebacks  false logs none (`log_tracebacks` of the settings).
    """

    def __init__(self, *, tracebacks: bool = True, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tracebacks = tracebacks
        self._monotonic = monotonic
        self._logged_at: dict[str, float] = {}

    def traceback(self, error: BaseException) -> str:
        """The traceback to append to a log line, begun on a line of its own; empty for none. Outages and conflicts have
        none: they are not bugs.
        """
        if not self._tracebacks or isinstance(error, (Unavailable, ConcurrencyConflict)):
            return ""
        try:
            kind, now = f"{type(error).__name__} {origin.origin(error)}", self._monotonic()
            logged_at = self._logged_at.get(kind)
            if logged_at is not None and now - logged_at < _AGAIN_SECONDS:
                return ""
            if len(self._logged_at) >= _KINDS_MAX:
                self._logged_at.clear()
            self._logged_at[kind] = now
            return f"\n{origin.stack(error)}"
        except Exception:  # noqa: BLE001 - a class of the user's own, whose text cannot be made
            return ""
