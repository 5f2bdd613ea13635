"""The saga machine: `(instance, input) → (instance, effects)`, without any I/O. Pattern: imports plain data only.

The protocol, and why no effect is lost, doubled or left without its compensation
---------------------------------------------------------------------------------
1. *Intention before effect.* The stored instance says that a step is `running` before its command is sent (in the same
   transaction, through the outbox) or its call is made (one transaction earlier). If the process crashes after that,
   the row's `due` brings the instance to another process.
2. *One key for each request.* All attempts of an action, or of a compensation, carry the same idempotency key, derived
   from instance, step and direction. The receiver acts once and replies to each attempt. So a reply to an earlier
   attempt counts as well: it reports the same single effect. Only when an operator repeats a definitely rejected
   request does a new round with a new key begin; replies of earlier rounds are void.
3. *Unknown is a state.* A timeout or a failed call says nothing about the effect. While attempts are left, the request
   is repeated. When they are exhausted, the step is `unknown`, and is compensated as if it had taken effect. The
   compensation names the key of the action (`compensates`): if the action never arrived, it is cancelled for good, and
   the reply to the compensation is `no-effect`.
4. *Compensation.* When a required step before the pivot is rejected, or its attempts are exhausted, the instance
   compensates. Requests in transit become `unknown` at once: a command can be compensated at any time, since its
   compensation cancels the action. A running call is waited for. A step is compensated only when none of its
   descendants can still have an effect: in the reverse order of the graph, and in parallel where the graph allows it.
   Compensations have their own policy; when it is exhausted, or a compensation is rejected, the step waits for an
   operator.
5. *After the pivot.* From the pivot on nothing is compensated: steps are repeated by their policy, then they wait for
   an operator. So is a pivot whose outcome is unknown. A reply that comes while the step waits for an operator still
   advances the instance.
6. *Optional steps.* If an optional step is rejected, or its attempts are exhausted, the saga continues as if it had
   succeeded. If the saga compensates later, the step is compensated like the others.
7. *Late, duplicate and void replies* are written into the journal and change nothing. A terminal status never changes.
8. *Time is data.* Each step has its `wait_until`, and the instance's `due` is the earliest of them. The store compares
   `due` with its own clock and says how much of it is left. `now` is computed as `due` minus that, so that the clocks
   of processes are never compared. Timers are cancelled by the next save. A timer that fires early or twice finds
   nothing overdue and changes nothing.
9. *Outcome before code.* The outcome in an input is stored before any code of the definition runs with it: before a
   reply is merged, a command made, a local function or the last hook run (`record`, then `start_next`). For a reply,
   both may happen in one transaction, since the broker delivers it again after a rollback. The outcome of a call is
   committed in its own transaction, since no other process knows it.
10. *A bug is not an outcome.* An exception of a hook rolls its transaction back; it is not an outcome of the step.
    `record_failure` stores it beside the outcome: no request is repeated for it, no step fails, nothing is compensated.
    The hook is retried by the definition's policy (`hook_retry`). Then the instance needs attention, and the hook is
    retried less and less often, so that deploying a fix is enough. An outage during a hook is not counted as a failure.
    Until the hook succeeds, the instance's time limits are suspended: neither a step nor the saga's deadline times out.
    Replies that arrive meanwhile are stored, and merged in order later. Hooks that may have crashed a process
    (`Instance.isolated`) run alone, and each attempt is counted first; after several attempts that never finished, the
    instance needs attention.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

from freehold.errors import CodecError
from freehold.origin import origin
from freehold.policy import RetryAfter
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import (
    CallEnded,
    Input,
    LocalEnded,
    OperatorAction,
    OperatorDecided,
    Outcome,
    Replied,
    RunCall,
    Started,
    TimerDue,
)
from freehold.saga.hooks import Hook, HookFailure
from freehold.saga.instance import DecisionRefused, Instance, Phase, StepProgress, Unmerged, WaitReason
from freehold.saga.message_mapper import EMPTY_REPLIES
from freehold.saga.steps import StepDefinition, StepDirection
from freehold.saga.store import SagaStatus
from freehold.saga.transition import Transition, TransitionState

__all__ = ["advance", "begin", "mark_started", "record", "record_failure"]


def begin(definition: SagaDefinition, state: Any, saga_id: UUID, correlation_id: UUID, now: datetime) -> Instance:
    """Return a new instance in which no step has started; its first input is `Started`."""
    seconds = definition.deadline_seconds
    return Instance(
        id=saga_id,
        definition=definition.name,
        definition_version=definition.version,
        key=str(getattr(state, definition.key)),
        correlation_id=correlation_id,
        machine_status=SagaStatus.RUNNING,
        state=state,
        steps={step.name: StepProgress() for step in definition.steps},
        deadline=None if seconds is None else now + timedelta(seconds=seconds),
    )


def advance(
    definition: SagaDefinition, instance: Instance, arrived: Input, now: datetime, *, places: int = 0
) -> Transition:
    """Apply one input and start what follows. While a hook fails, a reply is only recorded. `places` is how many calls
    this process can begin after it has saved the result; it must make those in the result's effects.

    Raises `DecisionRefused` for a decision that is not possible, and any exception of the definition's code (see
    `hooks.hook_at`), for example `CodecError` for a reply that does not fit the state. Nothing has changed then.
    """
    if instance.hook_failure is not None and isinstance(arrived, Replied | CallEnded):
        return record(definition, instance, arrived, now)
    handler = _TransitionHandler(definition, instance, now, places=places)
    handler.take(arrived)
    handler.start_next()
    return handler.result()


def record(
    definition: SagaDefinition,
    instance: Instance,
    arrived: Input,
    now: datetime,
    *,
    places: int = 0,
    merging: bool = False,
) -> Transition:
    """Record an input without running any code of the definition. Where calls alone follow from it, or nothing does,
    the result is that of `advance`. Else the timer is due at once, and starts what follows. Raises `DecisionRefused`.

    `merging`: also merge replies where no code of the definition does that; the merged state may not be storable.
    """
    failing = instance.hook_failure
    suspended = failing is not None and not isinstance(arrived, OperatorDecided)
    handler = _TransitionHandler(definition, instance, failing.since if failing is not None and suspended else now)
    handler.take(arrived)
    if failing is None and not handler.merges_by_code(merging=merging):
        with contextlib.suppress(CodecError):  # a reply that does not fit: it fails where failures are recorded
            whole = advance(definition, instance, arrived, now, places=places)
            if all(isinstance(effect, RunCall) for effect in whole.effects):
                return whole
    handler.pending_continuation = not handler.ended
    handler.started_attempts = max(handler.started_attempts, 1 if failing is None else 0)
    return handler.result()


def mark_started(instance: Instance, began: int, now: datetime, visible_seconds: float) -> Instance:
    """Count an attempt of hooks that may crash the process, before it begins; `began` others did and never finished.
    The instance is due again after `visible_seconds`, in case the attempt never finishes.
    """
    until = now + timedelta(seconds=visible_seconds)
    return replace(instance, started_attempts=began + 1, due=until)


def record_failure(
    definition: SagaDefinition, instance: Instance, error: BaseException, now: datetime, *, outage: bool = False
) -> Transition:
    """Record that a hook failed. The instance does not advance until the hook is retried or an operator decides.

    `outage`: the hook failed because something it needs is unavailable, or because of a conflict. That is not counted
    as a failure.
    """
    state = TransitionState(definition, instance, now)
    if not state.ended:
        state.record_failure(error, outage=outage)
    return state.result()


class _TransitionHandler(TransitionState):
    """Applies one input to the state of its transition."""

    def take(self, arrived: Input) -> None:
        """Apply the input to its step; no code of the definition runs."""
        if isinstance(arrived, TimerDue | OperatorDecided):
            self.resume(noted=isinstance(arrived, TimerDue))
        match arrived:
            case Started():
                self.note("", "started")
            case Replied() | CallEnded():
                self._take_reply(arrived)
            case LocalEnded():
                self._take_local(arrived)
            case TimerDue():
                self._take_timer()
            case OperatorDecided():
                self._take_decision(arrived)
            case _:
                assert_never(arrived)

    # -- replies and outcomes

    def _take_reply(self, reply: Replied | CallEnded) -> None:
        progress = self.steps.get(reply.step)
        if progress is None or not self._is_awaited(progress, reply):
            self.note(reply.step, "late", reply.attempt, f"{reply.direction.value} {reply.outcome.value}")
            return
        step = self.definition.by_name[reply.step]
        match reply.outcome:
            case Outcome.FAILED:
                error = reply.error if isinstance(reply, CallEnded) else None
                self._attempt_failed(step, type(error).__name__ if error else "failed", error)
            case Outcome.REJECTED if reply.direction is StepDirection.COMPENSATION:
                self._call_operator(step, reply.code or "rejected", rejected=True)
            case Outcome.REJECTED | Outcome.CANCELLED if reply.direction is StepDirection.ACTION:
                self._rejected(step, reply.code or reply.outcome.value)
            case _ if reply.direction is StepDirection.COMPENSATION:
                self._compensated(step, reply.attempt, "" if reply.outcome is Outcome.DONE else reply.outcome.value)
            case _:
                lost = isinstance(reply, CallEnded) and reply.error is not None
                if lost or reply.body not in EMPTY_REPLIES:
                    self.unmerged += (Unmerged(step.name, None if lost else reply.body),)
                self._done(step, reply.attempt)

    def _is_awaited(self, progress: StepProgress, reply: Replied | CallEnded) -> bool:
        """Whether a reply is new information. That of an earlier attempt of the round is, unless it is a failure."""
        if self.instance.ended or reply.attempt < progress.round_start or reply.attempt > progress.attempt:
            return False
        if reply.outcome is Outcome.FAILED:
            current = reply.attempt == progress.attempt and progress.wait_reason is WaitReason.REPLY
            return current and reply.direction is progress.direction
        if reply.direction is StepDirection.COMPENSATION:
            return progress.phase is Phase.COMPENSATING
        return progress.phase in {Phase.RUNNING, Phase.UNKNOWN}

    def _take_local(self, ended: LocalEnded) -> None:
        step = self.definition.by_name[ended.step]
        attempt = self.steps[step.name].attempt
        if ended.code is not None and ended.direction is StepDirection.ACTION:
            self._rejected(step, ended.code)
        elif ended.code is not None:
            self._call_operator(step, ended.code, rejected=True)
        else:
            self.state = ended.state
            if ended.direction is StepDirection.ACTION:
                self._done(step, attempt)
            else:
                self._compensated(step, attempt)

    def _finish(self, step: StepDefinition, phase: Phase) -> None:
        """Set a phase in which the step waits for nothing."""
        self.set(step.name, phase=phase, wait_reason=WaitReason.NOTHING, wait_until=None, rejected=False)

    def _done(self, step: StepDefinition, attempt: int) -> None:
        self._finish(step, Phase.DONE)
        self.note(step.name, "done", attempt)

    def _compensated(self, step: StepDefinition, attempt: int, detail: str = "") -> None:
        self._finish(step, Phase.COMPENSATED)
        self.note(step.name, "compensated", attempt, detail)

    def _rejected(self, step: StepDefinition, code: str) -> None:
        """The action took no effect and never will: it is not retried, and there is nothing to compensate."""
        progress = self.steps[step.name]
        if not (step.optional or step.before_pivot):
            self._call_operator(step, code, rejected=True)
            return
        self._finish(step, Phase.REJECTED)
        self.note(step.name, "rejected", progress.attempt, code)
        if not step.optional:
            self.start_compensation(code)

    # -- failures

    def _attempt_failed(self, step: StepDefinition, reason: str, error: BaseException | None = None) -> None:
        progress = self.steps[step.name]
        direction = progress.direction
        place = (
            ""
            if error is None
            else origin(error, step.action if direction is StepDirection.ACTION else step.compensation)
        )
        self.note(step.name, "failed", progress.attempt, f"{reason} at {place}" if place else reason)
        if direction is StepDirection.ACTION and self.machine_status is SagaStatus.COMPENSATING:
            self._finish(step, Phase.UNKNOWN)
            return
        decision = step.policy(direction).decide(progress.policy_attempts, error)
        if isinstance(decision, RetryAfter):
            self.set(step.name, wait_reason=WaitReason.BACKOFF, wait_until=self.later(decision.delay_seconds))
        elif direction is StepDirection.ACTION and (step.optional or (step.before_pivot and not step.pivot)):
            self._finish(step, Phase.UNKNOWN)
            self.note(step.name, "attempts-exhausted", progress.attempt, decision.reason)
            if not step.optional:
                self.start_compensation(f"{step.name}-{reason}")
        else:
            self._call_operator(step, decision.reason)

    def _call_operator(self, step: StepDefinition, reason: str, *, rejected: bool = False) -> None:
        self.set(step.name, wait_reason=WaitReason.OPERATOR, wait_until=None, rejected=rejected)
        self.note(step.name, "needs-attention", self.steps[step.name].attempt, reason)

    # -- timers

    def _take_timer(self) -> None:
        if not self.instance.isolated:  # else `due` may be later than the times of the steps
            self.now = max(self.now, self.instance.due or self.now)
        if self._deadline_passed():
            self.start_compensation("deadline-passed")
        for step in self.definition.steps:
            progress = self.steps[step.name]
            if progress.wait_until is None or progress.wait_until > self.now:
                continue
            match progress.wait_reason:
                case WaitReason.REPLY:
                    self._attempt_failed(step, "timed-out")
                case WaitReason.BACKOFF:
                    self.request_again(step)
                case _:
                    pass
            if self.steps[step.name].wait_reason is WaitReason.RUNNER:
                self.hand_to_caller(step)

    def _deadline_passed(self) -> bool:
        deadline = self.deadline()
        return deadline is not None and deadline <= self.now

    # -- operators

    def _take_decision(self, decided: OperatorDecided) -> None:
        if self.instance.ended:
            raise DecisionRefused(f"saga {self.instance.id} has ended as {self.instance.machine_status.value}")
        self.note(decided.step or "", f"decided-{decided.action.value}", detail=decided.reason)
        match decided.action:
            case OperatorAction.RETRY:
                self._retry_lost(decided.step)
                for name in self._chosen(decided.step, {WaitReason.OPERATOR, WaitReason.BACKOFF}):
                    self._retry(name)
            case OperatorAction.SKIP:
                for name in self._chosen(decided.step, {WaitReason.OPERATOR}):
                    self._skip(name)
                if self.former_failure is not None and decided.step in {None, self.former_failure.step}:
                    self._skip_hook(self.former_failure)
            case OperatorAction.COMPENSATE:
                self._compensate()
            case OperatorAction.TERMINATE:
                self.machine_status = SagaStatus.TERMINATED
                self.failure = self.failure or "terminated"
                self.unmerged, self.unmerged_failure, self.pending_continuation = (), False, False
                self.note("", SagaStatus.TERMINATED.value)
            case _:
                assert_never(decided.action)

    def _chosen(self, step: str | None, reasons: set[WaitReason]) -> list[str]:
        """Names of the steps that the decision is about; empty where it is about the failing hook only."""
        found = [
            name for name, progress in self.steps.items() if progress.wait_reason in reasons and step in {None, name}
        ]
        if not found and (self.former_failure is None or step not in {None, self.former_failure.step}):
            which = "no step" if step is None else f"not step '{step}'"
            raise DecisionRefused(
                f"saga {self.instance.id}: {which} waits for an operator", hint="see its timeline: freehold saga show"
            )
        return found

    def _skip(self, name: str) -> None:
        self._finish(self.definition.by_name[name], Phase.SKIPPED)

    def _skip_hook(self, failing: HookFailure) -> None:
        """Continue without the failing hook: without the reply that it merges, the last hook, or its whole step."""
        match failing.hook:
            case Hook.MERGE | Hook.REPLY:
                self.unmerged = tuple(each for each in self.unmerged if each.step != failing.step)
            case Hook.ON_COMPLETED | Hook.ON_COMPENSATED:
                self.hookless = True
            case _ if failing.step:
                self._skip(failing.step)
            case _:
                raise DecisionRefused(
                    f"saga {self.instance.id}: it is not known which step fails", hint="retry, compensate or terminate"
                )

    def _retry_lost(self, step: str | None) -> None:
        """Repeat the calls whose results could not be stored, with the same key: only the receiver has the results."""
        lost = [each.step for each in self.unmerged if each.body is None and step in {None, each.step}]
        self.unmerged = tuple(each for each in self.unmerged if each.step not in lost)
        for name in lost:
            self.set(name, phase=Phase.RUNNING, policy_attempts=0)
            self.repeat(name)

    def _retry(self, name: str) -> None:
        """Reset the retry policy. If the request was definitely rejected, a new round with a new key begins."""
        progress = self.steps[name]
        self.set(name, policy_attempts=0)
        if progress.rejected:
            compensation = progress.direction is StepDirection.COMPENSATION
            self.set(
                name,
                round_start=progress.attempt + 1,
                action_round=progress.action_round + (0 if compensation else 1),
                compensation_round=progress.compensation_round + (1 if compensation else 0),
            )
        self.repeat(name)

    def _compensate(self) -> None:
        if self.machine_status is SagaStatus.COMPENSATING:
            for name in self._chosen(None, {WaitReason.OPERATOR}):
                self._retry(name)
            return
        pivot = self.definition.pivot
        if pivot is not None and self.steps[pivot.name].phase is not Phase.PENDING:
            raise DecisionRefused(
                f"saga {self.instance.id} has started its pivot '{pivot.name}' and can no longer be compensated",
                hint="retry, skip a step that was done by hand, or terminate",
            )
        if self.former_failure is not None and self.former_failure.hook in {Hook.MERGE, Hook.REPLY}:
            self._skip_hook(self.former_failure)
        self.start_compensation("decided")
