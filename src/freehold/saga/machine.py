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
   of the action (`compensates`): if the action never arrived, it is cancelled for ever, and the answer is `no-effect`.
4. *The way back.* When a required step before the pivot is rejected or given up, the instance compensates. Requests on
   their way turn doubtful at once (a command's undo is safe at any time, as it cancels the action); a running call is
   waited for. A step is undone only when none of its descendants may still have an effect: reverse order of the graph,
   in parallel where the graph is. Undos have a policy of their own; when it is exhausted, or an undo is rejected, a
   person is called.
5. *No way back.* From the pivot on nothing is undone: steps are repeated by their policy, then a person is called. A
   pivot in doubt is repeated too. An answer that comes late, after a person was called, still moves the instance on.
6. *Optional steps* fail alone: given up or rejected, they count as passed. If the saga goes back later, they are undone
   like others.
7. *Late, duplicate and void answers* are journalled and change nothing. The one terminal status is never left.
8. *Time* is data: `until` of each step, `due` of the instance as the earliest of them. The store wakes the instance by
   its own clock, and `now` is told on the instance's time line (`due` less what the store says is left of it), so that
   clocks of processes are never compared. Timers are cancelled by the next save. A timer that fires early or twice
   finds nothing overdue and changes nothing.
9. *Outcome before code.* What an input says is on record before any code of the definition runs with it (`record`, then
   `settle`): merging a reply, making a command, local functions, the last hook. A reply may do both in one transaction,
   since the broker hands it out again; the outcome of a call is committed by itself, since nobody else knows it.
10. *A bug is no outcome.* What a hook raises rolls its transaction back and says nothing of the process. `hold_up` puts
   it down and the outcome stays: no request is repeated for it, no step fails, nothing is undone. The hook is tried by
   the definition's policy (`hook_retry`), then an operator is asked for, and it is tried on ever less often, so that
   deploying the mended code is enough. An outage in a hook does not count. Until it succeeds the instance's time stands
   still: neither a step's time limit nor the saga's deadline passes because of it. Answers are put on record meanwhile,
   and taken up in order. Hooks that may have ended a process (`Instance.doubtful`) are tried alone, and counted before;
   those of which nothing is heard again and again wait for an operator.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

from freehold.origin import origin
from freehold.policy import RetryAfter
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import CallEnded, Decided, Decision, Input, LocalEnded, Outcome, Replied, Started, TimerDue
from freehold.saga.hooks import Hook, HookFailure
from freehold.saga.instance import Awaiting, DecisionRefused, Instance, Phase, StepProgress, Unmerged
from freehold.saga.mapping import EMPTY_REPLIES
from freehold.saga.steps import Direction, StepDefinition
from freehold.saga.store import SagaStatus
from freehold.saga.turn import Transition, TransitionState

__all__ = ["advance", "begin", "hold_up", "record", "set_out"]


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


def advance(definition: SagaDefinition, instance: Instance, arrived: Input, now: datetime) -> Transition:
    """Take one input and begin what follows. While a hook fails, an answer is only put on record.

    Raises `DecisionRefused` for a decision that does not fit, and what the code of the definition raises (see
    `hooks.hook_at`), `CodecError` for a reply that does not fit the state among it; nothing has changed then.
    """
    if instance.hook_failure is not None and isinstance(arrived, Replied | CallEnded):
        return record(definition, instance, arrived, now)
    turn = _Turn(definition, instance, now)
    turn.take(arrived)
    turn.settle()
    return turn.result()


def record(definition: SagaDefinition, instance: Instance, arrived: Input, now: datetime) -> Transition:
    """Put an input on record without running any code of the definition; a timer then begins what follows, at once.

    Nothing is left to begin where nothing follows but waiting. Raises `DecisionRefused`.
    """
    failing = instance.hook_failure
    stands = failing is not None and not isinstance(arrived, Decided)
    turn = _Turn(definition, instance, failing.since if failing is not None and stands else now)
    turn.take(arrived)
    if failing is None and not (turn.unmerged or turn.untold):
        whole = advance(definition, instance, arrived, now)
        if not whole.effects:
            return whole
    turn.unsettled = not turn.ended
    turn.begun = max(turn.begun, 1 if failing is None else 0)
    return turn.result()


def set_out(instance: Instance, now: datetime, visible_seconds: float) -> Instance:
    """Count a try of hooks that may end the process before it begins; without an end it comes due again later."""
    until = now + timedelta(seconds=visible_seconds)
    return replace(instance, begun=instance.begun + 1, due=until)


def hold_up(
    definition: SagaDefinition, instance: Instance, error: BaseException, now: datetime, *, outage: bool = False
) -> Transition:
    """Put down that a hook failed; the instance stays as it was, until it is tried again or an operator decides.

    `outage`: it failed for something that is away, or was changed by somebody else; that counts as nobody's bug.
    """
    turn = TransitionState(definition, instance, now)
    if not turn.ended:
        turn.hold_up(error, outage=outage)
    return turn.result()


class _Turn(TransitionState):
    """What one input means."""

    def take(self, arrived: Input) -> None:
        """Apply the input to the step it is about; no code of the definition is run."""
        if isinstance(arrived, TimerDue | Decided):
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
            case Outcome.REJECTED | Outcome.CANCELLED if answer.direction is Direction.ACTION:
                self._refused(step, answer.code or answer.outcome.value)
            case _ if answer.direction is Direction.UNDO:
                self.set(step.name, phase=Phase.UNDONE, awaiting=Awaiting.NOTHING, until=None, rejected=False)
                self.note(step.name, "undone", answer.attempt, "" if answer.outcome is Outcome.DONE else "no-effect")
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
        place = "" if error is None else origin(error, step.action if direction is Direction.ACTION else step.undo)
        self.note(step.name, "failed", progress.attempt, f"{reason} at {place}" if place else reason)
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
        if not self.instance.doubtful:  # else `due` may be later than what is due
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
                self._retry_lost(decided.step)
                for name in self._chosen(decided.step, {Awaiting.PERSON, Awaiting.BACKOFF}):
                    self._retry(name)
            case Decision.SKIP:
                for name in self._chosen(decided.step, {Awaiting.PERSON}):
                    self._skip(name)
                if self.held is not None and decided.step in {None, self.held.step}:
                    self._skip_hook(self.held)
            case Decision.COMPENSATE:
                self._compensate()
            case Decision.ABANDON:
                self.mode = SagaStatus.ABANDONED
                self.failure = self.failure or "abandoned"
                self.unmerged, self.untold, self.unsettled = (), False, False
                self.note("", SagaStatus.ABANDONED.value)
            case _:
                assert_never(decided.decision)

    def _chosen(self, step: str | None, awaiting: set[Awaiting]) -> list[str]:
        """Steps that the decision is about; none where it is about the hook that fails."""
        found = [
            name for name, progress in self.steps.items() if progress.awaiting in awaiting and step in {None, name}
        ]
        if not found and (self.held is None or step not in {None, self.held.step}):
            which = "no step" if step is None else f"not step '{step}'"
            raise DecisionRefused(
                f"saga {self.instance.id}: {which} waits for a person", hint="see its timeline: freehold saga show"
            )
        return found

    def _skip(self, name: str) -> None:
        self.set(name, phase=Phase.SKIPPED, awaiting=Awaiting.NOTHING, until=None, rejected=False)

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
                    f"saga {self.instance.id}: it is not known which step fails", hint="retry, compensate or abandon"
                )

    def _retry_lost(self, step: str | None) -> None:
        """Repeat the calls whose replies could not be stored, by the same key: nobody else can tell these replies."""
        lost = [each.step for each in self.unmerged if each.body is None and step in {None, each.step}]
        self.unmerged = tuple(each for each in self.unmerged if each.step not in lost)
        for name in lost:
            self.set(name, phase=Phase.ACTING, tries=0)
            self.repeat(name)

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
        self.repeat(name)

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
        if self.held is not None and self.held.hook in {Hook.MERGE, Hook.REPLY}:
            self._skip_hook(self.held)
        self.go_back("decided")
