"""One run of a saga with simulated participants; the caller makes every choice. Testing: imports the saga pattern.

Between any two inputs the instance is stored and read again, as when another process takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from freehold.messages import encode_body
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
from freehold.saga.message_mapper import make_command
from freehold.saga.steps import StepDirection
from freehold.saga.store import JournalEntry, SagaStatus
from freehold.saga.transition import Transition
from freehold.testing.participants import Participants, Request, SagaViolation

__all__ = ["Choose", "Fault", "SagaRun"]

Choose = Callable[[str, Sequence[str]], str]
"""`(about, options)` returns one of the options; the first one means that nothing fails."""

_INPUTS_MAX: Final = 2000
_BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)


class Fault(StrEnum):
    """What happens to an attempt."""

    WELL = "well"
    REFUSED = "refused"
    """A business refusal; this key stays refused."""
    REQUEST_LOST = "request-lost"
    """No attempt of this action or compensation arrives before the instance has ended."""
    REPLY_LOST = "reply-lost"
    """It takes effect, and no reply to this action or compensation arrives before the instance has ended."""
    SLOW = "slow"
    """It takes effect, and the reply arrives after the next timer."""
    LATE = "late"
    """The request arrives after the next timer."""
    DUPLICATED = "duplicated"
    """The reply arrives twice, the second time after the end."""
    RAISED = "raised"
    """A call raises after its effect."""
    BUG = "bug"
    """Code of the definition (a local function, `make`, `merge`, `on_completed`) raises once."""
    BUG_UNTIL_FIXED = "bug-until-fixed"
    """The code raises until it is fixed, which happens when the instance needs attention."""


_COMMAND_FATES: Final = (
    Fault.WELL,
    Fault.REFUSED,
    Fault.REQUEST_LOST,
    Fault.REPLY_LOST,
    Fault.SLOW,
    Fault.LATE,
    Fault.DUPLICATED,
)
_CALL_FATES: Final = (*_COMMAND_FATES, Fault.RAISED)
_HOOK_FATES: Final = (Fault.WELL, Fault.BUG, Fault.BUG_UNTIL_FIXED)
_BUSINESS: Final = frozenset(
    {Fault.REFUSED, Fault.REQUEST_LOST, Fault.REPLY_LOST, Fault.SLOW, Fault.LATE, Fault.RAISED}
)
"""Faults that may make a saga fail: without any of them nothing is ever compensated."""
_HELD: Final = frozenset({Fault.REQUEST_LOST, Fault.REPLY_LOST})


class _PlannedBug(Exception):
    """The error that code of the definition raises in a simulated run."""


@dataclass(slots=True)
class _Held:
    """A message in transit: a request, or the reply to it if `outcome` is set."""

    request: Request
    outcome: Outcome | None = None


class SagaRun:
    """One run of an instance. `run` returns its terminal status, or raises `SagaViolation`. `places` is how many calls
    begin with the transaction that leads to them; the others are left due.
    """

    def __init__(
        self,
        definition: SagaDefinition,
        state: Any,
        choose: Choose,
        replies: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        places: int = 8,
    ) -> None:
        self._definition = definition
        self._places = places
        self._choose = choose
        self._replies = {name: msgspec.json.encode(reply) for name, reply in (replies or {}).items()}
        self._now = _BEGIN
        self._instance = begin(definition, state, UUID(int=1), UUID(int=1), self._now)
        self._ready: list[_Held] = []
        self._after_timer: list[_Held] = []
        self._after_end: list[_Held] = []
        self._fates: dict[tuple[str, StepDirection], Fault] = {}
        self._broken: set[str] = set()
        self._business_failed = False
        self._inputs = 0
        self.participants = Participants(definition)
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
        while self._ready:
            self._deliver(self._ready.pop(0), fate=Fault.WELL)
            if self._instance.machine_status is not ended:
                raise SagaViolation(f"ended as {ended.value}, and then as {self._instance.machine_status.value}")
        self._check(ended)
        return ended

    def _next(self) -> None:
        if self._ready:
            order = [str(number) for number in range(len(self._ready))]
            self._deliver(self._ready.pop(int(self._choose("order", order)) if len(order) > 1 else 0))
        elif self._instance.status is SagaStatus.NEEDS_ATTENTION and self._broken:
            self._broken.clear()
            self._decide_or_wait()
        elif self._instance.due is not None:
            self._now = max(self._now, self._instance.due)
            self._take(TimerDue())
            self._ready += self._after_timer
            self._after_timer = []
        elif any(progress.wait_reason is WaitReason.OPERATOR for progress in self._instance.steps.values()):
            self._fates.clear()  # the operator repairs the fault before the retry
            self._take(OperatorDecided(OperatorAction.RETRY))
        else:
            raise SagaViolation(f"nothing is left to happen, and the instance is {self._instance.machine_status.value}")

    def _decide_or_wait(self) -> None:
        """After the code was fixed: an operator retries, or the next attempt is made by itself."""
        failing = self._instance.hook_failure
        if failing is None or self._choose("fixed", ["retry", "wait"]) == "retry":
            self._take(OperatorDecided(OperatorAction.RETRY))
            return
        self._now = max(self._now, failing.wait_until or self._now)
        self._take(TimerDue())

    def _deliver(self, held: _Held, fate: Fault | None = None) -> None:
        if held.outcome is not None:
            self._take(self._answer(held.request, held.outcome))
            return
        request = held.request
        fate = fate or self._fate_of(request)
        if fate in {Fault.REQUEST_LOST, Fault.LATE}:
            (self._after_end if fate is Fault.REQUEST_LOST else self._after_timer).append(held)
            return
        outcome = self.participants.handle(request, refuse=fate is Fault.REFUSED)
        answer = _Held(request, outcome)
        match fate:
            case Fault.REPLY_LOST:
                self._after_end.append(answer)
            case Fault.SLOW:
                self._after_timer.append(answer)
            case Fault.RAISED:
                self._take(self._answer(request, Outcome.FAILED))
            case Fault.DUPLICATED:
                self._after_end.append(answer)
                self._take(self._answer(request, outcome))
            case _:
                self._take(self._answer(request, outcome))

    def _fate_of(self, request: Request) -> Fault:
        """What happens to a request. `_HELD` faults apply to all later attempts of the same action or compensation."""
        half = (request.step, request.direction)
        if half not in self._fates or self._fates[half] not in _HELD:
            fates = _CALL_FATES if isinstance(request, RunCall) else _COMMAND_FATES
            about = f"{request.step} {request.direction.value} {request.attempt}"
            self._fates[half] = Fault(self._choose(about, [fate.value for fate in fates]))
            self._business_failed = self._business_failed or self._fates[half] in _BUSINESS
        return self._fates[half]

    def _answer(self, request: Request, outcome: Outcome) -> Replied | CallEnded:
        body = b"{}"
        if outcome is Outcome.DONE and request.direction is StepDirection.ACTION:
            body = self._replies.get(request.step, b"{}")
        code = "refused" if outcome is Outcome.REJECTED else ""
        if isinstance(request, SendCommand):
            return Replied(request.step, request.direction, request.attempt, outcome, body, code)
        error = ConnectionError() if outcome is Outcome.FAILED else None
        return CallEnded(request.step, request.direction, request.attempt, outcome, body, code, error)

    def _take(self, arrived: Input) -> None:
        """Take an input as the engine and the runner do: in one transaction, or if code of the definition fails, stored
        in another one together with the failure. The outcome of a call is stored before anything else happens.
        """
        if isinstance(arrived, CallEnded):
            self._keep(record(self._definition, self._instance, arrived, self._now, places=self._places, merging=True))
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
        except _PlannedBug as error:
            self._instance, self.entries = before, entries
            self.participants.restore(held)
            if isinstance(arrived, Started):
                self._broken.clear()  # the caller got the error, and starts it again
                self._try(arrived, kept)
                return
            if kept is not None:
                self._keep(record(self._definition, self._instance, kept, self._now))
            self._keep(record_failure(self._definition, self._instance, error, self._now))
            return
        self._reload()
        for request in requests:
            self._send(request)

    def _keep(self, transition: Transition) -> None:
        calls = [effect for effect in transition.effects if isinstance(effect, RunCall)]
        if len(calls) < len(transition.effects):
            raise SagaViolation("storing an outcome had other effects than calls")
        self._instance = transition.instance
        self.entries.extend(transition.entries)
        self._reload()
        for call in calls:
            self._send(call)

    def _turn(self, arrived: Input, requests: list[Request]) -> None:
        self._inputs += 1
        if self._inputs > _INPUTS_MAX:
            raise SagaViolation(f"no end after {_INPUTS_MAX} inputs")
        before = self._instance
        self._merge(before, arrived)
        transition = advance(self._definition, before, arrived, self._now, places=self._places)
        self._instance = transition.instance
        self.entries.extend(transition.entries)
        if before.ended and (transition.effects or transition.instance != before):
            raise SagaViolation("an instance that had ended did something")
        for effect in transition.effects:
            match effect:
                case SendCommand():
                    self._make(effect)
                    requests.append(effect)
                case RunCall():
                    requests.append(effect)
                case RunLocal():
                    self._run_local(effect, requests)
                case RunHook():
                    self._end(effect)

    def _merge(self, before: Instance, arrived: Input) -> None:
        merged = [each.step for each in before.unmerged]
        if isinstance(arrived, Replied) and before.hook_failure is None and not before.ended:
            merged += [arrived.step] if arrived.body != b"{}" else []
        for step in merged:
            if self._definition.by_name[step].merge is not None:
                self._hook(f"{step} merge")

    def _make(self, effect: SendCommand) -> None:
        step = self._definition.by_name[effect.step]
        if (step.make if effect.direction is StepDirection.ACTION else step.make_compensation) is not None:
            self._hook(f"{effect.step} {effect.direction.value} make")

    def _end(self, effect: RunHook) -> None:
        completed = effect.status is SagaStatus.COMPLETED
        if (self._definition.on_completed if completed else self._definition.on_compensated) is not None:
            self._hook(f"on_{effect.status.value}")

    def _hook(self, about: str) -> None:
        """Simulate code of the definition, which may have a bug."""
        if about not in self._broken:
            fate = Fault(self._choose(about, [each.value for each in _HOOK_FATES]))
            if fate is Fault.WELL:
                return
            if fate is Fault.BUG_UNTIL_FIXED:
                self._broken.add(about)
        raise _PlannedBug(about)

    def _send(self, request: Request) -> None:
        self.participants.check_before_pivot(request)
        if request.direction is StepDirection.COMPENSATION and not self._business_failed:
            raise SagaViolation(f"'{request.step}' was compensated, although only code of the definition had failed")
        step = self._definition.by_name[request.step]
        if isinstance(request, SendCommand):
            encode_body(make_command(step, request.direction, self._instance.state))
        self._ready.append(_Held(request))

    def _run_local(self, effect: RunLocal, requests: list[Request]) -> None:
        about = f"{effect.step} {effect.direction.value}"
        if about in self._broken:
            raise _PlannedBug(about)
        fate = Fault(self._choose(about, [*(each.value for each in _HOOK_FATES), Fault.REFUSED.value]))
        if fate in {Fault.BUG, Fault.BUG_UNTIL_FIXED}:
            if fate is Fault.BUG_UNTIL_FIXED:
                self._broken.add(about)
            raise _PlannedBug(about)
        if fate is Fault.REFUSED:
            self._business_failed = True
            self._turn(LocalEnded(effect.step, effect.direction, self._instance.state, "refused"), requests)
            return
        self.participants.act_locally(effect.step, effect.direction)
        self._turn(LocalEnded(effect.step, effect.direction, self._instance.state), requests)

    def _reload(self) -> None:
        """Drop everything that is not stored, as a crash does."""
        stored = write_record(self._instance, 1, self._now)
        self._instance = replace(read_instance(stored, self._definition))
        self._now += timedelta(milliseconds=1)

    def _check(self, ended: SagaStatus) -> None:
        effects = self.participants.effects
        for step in self._definition.steps:
            count = effects.get(step.name, 0)
            if ended is SagaStatus.COMPLETED and not step.optional and count != 1:
                raise SagaViolation(f"completed, and '{step.name}' took effect {count} times")
            if ended is SagaStatus.COMPENSATED and count and (step.compensation is not None or step.pivot):
                raise SagaViolation(f"compensated, and '{step.name}' is still in effect")
