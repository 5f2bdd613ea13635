"""The code of the service that a saga runs, and what is kept of its failures. Pattern: imports the foundation.

A *hook* is a function that the definition names and the engine calls: local functions, `make`, `merge`, `on_completed`
and their kin. What it raises, but for `Rejected` from a local function, says nothing of the process: it is a bug, or an
outage of what it uses. `machine.py` tells what follows.
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
"""How often a hook that fails is tried before an operator is asked for: for about a minute."""
_MARK: Final = "__freehold_hook__"


class HookTimeout(FreeholdError):
    """A hook did not end within its time limit; it was cancelled and its transaction rolled back."""


class ReplyLost(FreeholdError):
    """A call has taken effect, and what it returned cannot be stored."""


class Hook(StrEnum):
    """Which code of the definition was at work; the values are the names of its parameters."""

    ACTION = "action"
    """A local function."""
    COMPENSATION = "compensation"
    MAKE = "make"
    """The command of a step is made of the state."""
    MAKE_COMPENSATION = "make_compensation"
    MERGE = "merge"
    """A reply is put into the state."""
    REPLY = "reply"
    """What a call returned cannot be stored."""
    STATE = "state"
    """The state cannot be made or stored."""
    ON_COMPLETED = "on_completed"
    ON_COMPENSATED = "on_compensated"
    COMMIT = "commit"
    """What was written is refused when the transaction ends."""


@dataclass(frozen=True, slots=True)
class HookAt:
    """Which hook, and the code of it that is at work; `step` is empty for hooks of the whole saga."""

    step: str
    hook: Hook
    code: object = None


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A hook of an instance fails. The instance's time stands still at `since`.

    error     the class of what it raised; `place` is the file and line in the service's own code.
    failures  how often, outages not counted; `outages` counts those since the last bug.
    wait_until  when it is retried; None: not before an operator says so.
    attention the policy is exhausted: an operator is asked for.
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
        """For operators: `on_completed: ValueError at orders/checkout.py:31`."""
        what = f"{self.hook.value} of {self.step}" if self.step else self.hook.value
        return f"{what}: {self.error}" + (f" at {self.place}" if self.place else "")


@contextlib.contextmanager
def calling(step: str, hook: Hook, code: object = None) -> Iterator[None]:
    """Mark what comes out of a hook with its place. The error itself goes on unchanged."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(AttributeError):
            setattr(error, _MARK, HookAt(step, hook, code))
        raise


def hook_at(error: BaseException) -> HookAt:
    """Which hook an error came out of, along its causes; the end of the transaction where it came out of none."""
    found = (getattr(each, _MARK, None) for each in chain(error))
    return next((at for at in found if isinstance(at, HookAt)), HookAt("", Hook.COMMIT))


def described(error: BaseException) -> tuple[str, str]:
    """The class of what the hook raised, and its place."""
    raised = next((each for each in chain(error) if hasattr(each, _MARK)), error)
    shown = error if isinstance(raised, asyncio.CancelledError) else raised
    return type(shown).__name__, origin(raised, hook_at(raised).code)
