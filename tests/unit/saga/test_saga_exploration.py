"""Every failure of every step, for sagas of several shapes; and proof that the exploration can fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.saga.shapes import ORDER, REPLIES, SHAPES, Calling, Checkout, Hooked, Parallel

from freehold.saga import Saga
from freehold.saga import transition as transitions
from freehold.saga.instance import Instance, Phase, WaitReason
from freehold.saga.machine import _TransitionHandler
from freehold.saga.steps import StepDefinition, StepDirection
from freehold.saga.store import SagaStatus
from freehold.testing import saga_run
from freehold.testing.participants import Participants, SagaViolation
from freehold.testing.saga import explore
from freehold.testing.saga_faults import Fault
from freehold.testing.saga_run import SagaRun

_start_compensations = transitions.TransitionState._start_compensations
ENDS = {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}


def test_the_checkout_ends_well_whichever_two_things_fail() -> None:
    report = explore(Checkout, ORDER, replies=REPLIES, faults_max=2)
    assert report.runs > 300
    assert set(report.statuses) == ENDS


def test_bugs_in_the_code_of_a_saga_end_well_with_another_thing_that_fails() -> None:
    report = explore(Hooked, ORDER, replies=REPLIES, faults_max=2)
    assert report.runs > 300
    assert set(report.statuses) == ENDS


def test_where_nothing_fails_but_code_everything_is_done_once_and_nothing_compensated() -> None:
    """Whatever bug there is, wherever it is: the saga completes, and no step was asked for twice."""
    bugs = {Fault.BUG: 1, Fault.BUG_UNTIL_FIXED: 8}
    places: set[str] = set()

    def life(place: str | None, fate: Fault) -> SagaRun:
        asked: set[str] = set()

        def choose(about: str, options: Sequence[str]) -> str:
            if set(bugs) & set(options):
                places.add(about)
            first = about == place and about not in asked
            asked.add(about)
            return fate.value if first else options[0]

        run = SagaRun(Hooked.definition(), ORDER, choose, REPLIES)
        assert run.run() is SagaStatus.COMPLETED
        return run

    life(None, Fault.OK)
    assert places == {"quote merge", "hold make", "hold merge", "write", "on_completed"}
    for place in sorted(places):
        for fate, failures in bugs.items():
            words = Counter((entry.step, entry.what) for entry in life(place, fate).entries)
            assert {count for (_, what), count in words.items() if what in {"requested", "done"}} == {1}
            assert sum(count for (_, what), count in words.items() if what == "hook-failed") == failures


@pytest.mark.parametrize("saga", [Parallel, Calling])
def test_parallel_steps_and_calls_end_well_whichever_thing_fails(saga: type[Saga[Any]]) -> None:
    report = explore(saga, ORDER, replies=REPLIES, faults_max=1)
    assert set(report.statuses) == ENDS


@pytest.mark.parametrize("saga", SHAPES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_mixture_of_failures_ends_well(saga: type[Saga[Any]], data: st.DataObject) -> None:
    drawn = 0

    def choose(about: str, options: Any) -> str:
        nonlocal drawn
        drawn += 1
        if drawn > 60:
            return str(options[0])
        return str(data.draw(st.sampled_from(options), label=about))

    places = data.draw(st.sampled_from((0, 1, 8)), label="places")
    run = SagaRun(saga.definition(), ORDER, choose, REPLIES, places=places)
    assert run.run() in ENDS


def _forgets_doubt(state: Any) -> None:
    """A planted fault: what timed out is taken for not having happened."""
    for name, progress in state.steps.items():
        if progress.phase is Phase.UNKNOWN:
            state.set(name, phase=Phase.REJECTED)
    _start_compensations(state)


def _ignores_order(state: Any) -> None:
    for step in state.definition.steps:
        if step.compensation is not None and state.steps[step.name].phase in {Phase.DONE, Phase.UNKNOWN}:
            state._begin(step, StepDirection.COMPENSATION)
    if all(state._has_no_effect(step.name) for step in state.definition.steps):
        state._end(SagaStatus.COMPENSATED)


def _pivot_is_no_pivot(state: Any, step: StepDefinition, reason: str, *, rejected: bool = False) -> None:
    state.set(step.name, phase=Phase.UNKNOWN, wait_reason=WaitReason.NOTHING, wait_until=None)
    state.start_compensation(reason)


def _fresh_key(*parts: object) -> str:
    return str(object())


def _fails_the_step(state: transitions.TransitionState, error: BaseException, *, outage: bool) -> None:
    """A planted fault: a bug is taken for a failure of the process."""
    state.start_compensation("bug")
    state.pending_continuation = True


def _lets_time_pass(state: transitions.TransitionState, *, noted: bool) -> None:
    state.hook_failure = None


def _loses_the_outcome(
    definition: object, instance: Instance, arrived: object, now: object, **_places: int
) -> transitions.Transition:
    return transitions.Transition(instance, (), ())


@pytest.mark.parametrize(
    ("target", "name", "fault"),
    [
        (transitions.TransitionState, "record_failure", _fails_the_step),
        (transitions.TransitionState, "resume", _lets_time_pass),
        (saga_run, "record", _loses_the_outcome),
    ],
)
def test_the_exploration_finds_planted_faults_around_bugs(
    target: object, name: str, fault: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, name, fault)
    with pytest.raises(SagaViolation):
        explore(Hooked, ORDER, replies=REPLIES, faults_max=2)


@pytest.mark.parametrize(
    ("target", "name", "fault"),
    [
        (transitions.TransitionState, "_start_compensations", _forgets_doubt),
        (transitions.TransitionState, "_start_compensations", _ignores_order),
        (_TransitionHandler, "_call_operator", _pivot_is_no_pivot),
        (transitions, "request_key", _fresh_key),
        (_TransitionHandler, "_is_awaited", lambda *_: True),
    ],
)
def test_the_exploration_finds_planted_faults(
    target: object, name: str, fault: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, name, fault)
    with pytest.raises(SagaViolation):
        explore(Checkout, ORDER, replies=REPLIES, faults_max=2)


def test_the_exploration_notices_participants_without_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the cancellation an action that arrives after its compensation stays: the invariants see it."""
    real = Participants.handle

    def forgetful(self: Participants, request: Any, *, refuse: bool = False) -> Any:
        outcome = real(self, request, refuse=refuse)
        if outcome.value == "no-effect":
            self._answers.pop(request.compensates)
        return outcome

    monkeypatch.setattr(Participants, "handle", forgetful)
    with pytest.raises(SagaViolation, match=r"timed-out|late"):
        explore(Checkout, ORDER, replies=REPLIES, faults_max=1)
