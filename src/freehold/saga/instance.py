"""The instance of a saga and the progress of its steps, as the saga machine sees them. Pattern: plain data, no I/O.

Everything is frozen: `machine.advance` returns a new instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from freehold.errors import FreeholdError
from freehold.ids import derive_id
from freehold.saga.hooks import HookFailure
from freehold.saga.steps import StepDirection
from freehold.saga.store import TERMINAL_STATUSES, SagaStatus

__all__ = [
    "DecisionRefused",
    "Instance",
    "Phase",
    "StepProgress",
    "Unmerged",
    "WaitReason",
    "request_key",
]


_KEY_WORDS: Final = {StepDirection.ACTION: "action", StepDirection.COMPENSATION: "undo"}
"""Keys are derived from these words, which therefore never change: a compensation that an earlier release requested is
repeated under the same key."""


class DecisionRefused(FreeholdError):
    """An operator's decision is not possible in the present state of the instance; nothing was changed."""


class Phase(StrEnum):
    """The state of a step."""

    PENDING = "pending"
    """Not started: no request was sent."""
    RUNNING = "running"
    """The intention is stored; the action may have taken effect."""
    DONE = "done"
    REJECTED = "rejected"
    """The action did not take effect and never will."""
    UNKNOWN = "unknown"
    """Outcome unknown: attempts are exhausted without a reply. The step is compensated as if it had taken effect."""
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    SKIPPED = "skipped"
    """An operator did it by hand."""


class WaitReason(StrEnum):
    """What a step in phase `running` or `compensating` waits for."""

    NOTHING = ""
    REPLY = "reply"
    BACKOFF = "backoff"
    RUNNER = "runner"
    """A runner that makes the call."""
    LOCAL = "local"
    """The engine, which runs the local function in the same transaction; never stored."""
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The progress of one step.

    attempt          number of the latest attempt of the present half (action or compensation), from 1, never decreased.
                     An outcome names its attempt, so that an outdated one is recognised.
    policy_attempts  attempts counted by the retry policy; an operator's retry resets it.
    round_start      first attempt of the present round; replies to earlier attempts are void.
    action_round     number of the action's round. A new round, with a new idempotency key, begins when an operator
                     repeats a request that was definitely rejected. `compensation_round` likewise.
    wait_until       when the awaited reply is overdue, or when the backoff ends.
    rejected         the step waits for an operator because it was definitely rejected.
    """

    phase: Phase = Phase.PENDING
    wait_reason: WaitReason = WaitReason.NOTHING
    attempt: int = 0
    policy_attempts: int = 0
    round_start: int = 0
    action_round: int = 0
    compensation_round: int = 0
    wait_until: datetime | None = None
    rejected: bool = False

    @property
    def direction(self) -> StepDirection:
        """The half that `attempt` counts."""
        return (
            StepDirection.COMPENSATION
            if self.phase in {Phase.COMPENSATING, Phase.COMPENSATED}
            else StepDirection.ACTION
        )


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A stored reply that is not merged into the state yet. `body` None: it was lost, see `ReplyLost`."""

    step: str
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a saga. `machine_status` is never `needs-attention`: `status` adds that where a step or a failing
    hook waits for an operator.

    pending_continuation  an outcome is stored, and what follows from it has not started.
    unmerged              stored replies that are not merged into the state yet.
    unmerged_failure      the reason for the compensation is not in the state yet.
    started_attempts      how often the continuation was started and never finished.
    hookless              an operator decided that the instance ends without its last hook.
    hook_failure          the failing hook. Until it is retried, the instance takes replies and decisions only.
    """

    id: UUID
    definition: str
    definition_version: int
    key: str
    correlation_id: UUID
    machine_status: SagaStatus
    state: Any = field(repr=False)
    steps: Mapping[str, StepProgress]
    failure: str | None = None
    deadline: datetime | None = None
    due: datetime | None = None
    pending_continuation: bool = False
    unmerged: tuple[Unmerged, ...] = ()
    unmerged_failure: bool = False
    started_attempts: int = 0
    hookless: bool = False
    hook_failure: HookFailure | None = None

    @property
    def isolated(self) -> bool:
        """Whether its hooks may have crashed a process. Then they run alone, and each attempt is counted first."""
        return self.started_attempts > 0 or self.hook_failure is not None

    @property
    def ended(self) -> bool:
        """Whether it has reached its terminal status."""
        return self.machine_status in TERMINAL_STATUSES

    @property
    def status(self) -> SagaStatus:
        """What operators see."""
        hook = self.hook_failure is not None and self.hook_failure.attention
        if not self.ended and (hook or any(p.wait_reason is WaitReason.OPERATOR for p in self.steps.values())):
            return SagaStatus.NEEDS_ATTENTION
        return self.machine_status


def request_key(saga_id: UUID, step: str, direction: StepDirection, round_number: int) -> str:
    """The idempotency key that all attempts of one round share, of an action or of a compensation."""
    half = _KEY_WORDS[direction]
    if round_number == 0:
        return str(derive_id(saga_id, step, half))
    return str(derive_id(saga_id, step, half, round_number))
