"""The working copy of an instance within one transition of the machine: how requests begin and what may begin next.

Pattern: plain data only. `machine.py` tells what an input means; here is what follows from it in the graph of steps.
Until `settle` no code of the definition is run: what was taken until then can always be stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from freehold.failures import ProcessCrashed
from freehold.policy import Backoff, RetryAfter
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Effect, RunCall, RunHook, RunLocal, SendCommand
from freehold.saga.hooks import Hook, HookFailure, ReplyLost, calling, described, hook_at
from freehold.saga.instance import Instance, Phase, WaitReason, request_key
from freehold.saga.mapping import merge_reply
from freehold.saga.steps import StepDefinition, StepDirection, StepKind
from freehold.saga.store import JournalEntry, SagaStatus

__all__ = ["CALL_GRACE_SECONDS", "Transition", "TransitionState"]

CALL_GRACE_SECONDS: Final = 2.0
"""What a caller has, after its call's time limit, to record the outcome before the call is taken for lost."""

_OUTAGE: Final = Backoff(0.05, 60.0)
_PROBE_SECONDS_MIN: Final = 60.0
_PROBE_SECONDS_MAX: Final = 3600.0

_PASSED: Final = frozenset({Phase.DONE, Phase.SKIPPED})
_GIVEN_UP: Final = frozenset({Phase.REJECTED, Phase.UNKNOWN})
_NO_EFFECT: Final = frozenset({Phase.PENDING, Phase.REJECTED, Phase.COMPENSATED, Phase.SKIPPED})


@dataclass(frozen=True, slots=True)
class Transition:
    """What an input led to. Effects are carried out in order, after or in the transaction that saves the instance."""

    instance: Instance
    effects: tuple[Effect, ...]
    entries: tuple[JournalEntry, ...]


class TransitionState:
    """A copy of the instance that one transition changes, with the effects and journal entries that come of it."""

    def __init__(self, definition: SagaDefinition, instance: Instance, now: datetime) -> None:
        self.definition = definition
        self.instance = instance
        self.steps = dict(instance.steps)
        self.state = instance.state
        self.machine_status = instance.machine_status
        self.failure = instance.failure
        self.deadline_at = instance.deadline
        self.unsettled = instance.unsettled
        self.unmerged = instance.unmerged
        self.untold = instance.untold
        self.started_attempts = instance.started_attempts
        self.hookless = instance.hookless
        self.held: HookFailure | None = instance.hook_failure
        self.failing: HookFailure | None = instance.hook_failure
        self.now = now
        self._repeated: list[str] = []
        self._effects: list[Effect] = []
        self._entries: list[JournalEntry] = []

    def result(self) -> Transition:
        """The instance after this transition."""
        instance = replace(
            self.instance,
            steps=self.steps,
            state=self.state,
            machine_status=self.machine_status,
            failure=self.failure,
            deadline=self.deadline_at,
            due=self._due(),
            unsettled=self.unsettled,
            unmerged=self.unmerged,
            untold=self.untold,
            started_attempts=0 if self.ended else self.started_attempts,
            hookless=self.hookless and not self.ended,
            hook_failure=self.failing,
        )
        return Transition(instance, tuple(self._effects), tuple(self._entries))

    def set(self, name: str, **changes: Any) -> None:
        """Change a step's progress."""
        self.steps[name] = replace(self.steps[name], **changes)

    def note(self, step: str, what: str, attempt: int = 0, detail: str = "") -> None:
        """Add an entry to the journal."""
        self._entries.append(JournalEntry(at=self.now, step=step, what=what, attempt=attempt, detail=detail))

    def later(self, seconds: float) -> datetime:
        """So many seconds after this transition's time."""
        return self.now + timedelta(seconds=seconds)

    @property
    def ended(self) -> bool:
        """Whether it has reached its one terminal status."""
        return self.machine_status not in {SagaStatus.RUNNING, SagaStatus.COMPENSATING}

    def resume(self, *, noted: bool) -> None:
        """Let the instance's time go on, which stood still while a hook failed: every limit moves by as much."""
        if self.failing is None:
            return
        stood = max(timedelta(0), self.now - self.failing.since)
        for name, progress in self.steps.items():
            if progress.wait_until is not None:
                self.set(name, wait_until=progress.wait_until + stood)
        if self.deadline_at is not None:
            self.deadline_at += stood
        if noted:
            self.note(self.failing.step, "hook-resumed", self.failing.failures)
        self.failing = None

    def hold_up(self, error: BaseException, *, outage: bool) -> None:
        """Put down that a hook failed, and when it is tried again. Outages are counted apart, and call nobody."""
        before, self.started_attempts = self.failing, 0
        if outage:
            self._put_off(before, error)
            return
        at, (name, place) = hook_at(error), described(error)
        if isinstance(error, ReplyLost) and before is not None:
            name, place = before.error, before.place
        failures = 1 + (before.failures if before is not None else 0)
        decision = self.definition.hook_retry.decide(failures, error)
        attention = not isinstance(decision, RetryAfter) or isinstance(error, ProcessCrashed) or at.hook is Hook.REPLY
        attention = attention or (before is not None and before.attention)
        since = before.since if before is not None else self.now
        seconds = _probe_seconds(self.now - since)
        if isinstance(decision, RetryAfter) and not attention:
            seconds = decision.delay_seconds
        until = None if isinstance(error, ProcessCrashed) else self.later(seconds)
        self.failing = HookFailure(at.step, at.hook, name, place, failures, since, until, attention=attention)
        told = before is not None and before.attention and str(before) == str(self.failing)
        if not told:
            self.note(at.step, "hook-failed", failures, str(self.failing))
        if attention and not (before is not None and before.attention):
            self.note(at.step, SagaStatus.NEEDS_ATTENTION.value, failures, str(self.failing))

    def _put_off(self, before: HookFailure | None, error: BaseException) -> None:
        outages = 1 + (before.outages if before is not None else 0)
        until = self.later(_OUTAGE.after(outages))
        if before is None:
            at, (name, place) = hook_at(error), described(error)
            before = HookFailure(at.step, at.hook, name, place, 0, since=self.now, wait_until=until)
            self.note(at.step, "hook-put-off", detail=str(before))
        self.failing = replace(before, outages=outages, wait_until=until)

    def settle(self) -> None:
        """Begin whatever can begin now, and end the instance when nothing is left to do.

        Here, and in what the effects run, is all the code of the definition. What it raises leaves with its hook named.
        """
        self.unsettled, self.started_attempts = False, 0
        self._merge()
        self._tell()
        for name in self._repeated:
            self.request_again(self.definition.by_name[name])
        if self.machine_status is SagaStatus.RUNNING:
            self._settle_forward()
        if self.machine_status is SagaStatus.COMPENSATING:
            self._settle_compensations()

    def start_compensation(self, failure: str) -> None:
        """Start compensation. What is on its way may have happened; a running call is waited for, as nothing
        cancels it.
        """
        if self.machine_status is not SagaStatus.RUNNING:
            return
        self.machine_status, self.failure = SagaStatus.COMPENSATING, failure
        self.untold = "failure" in getattr(self.state, "__dataclass_fields__", ())
        self.note("", "compensating", detail=failure)
        for name, progress in self.steps.items():
            if progress.phase is not Phase.RUNNING:
                continue
            step = self.definition.by_name[name]
            if step.kind is StepKind.CALL and progress.wait_reason is WaitReason.REPLY:
                continue
            never_left = progress.attempt == 1 and progress.wait_reason is WaitReason.RUNNER
            phase = Phase.REJECTED if never_left else Phase.UNKNOWN
            self.set(name, phase=phase, wait_reason=WaitReason.NOTHING, wait_until=None)

    def deadline(self) -> datetime | None:
        """The saga's deadline, for as long as there is a way back."""
        pivot = self.definition.pivot
        committed = pivot is not None and self.steps[pivot.name].phase is not Phase.PENDING
        return None if committed or self.machine_status is not SagaStatus.RUNNING else self.deadline_at

    def _due(self) -> datetime | None:
        if self.ended:
            return None
        if self.failing is not None:
            return self.failing.wait_until
        if self.unsettled:
            return self.now
        times = [progress.wait_until for progress in self.steps.values() if progress.wait_until is not None]
        deadline = self.deadline()
        return min([*times, deadline] if deadline is not None else times, default=None)

    def _merge(self) -> None:
        """Put the replies that are on record into the state."""
        for each in self.unmerged:
            step = self.definition.by_name[each.step]
            if each.body is None:
                with calling(step.name, Hook.REPLY, step.action):
                    raise ReplyLost(f"what the call of step '{step.name}' returned was not stored")
            with calling(step.name, Hook.MERGE, step.merge or type(self.state)):
                self.state = merge_reply(step, self.state, each.body)
        self.unmerged = ()

    def _tell(self) -> None:
        """Tell a state that has a field `failure` why the saga goes back, so that `on_compensated` knows it."""
        if self.untold:
            with calling("", Hook.STATE, type(self.state)):
                self.state = replace(self.state, failure=self.failure)
            self.untold = False

    def _begin(self, step: StepDefinition, direction: StepDirection) -> None:
        phase = Phase.RUNNING if direction is StepDirection.ACTION else Phase.COMPENSATING
        self.set(step.name, phase=phase, attempt=0, policy_attempts=0, round_start=1, rejected=False)
        self.request_again(step)

    def repeat(self, name: str) -> None:
        """Have the next attempt begin as soon as this transition settles, or else by the timer."""
        self.set(name, wait_reason=WaitReason.BACKOFF, wait_until=self.now, rejected=False)
        self._repeated.append(name)

    def request_again(self, step: StepDefinition) -> None:
        """Begin the next attempt: a command leaves with this transition, a call awaits its runner."""
        before = self.steps[step.name]
        attempt, direction = before.attempt + 1, before.direction
        word = "requested" if direction is StepDirection.ACTION else "compensation-requested"
        self.set(step.name, attempt=attempt, policy_attempts=before.policy_attempts + 1, rejected=False)
        match step.kind:
            case StepKind.LOCAL:
                self.set(step.name, wait_reason=WaitReason.LOCAL, wait_until=None)
                self._effects.append(RunLocal(step.name, direction))
                return
            case StepKind.CALL:
                self.set(step.name, wait_reason=WaitReason.RUNNER, wait_until=self.now)
            case StepKind.COMMAND:
                self.set(step.name, wait_reason=WaitReason.REPLY, wait_until=self.later(step.timeout_seconds))
                key, action_key = self._keys(step, direction)
                self._effects.append(SendCommand(step.name, direction, attempt, key, action_key))
            case _:
                assert_never(step.kind)
        self.note(step.name, word, attempt)

    def hand_to_caller(self, step: StepDefinition) -> None:
        """Let the runner that holds this transition carry the call out; it is overdue a little after its time limit."""
        progress = self.steps[step.name]
        limit = self.later(step.timeout_seconds + CALL_GRACE_SECONDS)
        self.set(step.name, wait_reason=WaitReason.REPLY, wait_until=limit)
        key, action_key = self._keys(step, progress.direction)
        self._effects.append(RunCall(step.name, progress.direction, progress.attempt, key, action_key))

    def _keys(self, step: StepDefinition, direction: StepDirection) -> tuple[str, str | None]:
        """The request's own idempotency key, and for a compensation that of its action."""
        progress = self.steps[step.name]
        action_key = request_key(self.instance.id, step.name, StepDirection.ACTION, progress.action_round)
        if direction is StepDirection.ACTION:
            return action_key, None
        return request_key(
            self.instance.id, step.name, StepDirection.COMPENSATION, progress.compensation_round
        ), action_key

    def _settle_forward(self) -> None:
        for step in self.definition.steps:
            waiting = self.steps[step.name].phase is Phase.PENDING
            if waiting and all(self._passed(name) for name in step.predecessors):
                self._begin(step, StepDirection.ACTION)
                if step.kind is StepKind.LOCAL:
                    return  # one at a time: the next may not begin where this one is rejected
        if all(self._passed(step.name) for step in self.definition.steps):
            self._end(SagaStatus.COMPLETED)

    def _settle_compensations(self) -> None:
        for step in reversed(self.definition.steps):
            to_compensate = step.compensation is not None and self.steps[step.name].phase in {Phase.DONE, Phase.UNKNOWN}
            if to_compensate and all(self._settled(name) for name in step.descendants):
                self._begin(step, StepDirection.COMPENSATION)
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
        has_compensation = self.definition.by_name[name].compensation is not None
        return phase in _NO_EFFECT or (not has_compensation and phase in {Phase.DONE, Phase.UNKNOWN})

    def _end(self, status: SagaStatus) -> None:
        self.machine_status = status
        self.note("", status.value)
        if not self.hookless:
            self._effects.append(RunHook(status))


def _probe_seconds(stood: timedelta) -> float:
    """When a hook that an operator is asked for is tried again by itself: after a tenth of the time that it has failed,
    so that many instances with one bug cost little, and a deployed fix is found without anybody.
    """
    return min(max(stood.total_seconds() / 10, _PROBE_SECONDS_MIN), _PROBE_SECONDS_MAX)
