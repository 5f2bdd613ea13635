"""Inputs and effects of the saga machine. Pattern: plain data, no I/O.

Inputs are replies, timers and operators' decisions. The engine and the runner carry the effects out.
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
    """The outcome of a request. All but `failed` travel in the header `freehold-outcome`."""

    DONE = "done"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    NO_EFFECT = "no-effect"
    FAILED = "failed"
    """A call raised an exception: it is not known whether it took effect."""


class OperatorAction(StrEnum):
    """A decision that an operator can make."""

    RETRY = "retry"
    COMPENSATE = "compensate"
    SKIP = "skip"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class Started:
    """The instance begins."""


@dataclass(frozen=True, slots=True)
class Replied:
    """A reply to a command. One that is not of the awaited round is written into the journal and changes nothing."""

    step: str
    direction: StepDirection
    attempt: int
    outcome: Outcome
    body: bytes = field(default=b"{}", repr=False)
    code: str = ""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call returned or raised an exception. The retry policy decides by `error`, the exception, whether to retry.

    With the outcome `done`, `error` says why the result of the call cannot be stored.
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
    """The time `due` of the instance has passed by the database's clock."""


@dataclass(frozen=True, slots=True)
class OperatorDecided:
    """A decision of an operator; `step` limits it to one step."""

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
    """Make the call after the transaction that saves the instance; report its outcome with `CallEnded`."""

    step: str
    direction: StepDirection
    attempt: int
    idempotency_key: str
    action_key: str | None = None


@dataclass(frozen=True, slots=True)
class RunLocal:
    """Run the local function in the transaction that saves the instance; report its outcome with `LocalEnded`."""

    step: str
    direction: StepDirection


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run `on_completed` or `on_compensated`, by the terminal status, in the transaction that saves the instance."""

    status: SagaStatus


Effect = SendCommand | RunCall | RunLocal | RunHook
