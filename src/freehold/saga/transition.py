"""The state of one transition of the machine: a mutable copy of the instance, its effects and journal entries.

Pattern: plain data only. `machine.py` applies an input; this module starts what follows from it in the graph of steps.
Before `start_next` no code of the definition runs, so the state can always be stored up to there.
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
from freehold.saga.message_mapper import merge_reply
from freehold.saga.plain_types import is_plain
from freehold.saga.steps import StepDefinition, StepDirection, StepKind
from freehold.saga.store import TERMINAL_STATUSES, JournalEntry, SagaStatus

__all__ = ["CALL_GRACE_SECONDS", "Transition", "TransitionState"]

CALL_GRACE_SECONDS: Final = 2.0
"""Time after a call's time limit in which its runner can record the outcome. Then the call counts as lost."""

_OUTAGE: Final = Backoff(0.05, 60.0)
_PROBE_SECONDS_MIN: Final = 60.0
_PROBE_SECONDS_MAX: Final = 3600.0

_PASSED: Final = frozenset({Phase.DONE, Phase.SKIPPED})
_GIVEN_UP: Final = frozenset({Phase.REJECTED, Phase.UNKNOWN})
_NO_EFFECT: Final = frozenset({Phase.PENDING, Phase.REJECTED, Phase.COMPENSATED, Phase.SKIPPED})


@dataclass(frozen=True, slots=True)
class Transition:
    """The result of an input. Effects are carried out in order, in or after the transaction that saves the instance."""

    instance: Instance
    effects: tuple[Effect, ...]
    entries: tuple[JournalEntry, ...]


class TransitionState:
    """The copy of an instance that one transition changes, with its effects and journal entries.

    places  how many calls this process can begin after the transition is saved; others wait for a runner.
    """

    def __init__(self, definition: SagaDefinition, instance: Instance, now: datetime, *, places: int = 0) -> None:
        self.definition = definition
        self.places = places
        self.instance = instance
        self.steps = dict(instance.steps)
        self.state = instance.state
        self.machine_status = instance.machine_status
        self.failure = instance.failure
        self.deadline_at = instance.deadline
        self.pending_continuation = instance.pending_continuation
        self.unmerged = instance.unmerged
        self.unmerged_failure = instance.unmerged_failure
        self.started_attempts = instance.started_attempts
        self.hookless = instance.hookless
        self.former_failure: HookFailure | None = instance.hook_failure
        self.hook_failure: HookFailure | None = instance.hook_failure
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
            pending_continuation=self.pending_continuation,
            unmerged=self.unmerged,
            unmerged_failure=self.unmerged_failure,
            started_attempts=0 if self.ended else self.started_attempts,
            hookless=self.hookless and not self.ended,
            hook_failure=self.hook_failure,
        )
        return Transition(instance, tuple(self._effects), tuple(self._entries))

    def set(self, name: str, **changes: Any) -> None:
        """Change fields of a step's progress."""
        self.steps[name] = replace(self.steps[name], **changes)

    def note(self, step: str, what: str, attempt: int = 0, detail: str = "") -> None:
        """Add an entry to the journal."""
        self._entries.append(JournalEntry(at=self.now, step=step, what=what, attempt=attempt, detail=detail))

    def later(self, seconds: float) -> datetime:
        """The time `seconds` after the transition's `now`."""
        return self.now + timedelta(seconds=seconds)

    @property
    def ended(self) -> bool:
        """Whether it has reached its terminal status."""
        return self.machine_status in TERMINAL_STATUSES

    def resume(self, *, noted: bool) -> None:
        """End the hook failure. The instance's time limits were suspended meanwhile: each moves by that duration."""
        if self.hook_failure is None:
            return
        suspended = max(timedelta(0), self.now - self.hook_failure.since)
        for name, progress in self.steps.items():
            if progress.wait_until is not None:
                self.set(name, wait_until=progress.wait_until + suspended)
        if self.deadline_at is not None:
            self.deadline_at += suspended
        if noted:
            self.note(self.hook_failure.step, "hook-resumed", self.hook_failure.failures)
        self.hook_failure = None

    def record_failure(self, error: BaseException, *, outage: bool) -> None:
        """Record that a hook failed, and when it is retried. An outage is counted apart, and needs no attention."""
        before, self.started_attempts = self.hook_failure, 0
        if outage:
            self._record_outage(before, error)
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
        self.hook_failure = HookFailure(at.step, at.hook, name, place, failures, since, until, attention=attention)
        known = before is not None and before.attention and str(before) == str(self.hook_failure)
        if not known:
            self.note(at.step, "hook-failed", failures, str(self.hook_failure))
        if attention and not (before is not None and before.attention):
            self.note(at.step, SagaStatus.NEEDS_ATTENTION.value, failures, str(self.hook_failure))

    def _record_outage(self, before: HookFailure | None, error: BaseException) -> None:
        outages = 1 + (before.outages if before is not None else 0)
        until = self.later(_OUTAGE.after(outages))
        if before is None:
            at, (name, place) = hook_at(error), described(error)
            before = HookFailure(at.step, at.hook, name, place, 0, since=self.now, wait_until=until)
            self.note(at.step, "hook-rescheduled", detail=str(before))
        self.hook_failure = replace(before, outages=outages, wait_until=until)

    def merges_by_code(self, *, merging: bool) -> bool:
        """Whether code of the definition merges what is to be merged. With `merging` false anything is."""
        if not (self.unmerged or self.unmerged_failure):
            return False
        lost = any(each.body is None for each in self.unmerged)
        merges = any(self.definition.by_name[each.step].merge is not None for each in self.unmerged)
        return not merging or lost or merges or not is_plain(self.definition.state_type)

    def start_next(self) -> None:
        """Start the steps that can start now; end the instance when nothing is left to do.

        Code of the definition runs only here and in effects. Its exceptions are raised, marked with their hook.
        """
        self.pending_continuation, self.started_attempts = False, 0
        self._merge()
        self._merge_failure()
        for name in self._repeated:
            self.request_again(self.definition.by_name[name])
        if self.machine_status is SagaStatus.RUNNING:
            self._start_actions()
        if self.machine_status is SagaStatus.COMPENSATING:
            self._start_compensations()

    def start_compensation(self, failure: str) -> None:
        """Start compensation. The outcome of a request in transit is unknown. A running call is waited for, since it
        cannot be cancelled.
        """
        if self.machine_status is not SagaStatus.RUNNING:
            return
        self.machine_status, self.failure = SagaStatus.COMPENSATING, failure
        self.unmerged_failure = "failure" in getattr(self.state, "__dataclass_fields__", ())
        self.note("", "compensating", detail=failure)
        for name, progress in self.steps.items():
            if progress.phase is not Phase.RUNNING:
                continue
            step = self.definition.by_name[name]
            if step.kind is StepKind.CALL and progress.wait_reason is WaitReason.REPLY:
                continue
            never_called = progress.attempt == 1 and progress.wait_reason is WaitReason.RUNNER
            phase = Phase.REJECTED if never_called else Phase.UNKNOWN
            self.set(name, phase=phase, wait_reason=WaitReason.NOTHING, wait_until=None)

    def deadline(self) -> datetime | None:
        """The saga's deadline while it can still be compensated, else None."""
        pivot = self.definition.pivot
        committed = pivot is not None and self.steps[pivot.name].phase is not Phase.PENDING
        return None if committed or self.machine_status is not SagaStatus.RUNNING else self.deadline_at

    def _due(self) -> datetime | None:
        if self.ended:
            return None
        if self.hook_failure is not None:
            return self.hook_failure.wait_until
        if self.pending_continuation:
            return self.now
        times = [progress.wait_until for progress in self.steps.values() if progress.wait_until is not None]
        deadline = self.deadline()
        return min([*times, deadline] if deadline is not None else times, default=None)

    def _merge(self) -> None:
        """Merge the stored replies into the state."""
        for each in self.unmerged:
            step = self.definition.by_name[each.step]
            if each.body is None:
                with calling(step.name, Hook.REPLY, step.action):
                    raise ReplyLost(f"what the call of step '{step.name}' returned was not stored")
            with calling(step.name, Hook.MERGE, step.merge or type(self.state)):
                self.state = merge_reply(step, self.state, each.body)
        self.unmerged = ()

    def _merge_failure(self) -> None:
        """Set the state's field `failure`, if it has one, to the reason of the compensation, for `on_compensated`."""
        if self.unmerged_failure:
            with calling("", Hook.STATE, type(self.state)):
                self.state = replace(self.state, failure=self.failure)
            self.unmerged_failure = False

    def _begin(self, step: StepDefinition, direction: StepDirection) -> None:
        phase = Phase.RUNNING if direction is StepDirection.ACTION else Phase.COMPENSATING
        self.set(step.name, phase=phase, attempt=0, policy_attempts=0, round_start=1, rejected=False)
        self.request_again(step)

    def repeat(self, name: str) -> None:
        """Start the next attempt in `start_next` of this transition, or else by the timer."""
        self.set(name, wait_reason=WaitReason.BACKOFF, wait_until=self.now, rejected=False)
        self._repeated.append(name)

    def request_again(self, step: StepDefinition) -> None:
        """Start the next attempt. A command is sent with this transition, and a call is made after it: by this process
        where it has a place, else by a runner.
        """
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
                self.note(step.name, word, attempt)
                if self.places > 0:
                    self.hand_to_caller(step)
                return
            case StepKind.COMMAND:
                self.set(step.name, wait_reason=WaitReason.REPLY, wait_until=self.later(step.timeout_seconds))
                key, action_key = self._keys(step, direction)
                self._effects.append(SendCommand(step.name, direction, attempt, key, action_key))
            case _:
                assert_never(step.kind)
        self.note(step.name, word, attempt)

    def hand_to_caller(self, step: StepDefinition) -> None:
        """Let the process of this transition make the call. It is overdue `CALL_GRACE_SECONDS` after its time limit."""
        progress = self.steps[step.name]
        limit = self.later(step.timeout_seconds + CALL_GRACE_SECONDS)
        self.set(step.name, wait_reason=WaitReason.REPLY, wait_until=limit)
        key, action_key = self._keys(step, progress.direction)
        self.places -= 1
        self._effects.append(RunCall(step.name, progress.direction, progress.attempt, key, action_key))

    def _keys(self, step: StepDefinition, direction: StepDirection) -> tuple[str, str | None]:
        """The idempotency key of the request, and for a compensation the key of its action."""
        progress = self.steps[step.name]
        action_key = request_key(self.instance.id, step.name, StepDirection.ACTION, progress.action_round)
        if direction is StepDirection.ACTION:
            return action_key, None
        return request_key(
            self.instance.id, step.name, StepDirection.COMPENSATION, progress.compensation_round
        ), action_key

    def _start_actions(self) -> None:
        for step in self.definition.steps:
            waiting = self.steps[step.name].phase is Phase.PENDING
            if waiting and all(self._passed(name) for name in step.predecessors):
                self._begin(step, StepDirection.ACTION)
                if step.kind is StepKind.LOCAL:
                    return  # one at a time: if it is rejected, the next one must not start
        if all(self._passed(step.name) for step in self.definition.steps):
            self._end(SagaStatus.COMPLETED)

    def _start_compensations(self) -> None:
        for step in reversed(self.definition.steps):
            to_compensate = step.compensation is not None and self.steps[step.name].phase in {Phase.DONE, Phase.UNKNOWN}
            if to_compensate and all(self._has_no_effect(name) for name in step.descendants):
                self._begin(step, StepDirection.COMPENSATION)
                if step.kind is StepKind.LOCAL:
                    return
        if all(self._has_no_effect(step.name) for step in self.definition.steps):
            self._end(SagaStatus.COMPENSATED)

    def _passed(self, name: str) -> bool:
        phase = self.steps[name].phase
        return phase in _PASSED or (self.definition.by_name[name].optional and phase in _GIVEN_UP)

    def _has_no_effect(self, name: str) -> bool:
        """Whether nothing of the step is left to compensate."""
        phase = self.steps[name].phase
        has_compensation = self.definition.by_name[name].compensation is not None
        return phase in _NO_EFFECT or (not has_compensation and phase in {Phase.DONE, Phase.UNKNOWN})

    def _end(self, status: SagaStatus) -> None:
        self.machine_status = status
        self.note("", status.value)
        hook = self.definition.on_completed if status is SagaStatus.COMPLETED else self.definition.on_compensated
        if hook is not None and not self.hookless:
            self._effects.append(RunHook(status))


def _probe_seconds(failing: timedelta) -> float:
    """Delay of the automatic retry of a hook that needs attention: a tenth of the time for which it has been failing.
    So many instances with one bug cost little, and a deployed fix takes effect without an operator.
    """
    return min(max(failing.total_seconds() / 10, _PROBE_SECONDS_MIN), _PROBE_SECONDS_MAX)
