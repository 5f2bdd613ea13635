"""One run of a saga with simulated participants; the caller makes every choice. Testing: imports the saga pattern.

Between any two inputs the instance is stored and read again, as when another process takes over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from freehold.policy import GiveUp
from freehold.saga.definition import SagaDefinition
from freehold.saga.document import read_instance, write_record
from freehold.saga.exchange import (
    CallEnded,
    Input,
    LocalEnded,
    OperatorAction,
    OperatorDecided,
    Outcome,
    Replied,
    RunCall,
    RunHook,
    RunLocal,
    SendCommand,
    Started,
    TimerDue,
)
from freehold.saga.instance import Instance, WaitReason
from freehold.saga.machine import advance, begin, record, record_failure
from freehold.saga.steps import StepDirection
from freehold.saga.store import JournalEntry, SagaStatus
from freehold.saga.transition import Transition
from freehold.testing.participants import InTransit, Participants, Request, SagaViolation, half_name
from freehold.testing.saga_code import Choose, HookBench, PlannedBug, PlannedCrash, SagaCode, real_code
from freehold.testing.saga_faults import (
    CALL_FAULTS,
    COMMAND_FAULTS,
    HELD,
    Fault,
    Rule,
    failing_attempts,
    failing_options,
)
from freehold.testing.saga_story import SagaStory

__all__ = ["SagaRun"]

_INPUTS_MAX: Final = 2000
_BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)


class SagaRun:
    """One run of an instance. `run` returns its terminal status, or raises `SagaViolation`.

    places     how many calls begin with the transaction that leads to them; the others are left due.
    failures   how many attempts of a compensation may fail in a row as one fault.
    remaining  steps whose effect may remain after compensation.
    bench      where local functions and hooks are called; without it they are only simulated.
    """

    def __init__(
        self,
        definition: SagaDefinition,
        state: Any,
        choose: Choose,
        replies: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        places: int = 8,
        failures: int = 2,
        remaining: Collection[str] = (),
        bench: HookBench | None = None,
    ) -> None:
        self._definition = definition
        self._places = places
        self._failures = failures
        self._remaining = remaining
        self._choose = choose
        self._replies = {name: msgspec.json.encode(reply) for name, reply in (replies or {}).items()}
        self._now = _BEGIN
        self._instance = begin(definition, state, UUID(int=1), UUID(int=1), self._now)
        self._ready: list[InTransit] = []
        self._after_timer: list[InTransit] = []
        self._after_end: list[InTransit] = []
        self._faults: dict[tuple[str, StepDirection], str] = {}
        self._requested: Counter[str] = Counter()
        self._failed: set[str] = set()
        self._suspended = timedelta(0)
        self._inputs = 0
        self._code = SagaCode(definition, choose, bench)
        self.story = SagaStory()
        self.participants = Participants(definition, remaining)
        self.entries: list[JournalEntry] = []

    @property
    def instance(self) -> Instance:
        """The present instance."""
        return self._instance

    def run(self) -> SagaStatus:
        """Run until the end, then deliver everything that is still in transit, and check the effects."""
        self._take(Started())
        while not self._instance.ended:
            self._next()
        ended = self._instance.machine_status
        self._ready += self._after_timer + self._after_end
        self._after_timer, self._after_end = [], []
        for held in self._ready:
            held.certain = True
        while self._ready:
            self._deliver(self._ready.pop(0))
            if self._instance.machine_status is not ended:
                what = f"it ended as {ended.value}, and then as {self._instance.machine_status.value}"
                raise SagaViolation(what, Rule.ONE_END)
        self._check(ended)
        return ended

    def _next(self) -> None:
        if self._ready:
            self._deliver(self._ready.pop(self._which() if len(self._ready) > 1 else 0))
        elif self._instance.status is SagaStatus.NEEDS_ATTENTION and self._code.broken:
            self._code.broken.clear()
            self._decide_or_wait()
        elif self._instance.due is not None:
            self._now = max(self._now, self._instance.due)
            self.story.tell("timer", "is due")
            self._take(TimerDue())
            self._ready += self._after_timer
            self._after_timer = []
        elif any(progress.wait_reason is WaitReason.OPERATOR for progress in self._instance.steps.values()):
            self._faults.clear()  # the operator repairs the fault before the retry
            self._retry()
        else:
            status = self._instance.machine_status.value
            raise SagaViolation(f"nothing is left to happen, and the instance is {status}", Rule.ONE_END)

    def _which(self) -> int:
        names = [f"{number}: {held}" for number, held in enumerate(self._ready)]
        return names.index(self._choose("next", names))

    def _decide_or_wait(self) -> None:
        """After the code was fixed: an operator retries, or the next attempt is made by itself."""
        self.story.tell("operator", "deploys a fix")
        failing = self._instance.hook_failure
        if failing is None or self._choose("fixed", ["retry", "wait"]) == "retry":
            self._retry()
            return
        self._now = max(self._now, failing.wait_until or self._now)
        self._take(TimerDue())

    def _retry(self) -> None:
        self.story.tell("operator", "retries")
        self._take(OperatorDecided(OperatorAction.RETRY))

    def _deliver(self, held: InTransit) -> None:
        if held.outcome is not None:
            self._reply(held.request, held.outcome)
            return
        request = held.request
        fault = Fault.OK.value if held.certain else self._fault_of(request)
        match fault:
            case Fault.TIMED_OUT:
                self._hold(held, self._after_end, "arrives after the end")
            case Fault.REQUEST_LATE:
                self._hold(held, self._after_timer, "arrives after the next timer")
            case Fault.CRASH_BEFORE if isinstance(request, RunCall):
                self._tell(request, "crashes before it is done")
            case Fault.CRASH_BEFORE:
                self._hold(replace(held, certain=True), self._ready, "crashes before it is done, and gets it again")
            case Fault.RAISED:
                self._tell(request, "raises, nothing is done")
                self._reply(request, Outcome.FAILED)
            case _ if failing_attempts(fault):
                self._fail(request)
            case _:
                self._handle(held, Fault(fault))

    def _handle(self, held: InTransit, fault: Fault) -> None:
        """The request has arrived: it takes effect, once, and is answered."""
        request = held.request
        outcome = self.participants.handle(request, refuse=fault is Fault.REJECTED)
        answer = InTransit(request, outcome)
        match fault:
            case Fault.TIMED_OUT_BUT_DONE:
                self._hold(answer, self._after_end, f"is {outcome.value}; its reply arrives after the end")
            case Fault.REPLY_LATE:
                self._hold(answer, self._after_timer, f"is {outcome.value}; its reply arrives after the next timer")
            case Fault.CRASH_AFTER if isinstance(request, RunCall):
                self._tell(request, f"is {outcome.value}; its process crashes before it records that")
            case Fault.RAISED_BUT_DONE:
                self._tell(request, f"is {outcome.value}, and raises")
                self._reply(request, Outcome.FAILED)
            case Fault.CRASH_AFTER | Fault.REPLY_TWICE:
                twice = fault is Fault.REPLY_TWICE
                text = "its reply comes twice" if twice else "then it crashes, and gets the request again"
                self._tell(request, f"is {outcome.value}; {text}")
                self._ready.append(answer if twice else replace(held, certain=True))
                self._after_end.append(answer)
                self._reply(request, outcome)
            case _:
                self._tell(request, f"is {outcome.value}")
                self._reply(request, outcome)

    def _fail(self, request: Request) -> None:
        """One of the attempts of a compensation that fail."""
        self._tell(request, "fails")
        if isinstance(request, RunCall):
            self._reply(request, Outcome.FAILED)

    def _hold(self, held: InTransit, where: list[InTransit], text: str) -> None:
        self._tell(held.request, text)
        where.append(held)

    def _tell(self, request: Request, text: str) -> None:
        self.story.tell(request.step, text if request.direction is StepDirection.ACTION else f"compensation {text}")

    def _fault_of(self, request: Request) -> str:
        """What happens to a request. Some faults apply to later attempts of the same action or compensation, too."""
        half = (request.step, request.direction)
        known = self._faults.get(half, Fault.OK.value)
        if failing_attempts(known):
            known = self._faults[half] = [Fault.OK.value, *failing_options(self._failures)][failing_attempts(known) - 1]
            return known  # one less is left; after them the next attempt succeeds
        return known if known in HELD else self._drawn(request)

    def _drawn(self, request: Request) -> str:
        options = [each.value for each in (CALL_FAULTS if isinstance(request, RunCall) else COMMAND_FAULTS)]
        if request.direction is StepDirection.COMPENSATION:
            options += failing_options(self._failures)
        fault = self._choose(half_name(request), options)
        self._faults[request.step, request.direction] = fault
        return fault

    def _reply(self, request: Request, outcome: Outcome) -> None:
        """The saga gets the outcome of a request."""
        step, action = self._definition.by_name[request.step], request.direction is StepDirection.ACTION
        body = self._replies.get(request.step, b"{}") if outcome is Outcome.DONE and action else b"{}"
        code = "rejected" if outcome is Outcome.REJECTED else ""
        if action and outcome in {Outcome.REJECTED, Outcome.CANCELLED}:
            self._failed.add(step.name)
        if isinstance(request, SendCommand):
            self._take(Replied(request.step, request.direction, request.attempt, outcome, body, code))
            return
        error = ConnectionError("planned") if outcome is Outcome.FAILED else None
        if action and error and isinstance(step.policy(request.direction).decide(request.attempt, error), GiveUp):
            self._failed.add(step.name)
        self._take(CallEnded(request.step, request.direction, request.attempt, outcome, body, code, error))

    def _take(self, arrived: Input) -> None:
        """Take an input as the engine and the runner do: in one transaction, or if code of the definition fails, stored
        in another one together with the failure. The outcome of a call is stored before anything else happens.
        """
        if isinstance(arrived, CallEnded):
            with real_code():
                kept = record(self._definition, self._instance, arrived, self._now, places=self._places, merging=True)
            self._keep(kept)
            if not self._instance.pending_continuation or self._instance.hook_failure is not None:
                return
            self._try(TimerDue(), None)
        else:
            self._try(arrived, None if isinstance(arrived, TimerDue | Started) else arrived)

    def _try(self, arrived: Input, kept: Input | None) -> None:
        """One transaction with code of the definition in it; if that fails, another one that stores the input."""
        before, held, entries = self._instance, self.participants.snapshot(), list(self.entries)
        requests: list[Request] = []
        try:
            self._turn(arrived, requests)
            self._code.end()
        except (PlannedBug, PlannedCrash) as error:
            self._instance, self.entries = before, entries
            self.participants.restore(held)
            self._code.end(error)
            self._after_rollback(arrived, kept, error)
            return
        except SagaViolation:
            self.story.journal(self.entries[len(entries) :])
            raise
        if before.hook_failure is not None and self._instance.hook_failure is None:
            self._suspended += self._now - before.hook_failure.since
        self.story.journal(self.entries[len(entries) :])
        self._reload()
        for request in requests:
            self._send(request)

    def _after_rollback(self, arrived: Input, kept: Input | None, error: PlannedBug | PlannedCrash) -> None:
        crashed = isinstance(error, PlannedCrash)
        self.story.tell("saga", "the process crashes: rolled back" if crashed else f"a bug in {error}: rolled back")
        if isinstance(arrived, Started):
            self._code.broken.clear()  # the caller got the error, and starts it again
            self._try(arrived, kept)
            return
        if kept is not None:
            self._keep(record(self._definition, self._instance, kept, self._now))
        if not crashed:
            self._keep(record_failure(self._definition, self._instance, error, self._now))

    def _keep(self, transition: Transition) -> None:
        calls = [effect for effect in transition.effects if isinstance(effect, RunCall)]
        if len(calls) < len(transition.effects):
            raise SagaViolation("storing an outcome had other effects than calls", Rule.CODE)
        self._instance = transition.instance
        self.entries.extend(transition.entries)
        self.story.journal(transition.entries)
        self._reload()
        for call in calls:
            self._send(call)

    def _turn(self, arrived: Input, requests: list[Request]) -> None:
        self._inputs += 1
        if self._inputs > _INPUTS_MAX:
            raise SagaViolation(f"there is no end after {_INPUTS_MAX} inputs", Rule.ONE_END)
        before = self._instance
        self._merge(before, arrived)
        with real_code():
            transition = advance(self._definition, before, arrived, self._now, places=self._places)
        self._instance = transition.instance
        self.entries.extend(transition.entries)
        if before.ended and (transition.effects or transition.instance != before):
            raise SagaViolation("an instance that had ended did something", Rule.ONE_END)
        for effect in transition.effects:
            match effect:
                case SendCommand():
                    self._code.make(effect, self._instance.state)
                    requests.append(effect)
                case RunCall():
                    requests.append(effect)
                case RunLocal():
                    self._run_local(effect, requests)
                case RunHook():
                    self._instance = replace(self._instance, state=self._code.last_hook(effect, self._instance.state))

    def _merge(self, before: Instance, arrived: Input) -> None:
        merged = [each.step for each in before.unmerged]
        if isinstance(arrived, Replied) and before.hook_failure is None and not before.ended:
            merged += [arrived.step] if arrived.body != b"{}" else []
        for step in merged:
            self._code.merge(step)

    def _send(self, request: Request) -> None:
        self.participants.check_request(request)
        if request.direction is StepDirection.ACTION:
            self._requested[request.step] += 1
        elif not self._process_failed():
            raise SagaViolation(f"'{request.step}' was compensated, although no step had failed", Rule.NEEDLESS)
        self._ready.append(InTransit(request))

    def _process_failed(self) -> bool:
        """Whether there is a reason to compensate: a step that the saga needs was rejected or had all its attempts, or
        the deadline has passed, without the time in which code of the definition failed.
        """
        seconds = self._definition.deadline_seconds
        if seconds is not None and self._now - self._suspended >= _BEGIN + timedelta(seconds=seconds):
            return True
        needed = [step for step in self._definition.steps if not step.optional]
        return any(
            step.name in self._failed or self._requested[step.name] >= step.policy(StepDirection.ACTION).attempts
            for step in needed
        )

    def _run_local(self, effect: RunLocal, requests: list[Request]) -> None:
        def act() -> None:
            self.participants.act_locally(effect.step, effect.direction)

        state, code = self._code.local(effect, self._instance.state, act)
        if code is not None:
            self._failed.add(effect.step)
        self._turn(LocalEnded(effect.step, effect.direction, state, code), requests)

    def _reload(self) -> None:
        """Drop everything that is not stored, as a crash does."""
        with real_code():
            stored = write_record(self._instance, 1, self._now, self._definition.state_type)
            self._instance = read_instance(stored, self._definition)
        self._now += timedelta(milliseconds=1)

    def _check(self, ended: SagaStatus) -> None:
        effects = self.participants.effects
        for step in self._definition.steps:
            count = effects.get(step.name, 0)
            if ended is SagaStatus.COMPLETED and not step.optional and count != 1:
                raise SagaViolation(f"it completed, and '{step.name}' took effect {count} times", Rule.EFFECTS)
            if ended is SagaStatus.COMPENSATED and count and step.name not in self._remaining:
                why = "" if step.compensation is not None else f" (if it may be, say remaining=['{step.name}'])"
                raise SagaViolation(f"it is compensated, and '{step.name}' is still in effect{why}", Rule.EFFECTS)
        if ended is SagaStatus.COMPLETED and self.participants.compensated:
            step_name = min(self.participants.compensated)
            raise SagaViolation(f"it completed, and '{step_name}' was compensated", Rule.NEEDLESS)
