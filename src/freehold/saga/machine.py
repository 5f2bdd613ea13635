"""The saga machine: `(instance, input) → (instance, effects)`, without any I/O. Pattern: imports plain data only.

The protocol, and why nothing is lost, doubled or left half done
----------------------------------------------------------------
1. *Intention before effect.* A step is `running` in the stored instance before its command leaves (same transaction,
   through the outbox) or its call begins (a transaction before). Who dies after that leaves a row whose `due` brings
   somebody else.
2. *One key a request.* All attempts of half a step carry the same idempotency key, derived from instance, step and
   direction. The receiver acts once and replies to each attempt. So a reply to an older attempt counts as well: it
   tells of the one effect there is. Only where an operator repeats what was definitely rejected does a new round with a
   new key begin, and replies of older rounds are void.
3. *Not knowing is a state.* A timeout or a failed call says nothing about the effect. While there are attempts left the
   request is repeated. Once they are exhausted the step is `unknown`, and is compensated like one that happened. Its
   compensation names the key of the action (`compensates`): if the action never arrived, it is cancelled for ever, and
   the reply to the compensation is `no-effect`.
4. *The way back.* When a required step before the pivot is rejected or its attempts are exhausted, the instance
   compensates. Requests on their way become `unknown` at once (a command's compensation is safe at any time, since it
   cancels the action); a running call is waited for. A step is compensated only when none of its descendants may still
   have an effect: reverse order of the graph, in parallel where the graph is. Compensations have a policy of their own;
   when it is exhausted, or a compensation is rejected, the step waits for an operator.
5. *No way back.* From the pivot on nothing is compensated: steps are repeated by their policy, then they wait for an
   operator. A pivot whose outcome is not known is repeated too. A reply that comes while an operator is waited for
   still moves the instance on.
6. *Optional steps* fail alone: exhausted or rejected, they count as passed. If the saga goes back later, they are
   compensated like others.
7. *Late, duplicate and void replies* are journalled and change nothing. The one terminal status is never left.
8. *Time* is data: `wait_until` of each step, `due` of the instance as the earliest of them. The store wakes the
   instance by its own clock, and `now` is told on the instance's time line (`due` less what the store says is left of
   it), so that clocks of processes are never compared. Timers are cancelled by the next save. A timer that fires early
   or twice finds nothing overdue and changes nothing.
9. *Outcome before code.* What an input says is on record before any code of the definition runs with it (`record`, then
   `settle`): merging a reply, making a command, local functions, the last hook. A reply may do both in one transaction,
   since the broker hands it out again; the outcome of a call is committed by itself, since nobody else knows it.
10. *A bug is no outcome.* What a hook raises rolls its transaction back and says nothing of the process. `hold_up` puts
   it down and the outcome stays: no request is repeated for it, no step fails, nothing is compensated. The hook is
   retried by the definition's policy (`hook_retry`), then an operator is asked for, and it is retried ever less often,
   so that deploying the mended code is enough. An outage in a hook does not count. Until it succeeds the instance's
   time stands still: neither a step's time limit nor the saga's deadline passes because of it. Answers are put on
   record meanwhile, and taken up in order. Hooks that may have ended a process (`Instance.isolated`) are tried alone,
   and counted before; those of which nothing is heard again and again wait for an operator.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

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
    Started,
    TimerDue,
)
from freehold.saga.hooks import Hook, HookFailure
from freehold.saga.instance import DecisionRefused, Instance, Phase, StepProgress, Unmerged, WaitReason
from freehold.saga.mapping import EMPTY_REPLIES
from freehold.saga.steps import StepDefinition, StepDirection
from freehold.saga.store import SagaStatus
from freehold.saga.transition import Transition, TransitionState

__all__ = ["advance", "begin", "hold_up", "mark_started", "record"]


def begin(definition: SagaDefinition, state: Any, saga_id: UUID, correlation_id: UUID, now: datetime) -> Instance:
    """Return a new instance, nothing begun yet: give it `Started`."""
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


def advance(definition: SagaDefinition, instance: Instance, arrived: Input, now: datetime) -> Transition:
    """Take one input and begin what follows. While a hook fails, an answer is only put on record.

    Raises `DecisionRefused` for a decision that does not fit, and what the code of the definition raises (see
    `hooks.hook_at`), `CodecError` for a reply that does not fit the state among it; nothing has changed then.
    """
    if instance.hook_failure is not None and isinstance(arrived, Replied | CallEnded):
        return record(definition, instance, arrived, now)
    handler = _TransitionHandler(definition, instance, now)
    handler.take(arrived)
    handler.settle()
    return handler.result()


def record(definition: SagaDefinition, instance: Instance, arrived: Input, now: datetime) -> Transition:
    """Put an input on record without running any code of the definition; a timer then begins what follows, at once.

    Nothing is left to begin where nothing follows but waiting. Raises `DecisionRefused`.
    """
    failing = instance.hook_failure
    stands = failing is not None and not isinstance(arrived, OperatorDecided)
    handler = _TransitionHandler(definition, instance, failing.since if failing is not None and stands else now)
    handler.take(arrived)
    if failing is None and not (handler.unmerged or handler.untold):
        whole = advance(definition, instance, arrived, now)
        if not whole.effects:
            return whole
    handler.unsettled = not handler.ended
    handler.started_attempts = max(handler.started_attempts, 1 if failing is None else 0)
    return handler.result()


def mark_started(instance: Instance, now: datetime, visible_seconds: float) -> Instance:
    """Count a try of hooks that may end the process before it begins; without an end it comes due again later."""
    until = now + timedelta(seconds=visible_seconds)
    return replace(instance, started_attempts=instance.started_attempts + 1, due=until)


def hold_up(
    definition: SagaDefinition, instance: Instance, error: BaseException, now: datetime, *, outage: bool = False
) -> Transition:
    """Put down that a hook failed; the instance stays as it was, until it is tried again or an operator decides.

    `outage`: it failed for something that is away, or was changed by somebody else; that counts as nobody's bug.
    """
    state = TransitionState(definition, instance, now)
    if not state.ended:
        state.hold_up(error, outage=outage)
    return state.result()


class _TransitionHandler(TransitionState):
    """What one input means."""

    def take(self, arrived: Input) -> None:
        """Apply the input to the step it is about; no code of the definition is run."""
        if isinstance(arrived, TimerDue | OperatorDecided):
            self.resume(noted=isinstance(arrived, TimerDue))
        match arrived:
            case Started():
                self.note("", "started")
            case Replied() | CallEnded():
                self._take_answer(arrived)
            case LocalEnded():
                self._take_local(arrived)
            case TimerDue():
                self._take_timer()
            case OperatorDecided():
                self._take_decision(arrived)
            case _:
                assert_never(arrived)

    # -- answers

    def _take_answer(self, answer: Replied | CallEnded) -> None:
        progress = self.steps.get(answer.step)
        if progress is None or not self._is_awaited(progress, answer):
            self.note(answer.step, "late", answer.attempt, f"{answer.direction.value} {answer.outcome.value}")
            return
        step = self.definition.by_name[answer.step]
        match answer.outcome:
            case Outcome.FAILED:
                error = answer.error if isinstance(answer, CallEnded) else None
                self._attempt_failed(step, type(error).__name__ if error else "failed", error)
            case Outcome.REJECTED if answer.direction is StepDirection.COMPENSATION:
                self._call_operator(step, answer.code or "rejected", rejected=True)
            case Outcome.REJECTED | Outcome.CANCELLED if answer.direction is StepDirection.ACTION:
                self._rejected(step, answer.code or answer.outcome.value)
            case _ if answer.direction is StepDirection.COMPENSATION:
                self.set(
                    step.name, phase=Phase.COMPENSATED, wait_reason=WaitReason.NOTHING, wait_until=None, rejected=False
                )
                self.note(
                    step.name,
                    "compensated",
                    answer.attempt,
                    "" if answer.outcome is Outcome.DONE else answer.outcome.value,
                )
            case _:
                lost = isinstance(answer, CallEnded) and answer.error is not None
                if lost or answer.body not in EMPTY_REPLIES:
                    self.unmerged += (Unmerged(step.name, None if lost else answer.body),)
                self._done(step, answer.attempt)

    def _is_awaited(self, progress: StepProgress, answer: Replied | CallEnded) -> bool:
        """Whether it tells something new. An older attempt's answer does, unless it is a failure or of an old round."""
        if self.instance.ended or answer.attempt < progress.round_start or answer.attempt > progress.attempt:
            return False
        if answer.outcome is Outcome.FAILED:
            current = answer.attempt == progress.attempt and progress.wait_reason is WaitReason.REPLY
            return current and answer.direction is progress.direction
        if answer.direction is StepDirection.COMPENSATION:
            return progress.phase is Phase.COMPENSATING
        return progress.phase in {Phase.RUNNING, Phase.UNKNOWN}

    def _take_local(self, ended: LocalEnded) -> None:
        step = self.definition.by_name[ended.step]
        if ended.code is not None and ended.direction is StepDirection.ACTION:
            self._rejected(step, ended.code)
        elif ended.code is not None:
            self._call_operator(step, ended.code, rejected=True)
        elif ended.direction is StepDirection.ACTION:
            self.state = ended.state
            self._done(step, self.steps[step.name].attempt)
        else:
            self.state = ended.state
            self.set(step.name, phase=Phase.COMPENSATED, wait_reason=WaitReason.NOTHING, wait_until=None)
            self.note(step.name, "compensated", self.steps[step.name].attempt)

    def _done(self, step: StepDefinition, attempt: int) -> None:
        self.set(step.name, phase=Phase.DONE, wait_reason=WaitReason.NOTHING, wait_until=None, rejected=False)
        self.note(step.name, "done", attempt)

    def _rejected(self, step: StepDefinition, code: str) -> None:
        """The action has not happened and will not: never repeated by itself, and nothing to compensate."""
        progress = self.steps[step.name]
        if not (step.optional or step.before_pivot):
            self._call_operator(step, code, rejected=True)
            return
        self.set(step.name, phase=Phase.REJECTED, wait_reason=WaitReason.NOTHING, wait_until=None)
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
            self.set(step.name, phase=Phase.UNKNOWN, wait_reason=WaitReason.NOTHING, wait_until=None)
            return
        decision = step.policy(direction).decide(progress.policy_attempts, error)
        if isinstance(decision, RetryAfter):
            self.set(step.name, wait_reason=WaitReason.BACKOFF, wait_until=self.later(decision.delay_seconds))
        elif direction is StepDirection.COMPENSATION:
            self._call_operator(step, decision.reason)
        elif step.optional:
            self.set(step.name, phase=Phase.UNKNOWN, wait_reason=WaitReason.NOTHING, wait_until=None)
            self.note(step.name, "attempts-exhausted", progress.attempt, decision.reason)
        elif step.pivot or not step.before_pivot:
            self._call_operator(step, decision.reason)
        else:
            self.set(step.name, phase=Phase.UNKNOWN, wait_reason=WaitReason.NOTHING, wait_until=None)
            self.note(step.name, "attempts-exhausted", progress.attempt, decision.reason)
            self.start_compensation(f"{step.name}-{reason}")

    def _call_operator(self, step: StepDefinition, reason: str, *, rejected: bool = False) -> None:
        self.set(step.name, wait_reason=WaitReason.OPERATOR, wait_until=None, rejected=rejected)
        self.note(step.name, "needs-attention", self.steps[step.name].attempt, reason)

    # -- timers

    def _take_timer(self) -> None:
        if not self.instance.isolated:  # else `due` may be later than what is due
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
                if self.held is not None and decided.step in {None, self.held.step}:
                    self._skip_hook(self.held)
            case OperatorAction.COMPENSATE:
                self._compensate()
            case OperatorAction.TERMINATE:
                self.machine_status = SagaStatus.TERMINATED
                self.failure = self.failure or "terminated"
                self.unmerged, self.untold, self.unsettled = (), False, False
                self.note("", SagaStatus.TERMINATED.value)
            case _:
                assert_never(decided.action)

    def _chosen(self, step: str | None, reasons: set[WaitReason]) -> list[str]:
        """Steps that the decision is about; none where it is about the hook that fails."""
        found = [
            name for name, progress in self.steps.items() if progress.wait_reason in reasons and step in {None, name}
        ]
        if not found and (self.held is None or step not in {None, self.held.step}):
            which = "no step" if step is None else f"not step '{step}'"
            raise DecisionRefused(
                f"saga {self.instance.id}: {which} waits for an operator", hint="see its timeline: freehold saga show"
            )
        return found

    def _skip(self, name: str) -> None:
        self.set(name, phase=Phase.SKIPPED, wait_reason=WaitReason.NOTHING, wait_until=None, rejected=False)

    def _skip_hook(self, held: HookFailure) -> None:
        """Go on without the hook that fails; where it is a step's own doing, without that."""
        match held.hook:
            case Hook.MERGE | Hook.REPLY:
                self.unmerged = tuple(each for each in self.unmerged if each.step != held.step)
            case Hook.ON_COMPLETED | Hook.ON_COMPENSATED:
                self.hookless = True
            case _ if held.step:
                self._skip(held.step)
            case _:
                raise DecisionRefused(
                    f"saga {self.instance.id}: it is not known which step fails", hint="retry, compensate or terminate"
                )

    def _retry_lost(self, step: str | None) -> None:
        """Repeat the calls whose replies could not be stored, by the same key: nobody else can tell these replies."""
        lost = [each.step for each in self.unmerged if each.body is None and step in {None, each.step}]
        self.unmerged = tuple(each for each in self.unmerged if each.step not in lost)
        for name in lost:
            self.set(name, phase=Phase.RUNNING, policy_attempts=0)
            self.repeat(name)

    def _retry(self, name: str) -> None:
        """Begin the policy again; where the request was definitely refused, with a new round and its new key."""
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
                f"saga {self.instance.id} has begun its pivot '{pivot.name}': there is no way back",
                hint="retry, or skip what was settled by hand, or terminate",
            )
        if self.held is not None and self.held.hook in {Hook.MERGE, Hook.REPLY}:
            self._skip_hook(self.held)
        self.start_compensation("decided")
