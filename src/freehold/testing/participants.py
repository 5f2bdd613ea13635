"""Simulated participants of a saga, with receipts as the inbox keeps them. Testing: imports the saga pattern.

They act once for a key, answer every attempt alike, and never act on what was cancelled. What they did is counted, and
every step that a saga must never take raises `SagaViolation` at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Outcome, RunCall, SendCommand
from freehold.saga.steps import StepDirection

__all__ = ["Participants", "Request", "SagaViolation"]

Request = SendCommand | RunCall


class SagaViolation(AssertionError):
    """A saga did what it must never do; the text tells the choices that led there."""


@dataclass(slots=True)
class Participants:
    """The other services.

    effects    how often each step's action holds at present: 0 or 1, or something is wrong.
    compensated     steps of which an effect was taken back.
    """

    definition: SagaDefinition
    effects: dict[str, int] = field(default_factory=dict)
    compensated: set[str] = field(default_factory=set)
    _answers: dict[str, Outcome] = field(default_factory=dict)

    def snapshot(self) -> tuple[dict[str, int], set[str]]:
        """What holds at present, to be put back by `restore` where a transaction is rolled back."""
        return dict(self.effects), set(self.compensated)

    def restore(self, before: tuple[dict[str, int], set[str]]) -> None:
        """Take back what local functions did since `snapshot`."""
        self.effects, self.compensated = dict(before[0]), set(before[1])

    def handle(self, request: Request, *, refuse: bool = False) -> Outcome:
        """Take a request, act on it where it is new, and say what is answered."""
        known = self._answers.get(request.idempotency_key)
        if known is None:
            if request.direction is StepDirection.ACTION:
                known = self._act(request, refuse=refuse)
            else:
                known = self._compensate(request, refuse=refuse)
            self._answers[request.idempotency_key] = known
        return known

    def check_no_way_back(self, request: Request) -> None:
        """Refuse a compensation that is asked for after the pivot took effect."""
        pivot = self.definition.pivot
        if request.direction is StepDirection.COMPENSATION and pivot is not None and self.effects.get(pivot.name, 0):
            raise SagaViolation(
                f"the compensation of '{request.step}' was asked for after the pivot '{pivot.name}' took effect"
            )

    def act_locally(self, step: str, direction: StepDirection) -> None:
        """Count what a local function did."""
        if direction is StepDirection.ACTION:
            self._count(step)
        else:
            self._take_back(step)

    def _act(self, request: Request, *, refuse: bool) -> Outcome:
        if refuse:
            return Outcome.REJECTED
        self._count(request.step)
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
            self._take_back(request.step)
        return Outcome.DONE

    def _count(self, step: str) -> None:
        self.effects[step] = self.effects.get(step, 0) + 1
        if self.effects[step] > 1:
            raise SagaViolation(f"'{step}' took effect twice")
        before = [other.name for other in self.definition.steps if step in other.descendants]
        if early := [name for name in before if name in self.compensated]:
            raise SagaViolation(f"'{step}' took effect after '{early[0]}', which comes before it, was compensated")

    def _take_back(self, step: str) -> None:
        self.effects[step] = self.effects.get(step, 0) - 1
        if self.effects[step] < 0:
            raise SagaViolation(f"'{step}' was compensated twice")
        self.compensated.add(step)
        for name in self.definition.by_name[step].descendants:
            if self.effects.get(name, 0) and self.definition.by_name[name].compensation is not None:
                raise SagaViolation(f"'{step}' was compensated before '{name}', which comes after it")
