"""Simulated participants of a saga, with receipts like those of the inbox. Testing: imports the saga pattern.

They act once for an idempotency key, reply the same to every attempt, and never run a cancelled action. They count
their effects, and raise `SagaViolation` at once if the saga does what it must never do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Outcome, RunCall, SendCommand
from freehold.saga.steps import StepDirection

__all__ = ["Participants", "Request", "SagaViolation"]

Request = SendCommand | RunCall


class SagaViolation(AssertionError):
    """A saga did what it must never do; the text lists the choices that led to it."""


@dataclass(slots=True)
class Participants:
    """The other services.

    effects      how often each step's action is in effect at present: 0 or 1.
    compensated  steps of which an effect was compensated.
    """

    definition: SagaDefinition
    effects: dict[str, int] = field(default_factory=dict)
    compensated: set[str] = field(default_factory=set)
    _answers: dict[str, Outcome] = field(default_factory=dict)

    def snapshot(self) -> tuple[dict[str, int], set[str]]:
        """The present effects, for `restore` after a rollback."""
        return dict(self.effects), set(self.compensated)

    def restore(self, before: tuple[dict[str, int], set[str]]) -> None:
        """Undo what local functions did since `snapshot`."""
        self.effects, self.compensated = dict(before[0]), set(before[1])

    def handle(self, request: Request, *, refuse: bool = False) -> Outcome:
        """Act on a request if it is new; returns the outcome in the reply."""
        known = self._answers.get(request.idempotency_key)
        if known is None:
            if request.direction is StepDirection.ACTION:
                known = self._act(request, refuse=refuse)
            else:
                known = self._compensate(request, refuse=refuse)
            self._answers[request.idempotency_key] = known
        return known

    def check_before_pivot(self, request: Request) -> None:
        """Raise `SagaViolation` for a compensation that is requested after the pivot took effect."""
        pivot = self.definition.pivot
        if request.direction is StepDirection.COMPENSATION and pivot is not None and self.effects.get(pivot.name, 0):
            raise SagaViolation(
                f"the compensation of '{request.step}' was requested after the pivot '{pivot.name}' took effect"
            )

    def act_locally(self, step: str, direction: StepDirection) -> None:
        """Count the effect of a local function."""
        if direction is StepDirection.ACTION:
            self._apply(step)
        else:
            self._reverse(step)

    def _act(self, request: Request, *, refuse: bool) -> Outcome:
        if refuse:
            return Outcome.REJECTED
        self._apply(request.step)
        return Outcome.DONE

    def _compensate(self, request: Request, *, refuse: bool) -> Outcome:
        action_key = request.compensates if isinstance(request, SendCommand) else request.action_key
        if action_key is None:
            raise SagaViolation(f"the compensation of '{request.step}' does not name its action")
        if action_key not in self._answers:
            self._answers[action_key] = Outcome.CANCELLED
            return Outcome.NO_EFFECT
        if refuse:
            return Outcome.REJECTED
        if self._answers[action_key] is Outcome.DONE:
            self._reverse(request.step)
        return Outcome.DONE

    def _apply(self, step: str) -> None:
        self.effects[step] = self.effects.get(step, 0) + 1
        if self.effects[step] > 1:
            raise SagaViolation(f"'{step}' took effect twice")
        before = [other.name for other in self.definition.steps if step in other.descendants]
        if early := [name for name in before if name in self.compensated]:
            raise SagaViolation(f"'{step}' took effect after '{early[0]}', which comes before it, was compensated")

    def _reverse(self, step: str) -> None:
        self.effects[step] = self.effects.get(step, 0) - 1
        if self.effects[step] < 0:
            raise SagaViolation(f"'{step}' was compensated twice")
        self.compensated.add(step)
        for name in self.definition.by_name[step].descendants:
            if self.effects.get(name, 0) and self.definition.by_name[name].compensation is not None:
                raise SagaViolation(f"'{step}' was compensated before '{name}', which comes after it")
