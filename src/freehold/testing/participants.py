"""Simulated participants of a saga, with receipts like those of the inbox. Testing: imports the saga pattern.

They act once for an idempotency key, reply the same to every attempt, and never run a cancelled action. They count
their effects, and raise `SagaViolation` at once if the saga does what it must never do.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Outcome, RunCall, SendCommand
from freehold.saga.steps import StepDirection
from freehold.testing.saga_faults import Rule

__all__ = ["InTransit", "Participants", "Request", "SagaViolation", "half_name"]

Request = SendCommand | RunCall


class SagaViolation(AssertionError):
    """A saga did what it must never do. The text is the story of the run: the rule, what happened, and the call of
    `explore` that repeats it.

    rule    the sentence that does not hold.
    faults  the combination, for `explore(…, only=faults)`.
    """

    def __init__(self, what: str, rule: str = "", faults: dict[str, str] | None = None) -> None:
        super().__init__(what)
        self.rule = rule
        self.faults = faults or {}


@dataclass(slots=True)
class InTransit:
    """A message in transit: a request, or the reply to it if `outcome` is set. `certain`: nothing happens to it."""

    request: Request
    outcome: Outcome | None = None
    certain: bool = False

    def __str__(self) -> str:
        return (
            f"reply to {half_name(self.request)}" if self.outcome is not None else f"request {half_name(self.request)}"
        )


@dataclass(slots=True)
class Participants:
    """The other services.

    remaining    steps whose effect may remain, and so also come late.
    effects      how often each step's action is in effect at present: 0 or 1.
    compensated  steps of which an effect was compensated.
    """

    definition: SagaDefinition
    remaining: Collection[str] = ()
    effects: dict[str, int] = field(default_factory=dict)
    compensated: set[str] = field(default_factory=set)
    _answers: dict[str, Outcome] = field(default_factory=dict)
    _requested: set[str] = field(default_factory=set)

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

    def check_request(self, request: Request) -> None:
        """Note a request that the saga makes. Raises `SagaViolation` for a compensation that is requested without its
        action, or after the pivot took effect.
        """
        if request.direction is StepDirection.ACTION:
            self._requested.add(request.idempotency_key)
            return
        action_key = _action_key(request)
        if action_key is None:
            raise SagaViolation(f"the compensation of '{request.step}' does not name its action", Rule.ACTION_FIRST)
        if action_key not in self._requested:
            raise SagaViolation(f"the compensation of '{request.step}' was requested without it", Rule.ACTION_FIRST)
        pivot = self.definition.pivot
        if pivot is not None and self.effects.get(pivot.name, 0):
            what = f"the compensation of '{request.step}' was requested after the pivot '{pivot.name}' took effect"
            raise SagaViolation(what, Rule.PIVOT)

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
        action_key = _action_key(request) or ""
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
            raise SagaViolation(f"'{step}' took effect twice", Rule.ONCE)
        before = [other.name for other in self.definition.steps if step in other.descendants]
        if step not in self.remaining and (early := [name for name in before if name in self.compensated]):
            what = f"'{step}' took effect after '{early[0]}', which comes before it, was compensated"
            raise SagaViolation(what, Rule.ORDER)

    def _reverse(self, step: str) -> None:
        self.effects[step] = self.effects.get(step, 0) - 1
        if self.effects[step] < 0:
            raise SagaViolation(f"'{step}' was compensated twice", Rule.ONCE)
        self.compensated.add(step)
        for name in self.definition.by_name[step].descendants:
            if self.effects.get(name, 0) and self.definition.by_name[name].compensation is not None:
                raise SagaViolation(f"'{step}' was compensated before '{name}', which comes after it", Rule.ORDER)


def _action_key(request: Request) -> str | None:
    return request.compensates if isinstance(request, SendCommand) else request.action_key


def half_name(request: Request) -> str:
    """The name of an attempt, for choices and stories."""
    word = "" if request.direction is StepDirection.ACTION else " compensation"
    return f"{request.step}{word} {request.attempt}"
