"""The saga machine: `(instance, input) → (instance, effects)`, without any I/O. Pattern: imports plain data only.

The protocol, and why nothing is lost, doubled or left half done
----------------------------------------------------------------
1. *Intention before effect.* A step is `acting` in the stored instance before its command leaves (same transaction,
   through the outbox) or its call begins (a transaction before). Who dies after that leaves a row whose `due` brings
   somebody else.
2. *One key a request.* All attempts of half a step carry the same idempotency key, derived from instance, step and
   direction. The receiver acts once and answers each attempt. So an answer to an older attempt counts as well: it tells
   of the one effect there is. Only where a person repeats what was definitely rejected does a new round with a new key
   begin, and answers of older rounds are void.
3. *Not knowing is a state.* A timeout or a failed call says nothing about the effect. While there are tries left the
   request is repeated; given up, the step is `doubtful`, and is undone like one that happened. Its undo names the key
   of the action (`bars`): if the action never arrived, it is barred for ever, and the undo is answered `empty`.
4. *The way back.* When a required step before the pivot is rejected or given up, the instance compensates. Requests on
   their way turn doubtful at once (a command's undo is safe at any time, thanks to the bar); a running call is waited
   for. A step is undone only when none of its descendants may still have an effect: reverse order of the graph, in
   parallel where the graph is. Undos have a policy of their own; when it is exhausted, or an undo is rejected, a person
   is called.
5. *No way back.* From the pivot on nothing is undone: steps are repeated by their policy, then a person is called. A
   pivot in doubt is repeated too. An answer that comes late, after a person was called, still moves the instance on.
6. *Optional steps* fail alone: given up or rejected, they count as passed. If the saga goes back later, they are undone
   like others.
7. *Late, duplicate and void answers* are journalled and change nothing. The one terminal status is never left.
8. *Time* is data: `until` of each step, `due` of the instance as the earliest of them. The store wakes the instance by
   its own clock, and `now` is told on the instance's time line (`due` less what the store says is left of it), so that
   clocks of processes are never compared. Timers are cancelled by the next save. A timer that fires early or twice
   finds nothing overdue and changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

from freehold.policy import RetryAfter
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import CallEnded, Decided, Decision, Input, LocalEnded, Outcome, Replied, Started, TimerDue
from freehold.saga.instance import Awaiting, DecisionRefused, Instance, Phase, StepProgress
from freehold.saga.merging import merge_reply
from freehold.saga.steps import Direction, StepDefinition
from freehold.saga.store import SagaStatus
from freehold.saga.working import Advance, WorkingCopy

__all__ = ["advance", "begin"]


def begin(definition: SagaDefinition, state: Any, saga_id: UUID, correlation_id: UUID, now: datetime) -> Instance:
    """Return a new instance, nothing begun yet: give it `Started`."""
    seconds = definition.deadline_seconds
    return Instance(
        id=saga_id,
        definition=definition.name,
        definition_version=definition.version,
        key=str(getattr(state, definition.key)),
        correlation_id=correlation_id,
        mode=SagaStatus.RUNNING,
        state=state,
        steps={step.name: StepProgress() for step in definition.steps},
        deadline=None if seconds is None else now + timedelta(seconds=seconds),
    )


def advance(definition: SagaDefinition, instance: Instance, arrived: Input, now: datetime) -> Advance:
    """Take one input. Raises `DecisionRefused` for a decision that does not fit, `CodecError` for a reply that does not
    fit the state; nothing has changed then.
    """
    turn = _Turn(definition, instance, now)
    turn.take(arrived)
    turn.settle()
    return turn.result()


class _Turn(WorkingCopy):
    """What one input means."""

    def take(self, arrived: Input) -> None:
        """Apply the input to the step it is about."""
        match arrived:
            case Started():
                self.note("", "started")
            case Replied() | CallEnded():
                self._take_answer(arrived)
            case LocalEnded():
                self._take_local(arrived)
            case TimerDue():
                self._take_timer()
            case Decided():
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
            case Outcome.REJECTED if answer.direction is Direction.UNDO:
                self._call_person(step, answer.code or "rejected", rejected=True)
            case Outcome.REJECTED | Outcome.BARRED if answer.direction is Direction.ACTION:
                self._refused(step, answer.code or answer.outcome.value)
            case _ if answer.direction is Direction.UNDO:
                self.set(step.name, phase=Phase.UNDONE, awaiting=Awaiting.NOTHING, until=None, rejected=False)
                self.note(step.name, "undone", answer.attempt, "" if answer.outcome is Outcome.DONE else "empty")
            case _:
                self.state = merge_reply(step, self.state, answer.body)
                self._done(step, answer.attempt)

    def _is_awaited(self, progress: StepProgress, answer: Replied | CallEnded) -> bool:
        """Whether it tells something new. An older attempt's answer does, unless it is a failure or of an old round."""
        if self.instance.ended or answer.attempt < progress.round_start or answer.attempt > progress.attempt:
            return False
        if answer.outcome is Outcome.FAILED:
            current = answer.attempt == progress.attempt and progress.awaiting is Awaiting.ANSWER
            return current and answer.direction is progress.direction
        if answer.direction is Direction.UNDO:
            return progress.phase is Phase.UNDOING
        return progress.phase in {Phase.ACTING, Phase.DOUBTFUL}

    def _take_local(self, ended: LocalEnded) -> None:
        step = self.definition.by_name[ended.step]
        if ended.code is not None and ended.direction is Direction.ACTION:
            self._refused(step, ended.code)
        elif ended.code is not None:
            self._call_person(step, ended.code, rejected=True)
        elif ended.direction is Direction.ACTION:
            self.state = ended.state
            self._done(step, self.steps[step.name].attempt)
        else:
            self.state = ended.state
            self.set(step.name, phase=Phase.UNDONE, awaiting=Awaiting.NOTHING, until=None)
            self.note(step.name, "undone", self.steps[step.name].attempt)

    def _done(self, step: StepDefinition, attempt: int) -> None:
        self.set(step.name, phase=Phase.DONE, awaiting=Awaiting.NOTHING, until=None, rejected=False)
        self.note(step.name, "done", attempt)

    def _refused(self, step: StepDefinition, code: str) -> None:
        """The action has not happened and will not: never repeated by itself, and nothing to undo."""
        progress = self.steps[step.name]
        if not (step.optional or step.before_pivot):
            self._call_person(step, code, rejected=True)
            return
        self.set(step.name, phase=Phase.REFUSED, awaiting=Awaiting.NOTHING, until=None)
        self.note(step.name, "rejected", progress.attempt, code)
        if not step.optional:
            self.go_back(code)

    # -- failures

    def _attempt_failed(self, step: StepDefinition, reason: str, error: BaseException | None = None) -> None:
        progress = self.steps[step.name]
        direction = progress.direction
        self.note(step.name, "failed", progress.attempt, reason)
        if direction is Direction.ACTION and self.mode is SagaStatus.COMPENSATING:
            self.set(step.name, phase=Phase.DOUBTFUL, awaiting=Awaiting.NOTHING, until=None)
            return
        decision = step.policy(direction).decide(progress.tries, error)
        if isinstance(decision, RetryAfter):
            self.set(step.name, awaiting=Awaiting.BACKOFF, until=self.later(decision.delay_seconds))
        elif direction is Direction.UNDO:
            self._call_person(step, decision.reason)
        elif step.optional:
            self.set(step.name, phase=Phase.DOUBTFUL, awaiting=Awaiting.NOTHING, until=None)
            self.note(step.name, "given-up", progress.attempt, decision.reason)
        elif step.pivot or not step.before_pivot:
            self._call_person(step, decision.reason)
        else:
            self.set(step.name, phase=Phase.DOUBTFUL, awaiting=Awaiting.NOTHING, until=None)
            self.note(step.name, "given-up", progress.attempt, decision.reason)
            self.go_back(f"{step.name}-{reason}")

    def _call_person(self, step: StepDefinition, reason: str, *, rejected: bool = False) -> None:
        self.set(step.name, awaiting=Awaiting.PERSON, until=None, rejected=rejected)
        self.note(step.name, "needs-attention", self.steps[step.name].attempt, reason)

    # -- timers

    def _take_timer(self) -> None:
        self.now = max(self.now, self.instance.due or self.now)
        if self._deadline_passed():
            self.go_back("deadline-passed")
        for step in self.definition.steps:
            progress = self.steps[step.name]
            if progress.until is None or progress.until > self.now:
                continue
            match progress.awaiting:
                case Awaiting.ANSWER:
                    self._attempt_failed(step, "timed-out")
                case Awaiting.BACKOFF:
                    self.request_again(step)
                case _:
                    pass
            if self.steps[step.name].awaiting is Awaiting.CALLER:
                self.hand_to_caller(step)

    def _deadline_passed(self) -> bool:
        deadline = self.deadline()
        return deadline is not None and deadline <= self.now

    # -- people

    def _take_decision(self, decided: Decided) -> None:
        if self.instance.ended:
            raise DecisionRefused(f"saga {self.instance.id} has ended as {self.instance.mode.value}")
        self.note(decided.step or "", f"decided-{decided.decision.value}", detail=decided.reason)
        match decided.decision:
            case Decision.RETRY:
                for name in self._chosen(decided.step, {Awaiting.PERSON, Awaiting.BACKOFF}):
                    self._retry(name)
            case Decision.SKIP:
                for name in self._chosen(decided.step, {Awaiting.PERSON}):
                    self.set(name, phase=Phase.SKIPPED, awaiting=Awaiting.NOTHING, until=None, rejected=False)
            case Decision.COMPENSATE:
                self._compensate()
            case Decision.ABANDON:
                self.mode = SagaStatus.ABANDONED
                self.failure = self.failure or "abandoned"
                self.note("", SagaStatus.ABANDONED.value)
            case _:
                assert_never(decided.decision)

    def _chosen(self, step: str | None, awaiting: set[Awaiting]) -> list[str]:
        found = [
            name for name, progress in self.steps.items() if progress.awaiting in awaiting and step in {None, name}
        ]
        if not found:
            which = "no step" if step is None else f"not step '{step}'"
            raise DecisionRefused(
                f"saga {self.instance.id}: {which} waits for a person", hint="see its timeline: freehold saga show"
            )
        return found

    def _retry(self, name: str) -> None:
        """Begin the policy anew; where the request was definitely refused, with a new round and its new key."""
        progress = self.steps[name]
        self.set(name, tries=0)
        if progress.rejected:
            undo = progress.direction is Direction.UNDO
            self.set(
                name,
                round_start=progress.attempt + 1,
                action_round=progress.action_round + (0 if undo else 1),
                undo_round=progress.undo_round + (1 if undo else 0),
            )
        self.request_again(self.definition.by_name[name])

    def _compensate(self) -> None:
        if self.mode is SagaStatus.COMPENSATING:
            for name in self._chosen(None, {Awaiting.PERSON}):
                self._retry(name)
            return
        pivot = self.definition.pivot
        if pivot is not None and self.steps[pivot.name].phase is not Phase.WAITING:
            raise DecisionRefused(
                f"saga {self.instance.id} has begun its pivot '{pivot.name}': there is no way back",
                hint="retry, or skip what was settled by hand, or abandon",
            )
        self.go_back("decided")
