"""What the saga machine is told, and what it asks for. Pattern: plain data, no I/O.

Inputs are replies, timers and operators' decisions; effects are carried out by the engine and the runner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from freehold.saga.steps import StepDirection
from freehold.saga.store import SagaStatus

__all__ = [
    "CallEnded",
    "Effect",
    "Input",
    "LocalEnded",
    "OperatorAction",
    "OperatorDecided",
    "Outcome",
    "Replied",
    "RunCall",
    "RunHook",
    "RunLocal",
    "SendCommand",
    "Started",
    "TimerDue",
]


class Outcome(StrEnum):
    """How a request ended; all but `failed` travel in `freehold-outcome`."""

    DONE = "done"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    NO_EFFECT = "no-effect"
    FAILED = "failed"
    """A call raised: whether it took effect is not known."""


class OperatorAction(StrEnum):
    """What an operator can decide."""

    RETRY = "retry"
    COMPENSATE = "compensate"
    SKIP = "skip"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class Started:
    """The instance begins."""


@dataclass(frozen=True, slots=True)
class Replied:
    """A reply to a command. Any reply but one of the awaited round is a journalled no-op."""

    step: str
    direction: StepDirection
    attempt: int
    outcome: Outcome
    body: bytes = field(default=b"{}", repr=False)
    code: str = ""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call returned or raised. `error` is what it raised, and decides with the policy whether it is tried again.

    Where the outcome is `done`, `error` is why what was returned cannot be stored.
    """

    step: str
    direction: StepDirection
    attempt: int
    outcome: Outcome
    body: bytes = field(default=b"{}", repr=False)
    code: str = ""
    error: BaseException | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LocalEnded:
    """A local function returned (`state`), or raised `Rejected` (`code`)."""

    step: str
    direction: StepDirection
    state: Any = field(default=None, repr=False)
    code: str | None = None


@dataclass(frozen=True, slots=True)
class TimerDue:
    """The stored `due` has passed by the database's clock."""


@dataclass(frozen=True, slots=True)
class OperatorDecided:
    """An operator decides; `step` narrows it to one."""

    action: OperatorAction
    step: str | None = None
    reason: str = ""


Input = Started | Replied | CallEnded | LocalEnded | TimerDue | OperatorDecided


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Stage the command in the transaction that saves the instance."""

    step: str
    direction: StepDirection
    attempt: int
    idempotency_key: str
    compensates: str | None = None


@dataclass(frozen=True, slots=True)
class RunCall:
    """Carry out the call after the transaction that saves the instance; report it with `CallEnded`."""

    step: str
    direction: StepDirection
    attempt: int
    idempotency_key: str
    action_key: str | None = None


@dataclass(frozen=True, slots=True)
class RunLocal:
    """Run the local function in the transaction that saves the instance; report it with `LocalEnded` at once."""

    step: str
    direction: StepDirection


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run the hook of this terminal status in the transaction that saves the instance."""

    status: SagaStatus


Effect = SendCommand | RunCall | RunLocal | RunHook
