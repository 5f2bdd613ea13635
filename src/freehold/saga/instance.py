"""What the saga machine works on: the instance, and where each of its steps is. Pattern: plain data, no I/O.

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
from freehold.saga.store import SagaStatus

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
"""What a key is derived of never changes: a compensation that was requested by an earlier release is repeated by its
key."""


class DecisionRefused(FreeholdError):
    """An operator's decision does not fit where the instance is; nothing was changed."""


class Phase(StrEnum):
    """Where a step is."""

    PENDING = "pending"
    """Not started; nothing of it has left."""
    RUNNING = "running"
    """Its intention is on record; it may have happened."""
    DONE = "done"
    REJECTED = "rejected"
    """It has not happened and never will."""
    UNKNOWN = "unknown"
    """Attempts exhausted without a reply: it may have happened, so it is compensated like one that did."""
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    SKIPPED = "skipped"
    """An operator took care of it."""


class WaitReason(StrEnum):
    """What a step that is running or being compensated waits for."""

    NOTHING = ""
    REPLY = "reply"
    BACKOFF = "backoff"
    RUNNER = "runner"
    """A runner that carries the call out."""
    LOCAL = "local"
    """The engine, within the same transaction; never stored."""
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a step is.

    attempt          of the present half (action or compensation), counted from 1 and never down; guards what ends an
                     attempt.
    policy_attempts  attempts since the policy began again; an operator's retry resets it.
    round_start      first attempt of the present round; replies to older ones are void.
    action_round     rounds of the action: a new one, with a new idempotency key, begins where an operator repeats what
                     was definitely rejected; the same for compensation_round.
    wait_until       when the awaited reply is overdue, or the backoff ends.
    rejected         an operator is waited for because of a definite rejection.
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
    """A reply that is on record and not in the state yet. `body` None: it was lost, see `ReplyLost`."""

    step: str
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """A saga in progress. `machine_status` is its status as far as the machine is concerned, never `needs-attention`:
    `status` adds that where a step or a failing hook waits for an operator.

    unsettled         an outcome is on record, and what follows from it has not started; `unmerged` are its replies.
    untold            the state has not been told yet why the saga compensates.
    started_attempts  how often what follows was started and never finished.
    hookless          an operator said that it ends without its last hook.
    hook_failure      a hook fails: nothing but replies and decisions is taken until it is retried.
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
    unsettled: bool = False
    unmerged: tuple[Unmerged, ...] = ()
    untold: bool = False
    started_attempts: int = 0
    hookless: bool = False
    hook_failure: HookFailure | None = None

    @property
    def isolated(self) -> bool:
        """Whether its hooks may be what crashed a process: they are run alone, and counted before."""
        return self.started_attempts > 0 or self.hook_failure is not None

    @property
    def ended(self) -> bool:
        """Whether it has reached its one terminal status."""
        return self.machine_status in {SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.TERMINATED}

    @property
    def status(self) -> SagaStatus:
        """What operators see."""
        hook = self.hook_failure is not None and self.hook_failure.attention
        if not self.ended and (hook or any(p.wait_reason is WaitReason.OPERATOR for p in self.steps.values())):
            return SagaStatus.NEEDS_ATTENTION
        return self.machine_status


def request_key(saga_id: UUID, step: str, direction: StepDirection, round_number: int) -> str:
    """The idempotency key of all attempts of one round of half a step."""
    half = _KEY_WORDS[direction]
    if round_number == 0:
        return str(derive_id(saga_id, step, half))
    return str(derive_id(saga_id, step, half, round_number))
