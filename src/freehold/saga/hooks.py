"""Hooks of a saga and the record of their failures. Pattern: imports the foundation.

A *hook* is a function of the service that the definition names and the engine calls: a local function, `make`, `merge`,
`on_completed` and so on. An exception from a hook is no outcome of a step: it is a bug, or an outage of something that
the hook uses. The one exception is `Rejected` from a local function. `machine.py` says what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from freehold.errors import FreeholdError
from freehold.origin import chain, origin
from freehold.policy import Retry

__all__ = [
    "RETRY_HOOK",
    "Hook",
    "HookAt",
    "HookFailure",
    "HookTimeout",
    "ReplyLost",
    "calling",
    "described",
    "hook_at",
]

RETRY_HOOK: Final = Retry(attempts=8, delay_seconds=0.5, delay_seconds_max=60.0)
"""Retries of a failing hook, about a minute in all, before the instance needs attention."""
_MARK: Final = "__freehold_hook__"


class HookTimeout(FreeholdError):
    """A hook did not end within its time limit; it was cancelled and its transaction rolled back."""


class ReplyLost(FreeholdError):
    """A call took effect, and its result cannot be stored."""


class Hook(StrEnum):
    """Which function of the definition was called. The values are the names of its parameters."""

    ACTION = "action"
    """A local function."""
    COMPENSATION = "compensation"
    MAKE = "make"
    """Makes the command of a step from the state."""
    MAKE_COMPENSATION = "make_compensation"
    MERGE = "merge"
    """Merges a reply into the state."""
    REPLY = "reply"
    """The result of a call could not be stored."""
    STATE = "state"
    """The state could not be made or stored."""
    ON_COMPLETED = "on_completed"
    ON_COMPENSATED = "on_compensated"
    COMMIT = "commit"
    """The database refused the hook's writes at the end of the transaction."""


@dataclass(frozen=True, slots=True)
class HookAt:
    """A hook and its function (`code`). `step` is empty for hooks of the whole saga."""

    step: str
    hook: Hook
    code: object = None


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A hook of an instance fails. The time limits of the instance are suspended from `since` on.

    error       name of the exception's class; `place` is the file and line in the service's own code.
    failures    number of failures, outages not counted; `outages` counts outages since the last bug.
    wait_until  when the hook is retried; None: only by an operator.
    attention   the policy is exhausted: the instance needs attention.
    """

    step: str
    hook: Hook
    error: str
    place: str
    failures: int
    since: datetime
    wait_until: datetime | None
    outages: int = 0
    attention: bool = False

    def __str__(self) -> str:
        """Text for operators: `on_completed: ValueError at orders/checkout.py:31`."""
        what = f"{self.hook.value} of {self.step}" if self.step else self.hook.value
        return f"{what}: {self.error}" + (f" at {self.place}" if self.place else "")


@contextlib.contextmanager
def calling(step: str, hook: Hook, code: object = None) -> Iterator[None]:
    """Mark an exception that leaves the block with the hook that raised it, and raise it unchanged."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(AttributeError):
            setattr(error, _MARK, HookAt(step, hook, code))
        raise


def hook_at(error: BaseException) -> HookAt:
    """The hook that raised an error or one of its causes; `Hook.COMMIT` where none is marked."""
    found = (getattr(each, _MARK, None) for each in chain(error))
    return next((at for at in found if isinstance(at, HookAt)), HookAt("", Hook.COMMIT))


def described(error: BaseException) -> tuple[str, str]:
    """The class name of the exception that the hook raised, and its file and line."""
    raised = next((each for each in chain(error) if hasattr(each, _MARK)), error)
    shown = error if isinstance(raised, asyncio.CancelledError) else raised
    return type(shown).__name__, origin(raised, hook_at(raised).code)
