"""What the saga machine works on: the instance, and where each of its steps is. Pattern: plain data, no I/O.

Everything is frozen: `machine.advance` returns a new instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from freehold.errors import FreeholdError
from freehold.ids import derive_id
from freehold.saga.hooks import HookFailure
from freehold.saga.steps import Direction
from freehold.saga.store import SagaStatus

__all__ = [
    "Awaiting",
    "DecisionRefused",
    "Instance",
    "Phase",
    "StepProgress",
    "Unmerged",
    "request_key",
]


class DecisionRefused(FreeholdError):
    """A person's decision does not fit where the instance is; nothing was changed."""


class Phase(StrEnum):
    """Where a step is."""

    WAITING = "waiting"
    """Not begun; nothing of it has left."""
    ACTING = "acting"
    """Its intention is on record; it may have happened."""
    DONE = "done"
    REFUSED = "refused"
    """It has not happened and never will."""
    DOUBTFUL = "doubtful"
    """Given up without an answer: it may have happened, so it is undone like one that did."""
    UNDOING = "undoing"
    UNDONE = "undone"
    SKIPPED = "skipped"
    """A person took care of it."""


class Awaiting(StrEnum):
    """What a step that is acting or being undone waits for."""

    NOTHING = ""
    ANSWER = "answer"
    BACKOFF = "backoff"
    CALLER = "caller"
    """A runner that carries the call out."""
    LOCAL = "local"
    """The engine, within the same transaction; never stored."""
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a step is.

    attempt       of the present half (action or undo), counted from 1 and never down; guards what ends an attempt.
    tries         attempts since the policy began anew; a person's retry resets it.
    round_start   first attempt of the present round; answers to older ones are void.
    action_round  rounds of the action: a new one, with a new idempotency key, begins where a person repeats what was
                  definitely rejected; the same for undo_round.
    until         when the awaited answer is overdue, or the backoff ends.
    rejected      a person is awaited because of a definite refusal.
    """

    phase: Phase = Phase.WAITING
    awaiting: Awaiting = Awaiting.NOTHING
    attempt: int = 0
    tries: int = 0
    round_start: int = 0
    action_round: int = 0
    undo_round: int = 0
    until: datetime | None = None
    rejected: bool = False

    @property
    def direction(self) -> Direction:
        """The half that `attempt` counts."""
        return Direction.UNDO if self.phase in {Phase.UNDOING, Phase.UNDONE} else Direction.ACTION


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A reply that is on record and not in the state yet. `body` None: it was lost, see `ReplyLost`."""

    step: str
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """A saga in progress. `mode` is its status as far as the machine is concerned, never `needs-attention`, which is
    what `status` adds where a step or a failing hook waits for an operator.

    unsettled     an outcome is on record, and what follows from it has not begun; `unmerged` are its replies.
    untold        the state has not been told yet why the saga goes back.
    begun         how often somebody set out to do what follows, and was not heard of since.
    hookless      an operator said that it ends without its last hook.
    hook_failure  a hook fails: nothing but answers and decisions is taken until it is tried again.
    """

    id: UUID
    definition: str
    definition_version: int
    key: str
    correlation_id: UUID
    mode: SagaStatus
    state: Any = field(repr=False)
    steps: Mapping[str, StepProgress]
    failure: str | None = None
    deadline: datetime | None = None
    due: datetime | None = None
    unsettled: bool = False
    unmerged: tuple[Unmerged, ...] = ()
    untold: bool = False
    begun: int = 0
    hookless: bool = False
    hook_failure: HookFailure | None = None

    @property
    def doubtful(self) -> bool:
        """Whether its hooks may be what ended a process: they are tried alone, and counted before."""
        return self.begun > 0 or self.hook_failure is not None

    @property
    def ended(self) -> bool:
        """Whether it has reached its one terminal status."""
        return self.mode in {SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.ABANDONED}

    @property
    def status(self) -> SagaStatus:
        """What people see."""
        hook = self.hook_failure is not None and self.hook_failure.attention
        if not self.ended and (hook or any(p.awaiting is Awaiting.PERSON for p in self.steps.values())):
            return SagaStatus.NEEDS_ATTENTION
        return self.mode


def request_key(saga_id: UUID, step: str, direction: Direction, round_number: int) -> str:
    """The idempotency key of all attempts of one round of half a step."""
    if round_number == 0:
        return str(derive_id(saga_id, step, direction.value))
    return str(derive_id(saga_id, step, direction.value, round_number))
