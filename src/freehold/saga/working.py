"""The working copy of an instance within one turn of the machine: how requests begin and what may begin next.

Pattern: plain data only. `machine.py` tells what an input means; here is what follows from it in the graph of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Effect, RunCall, RunHook, RunLocal, SendCommand
from freehold.saga.instance import Awaiting, Instance, Phase, request_key
from freehold.saga.steps import Direction, StepDefinition, StepKind
from freehold.saga.store import JournalEntry, SagaStatus

__all__ = ["CALL_GRACE_SECONDS", "Advance", "WorkingCopy"]

CALL_GRACE_SECONDS: Final = 2.0
"""What a caller has, after its call's time limit, to record the outcome before the call is taken for lost."""

_PASSED: Final = frozenset({Phase.DONE, Phase.SKIPPED})
_GIVEN_UP: Final = frozenset({Phase.REFUSED, Phase.DOUBTFUL})
_NO_EFFECT: Final = frozenset({Phase.WAITING, Phase.REFUSED, Phase.UNDONE, Phase.SKIPPED})


@dataclass(frozen=True, slots=True)
class Advance:
    """What an input led to. Effects are carried out in order, after or in the transaction that saves the instance."""

    instance: Instance
    effects: tuple[Effect, ...]
    entries: tuple[JournalEntry, ...]


class WorkingCopy:
    """A copy of the instance that one turn changes, with the effects and journal entries that come of it."""

    def __init__(self, definition: SagaDefinition, instance: Instance, now: datetime) -> None:
        self.definition = definition
        self.instance = instance
        self.steps = dict(instance.steps)
        self.state = instance.state
        self.mode = instance.mode
        self.failure = instance.failure
        self.now = now
        self._effects: list[Effect] = []
        self._entries: list[JournalEntry] = []

    def result(self) -> Advance:
        """The instance after this turn."""
        instance = replace(
            self.instance,
            steps=self.steps,
            state=self.state,
            mode=self.mode,
            failure=self.failure,
            trouble=0,
            due=self._due(),
        )
        return Advance(instance, tuple(self._effects), tuple(self._entries))

    def set(self, name: str, **changes: Any) -> None:
        """Change a step's progress."""
        self.steps[name] = replace(self.steps[name], **changes)

    def note(self, step: str, what: str, attempt: int = 0, detail: str = "") -> None:
        """Add an entry to the journal."""
        self._entries.append(JournalEntry(at=self.now, step=step, what=what, attempt=attempt, detail=detail))

    def later(self, seconds: float) -> datetime:
        """So many seconds after this turn's time."""
        return self.now + timedelta(seconds=seconds)

    def settle(self) -> None:
        """Begin whatever can begin now, and end the instance when nothing is left to do."""
        if self.mode is SagaStatus.RUNNING:
            self._settle_forward()
        if self.mode is SagaStatus.COMPENSATING:
            self._settle_back()

    def go_back(self, failure: str) -> None:
        """Turn round. What is on its way may have happened; a running call is waited for, as nothing bars it.

        A state with a field `failure` is told the reason, so that `on_compensated` knows it.
        """
        if self.mode is not SagaStatus.RUNNING:
            return
        self.mode, self.failure = SagaStatus.COMPENSATING, failure
        if "failure" in getattr(self.state, "__dataclass_fields__", ()):
            self.state = replace(self.state, failure=failure)
        self.note("", "compensating", detail=failure)
        for name, progress in self.steps.items():
            if progress.phase is not Phase.ACTING:
                continue
            step = self.definition.by_name[name]
            if step.kind is StepKind.CALL and progress.awaiting is Awaiting.ANSWER:
                continue
            never_left = progress.attempt == 1 and progress.awaiting is Awaiting.CALLER
            phase = Phase.REFUSED if never_left else Phase.DOUBTFUL
            self.set(name, phase=phase, awaiting=Awaiting.NOTHING, until=None)

    def deadline(self) -> datetime | None:
        """The saga's deadline, for as long as there is a way back."""
        pivot = self.definition.pivot
        committed = pivot is not None and self.steps[pivot.name].phase is not Phase.WAITING
        return None if committed or self.mode is not SagaStatus.RUNNING else self.instance.deadline

    def _due(self) -> datetime | None:
        if self.mode not in {SagaStatus.RUNNING, SagaStatus.COMPENSATING}:
            return None
        times = [progress.until for progress in self.steps.values() if progress.until is not None]
        deadline = self.deadline()
        return min([*times, deadline] if deadline is not None else times, default=None)

    def _begin(self, step: StepDefinition, direction: Direction) -> None:
        phase = Phase.ACTING if direction is Direction.ACTION else Phase.UNDOING
        self.set(step.name, phase=phase, attempt=0, tries=0, round_start=1, rejected=False)
        self.request_again(step)

    def request_again(self, step: StepDefinition) -> None:
        """Begin the next attempt: a command leaves with this turn, a call awaits its caller."""
        before = self.steps[step.name]
        attempt, direction = before.attempt + 1, before.direction
        word = "requested" if direction is Direction.ACTION else "undo-requested"
        self.set(step.name, attempt=attempt, tries=before.tries + 1, rejected=False)
        match step.kind:
            case StepKind.LOCAL:
                self.set(step.name, awaiting=Awaiting.LOCAL, until=None)
                self._effects.append(RunLocal(step.name, direction))
                return
            case StepKind.CALL:
                self.set(step.name, awaiting=Awaiting.CALLER, until=self.now)
            case StepKind.COMMAND:
                self.set(step.name, awaiting=Awaiting.ANSWER, until=self.later(step.timeout_seconds))
                key, action_key = self._keys(step, direction)
                self._effects.append(SendCommand(step.name, direction, attempt, key, action_key))
            case _:
                assert_never(step.kind)
        self.note(step.name, word, attempt)

    def hand_to_caller(self, step: StepDefinition) -> None:
        """Let the runner that holds this turn carry the call out; it is overdue a little after its time limit."""
        progress = self.steps[step.name]
        limit = self.later(step.timeout_seconds + CALL_GRACE_SECONDS)
        self.set(step.name, awaiting=Awaiting.ANSWER, until=limit)
        key, action_key = self._keys(step, progress.direction)
        self._effects.append(RunCall(step.name, progress.direction, progress.attempt, key, action_key))

    def _keys(self, step: StepDefinition, direction: Direction) -> tuple[str, str | None]:
        """The request's own idempotency key, and for an undo that of its action."""
        progress = self.steps[step.name]
        action_key = request_key(self.instance.id, step.name, Direction.ACTION, progress.action_round)
        if direction is Direction.ACTION:
            return action_key, None
        return request_key(self.instance.id, step.name, Direction.UNDO, progress.undo_round), action_key

    def _settle_forward(self) -> None:
        for step in self.definition.steps:
            waiting = self.steps[step.name].phase is Phase.WAITING
            if waiting and all(self._passed(name) for name in step.predecessors):
                self._begin(step, Direction.ACTION)
                if step.kind is StepKind.LOCAL:
                    return  # one at a time: the next may not begin where this one is rejected
        if all(self._passed(step.name) for step in self.definition.steps):
            self._end(SagaStatus.COMPLETED)

    def _settle_back(self) -> None:
        for step in reversed(self.definition.steps):
            to_undo = step.undo is not None and self.steps[step.name].phase in {Phase.DONE, Phase.DOUBTFUL}
            if to_undo and all(self._settled(name) for name in step.descendants):
                self._begin(step, Direction.UNDO)
                if step.kind is StepKind.LOCAL:
                    return
        if all(self._settled(step.name) for step in self.definition.steps):
            self._end(SagaStatus.COMPENSATED)

    def _passed(self, name: str) -> bool:
        phase = self.steps[name].phase
        return phase in _PASSED or (self.definition.by_name[name].optional and phase in _GIVEN_UP)

    def _settled(self, name: str) -> bool:
        """Whether nothing of the step is left to take back."""
        phase = self.steps[name].phase
        has_undo = self.definition.by_name[name].undo is not None
        return phase in _NO_EFFECT or (not has_undo and phase in {Phase.DONE, Phase.DOUBTFUL})

    def _end(self, status: SagaStatus) -> None:
        self.mode = status
        self.note("", status.value)
        self._effects.append(RunHook(status))
