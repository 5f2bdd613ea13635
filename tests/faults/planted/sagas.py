"""Bugs of sagas: their machine, their calls, their timers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.faults.planted.bug import Bug, Patch, returns
from tests.faults.planted.scenarios import QuickTransfers, QuickTrips, WokenTransfers

from freehold.adapters.memory.saga import _SAGAS, MemorySagaStore
from freehold.saga.engine import SagaEngine
from freehold.saga.instance import Phase
from freehold.saga.machine import _TransitionHandler
from freehold.saga.steps import StepDirection
from freehold.saga.store import SagaStatus
from freehold.saga.transition import TransitionState

__all__ = ["BUGS"]


def _timer_lost(patch: Patch) -> None:
    def make(claim: Callable[..., Any]) -> Callable[..., Any]:
        async def consumed(self: Any, db_tx: Any, limit: int) -> Sequence[Any]:
            found: Sequence[Any] = await claim(self, db_tx, limit)
            table = self._database._data.tables.get(_SAGAS.name, {})
            for record in found:
                table[record.id] = replace(table[record.id], due_at=None)
            return found

        return consumed

    patch.replace(MemorySagaStore, "claim_due", make)


def _another_key_for_each_attempt(patch: Patch) -> None:
    def make(keys: Callable[..., Any]) -> Callable[..., Any]:
        def with_attempt(self: Any, step: Any, direction: Any) -> tuple[str, str | None]:
            key, action_key = keys(self, step, direction)
            return f"{key}-{self.steps[step.name].attempt}", action_key

        return with_attempt

    patch.replace(TransitionState, "_keys", make)


def _another_action(patch: Patch) -> None:
    def make(keys: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(self: Any, step: Any, direction: Any) -> tuple[str, str | None]:
            key, action_key = keys(self, step, direction)
            return key, None if action_key is None else key

        return wrong

    patch.replace(TransitionState, "_keys", make)


def _late_is_accepted(patch: Patch) -> None:
    patch.replace(_TransitionHandler, "_is_awaited", returns(True))


def _one_of_two(patch: Patch) -> None:
    def start(self: Any) -> None:
        for step in self.definition.steps:
            waiting = self.steps[step.name].phase is Phase.PENDING
            if waiting and (not step.predecessors or any(self._passed(name) for name in step.predecessors)):
                self._begin(step, StepDirection.ACTION)
        if all(self._passed(step.name) for step in self.definition.steps):
            self._end(SagaStatus.COMPLETED)

    patch.replace(TransitionState, "_start_actions", lambda _: start)


def _merge_lost(patch: Patch) -> None:
    def make(put: Callable[..., Any]) -> Callable[..., Any]:
        def without(self: Any) -> None:
            if len(self.unmerged) and any(p.phase is Phase.RUNNING for p in self.steps.values()):
                self.unmerged = ()
            put(self)

        return without

    patch.replace(TransitionState, "_merge", make)


def _unknown_is_undone_by_nobody(patch: Patch) -> None:
    def to_compensate(self: Any) -> None:
        for name, progress in list(self.steps.items()):
            if progress.phase is Phase.UNKNOWN:
                self.set(name, phase=Phase.REJECTED)
        _compensate(self)

    _compensate: Callable[[Any], None] = TransitionState._start_compensations
    patch.replace(TransitionState, "_start_compensations", lambda _: to_compensate)


def _not_woken(patch: Patch) -> None:
    patch.replace(SagaEngine, "_wake", returns(None))


BUGS = (
    Bug(
        "timer-lost-on-take-over",
        "a claim consumes the timer of a saga before the claimer has done the work",
        _timer_lost,
        QuickTrips,
    ),
    Bug(
        "key-of-each-attempt",
        "each attempt of a call has an idempotency key of its own",
        _another_key_for_each_attempt,
        QuickTransfers,
    ),
    Bug(
        "compensation-of-another-action",
        "a compensation names its own key in place of that of its action",
        _another_action,
        QuickTransfers,
    ),
    Bug(
        "late-reply-accepted",
        "a late reply changes a step that has ended",
        _late_is_accepted,
        test="tests/unit/saga/test_saga_machine.py",
    ),
    Bug("parallel-step-not-awaited", "a step begins when one of its two predecessors is done", _one_of_two, QuickTrips),
    Bug("parallel-reply-lost", "of two replies to parallel steps the first is not merged", _merge_lost, QuickTrips),
    Bug(
        "unknown-outcome-not-compensated",
        "a step whose outcome is not known counts as never done",
        _unknown_is_undone_by_nobody,
        QuickTrips,
    ),
    Bug("saga-not-woken", "a transaction does not wake the loop of sagas that are due", _not_woken, WokenTransfers),
)
