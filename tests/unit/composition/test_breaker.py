"""The breaker: a pure decision, walked through by hand and by hypothesis beside a naive model."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from freehold.composition.breaker import (
    BreakerPhase,
    BreakerPolicy,
    BreakerState,
    CallFinished,
    CallOutcome,
    CallPermitted,
    CallRejected,
    CallRequested,
)
from freehold.errors import DeclarationError

POLICY = BreakerPolicy(window_seconds=10, calls_min=4, failure_ratio=0.5, open_seconds=5, probe_seconds=3)


class Walk:
    """The policy with its state and a time."""

    def __init__(self, policy: BreakerPolicy = POLICY) -> None:
        self.policy = policy
        self.state = BreakerState()
        self.now = 100.0

    def ask(self) -> int | None:
        """The permit, None where the call is turned away."""
        self.state, answer = self.policy.decide(self.state, CallRequested(), self.now)
        if isinstance(answer, CallRejected):
            assert answer.retry_after_seconds > 0
            return None
        assert isinstance(answer, CallPermitted)
        return answer.permit

    def end(self, permit: int, outcome: CallOutcome) -> None:
        self.state, answer = self.policy.decide(self.state, CallFinished(permit, outcome), self.now)
        assert answer is None

    def call(self, outcome: CallOutcome) -> bool:
        permit = self.ask()
        if permit is not None:
            self.end(permit, outcome)
        return permit is not None

    def phase(self) -> BreakerPhase:
        return self.state.phase

    def opened(self) -> Walk:
        for _ in range(self.policy.calls_min):
            assert self.call(CallOutcome.FAILED)
        assert self.phase() is BreakerPhase.OPEN
        return self


def test_it_opens_when_enough_calls_failed_and_not_before() -> None:
    walk = Walk()
    for outcome in (CallOutcome.SUCCEEDED, CallOutcome.FAILED, CallOutcome.SUCCEEDED):
        assert walk.call(outcome)
    assert walk.phase() is BreakerPhase.CLOSED
    assert walk.call(CallOutcome.FAILED)
    assert walk.phase() is BreakerPhase.OPEN
    assert not walk.call(CallOutcome.SUCCEEDED)


def test_failures_that_left_the_window_do_not_count() -> None:
    walk = Walk()
    for _ in range(3):
        walk.call(CallOutcome.FAILED)
    walk.now += 10
    for _ in range(3):
        walk.call(CallOutcome.FAILED)
    assert walk.phase() is BreakerPhase.CLOSED
    assert (walk.state.counted, walk.state.failed) == (3, 3)


def test_after_the_rest_one_probe_passes_and_its_success_closes() -> None:
    walk = Walk().opened()
    walk.now += 4.9
    assert walk.ask() is None
    walk.now += 0.1
    probe = walk.ask()
    assert probe is not None
    assert walk.phase() is BreakerPhase.HALF_OPEN
    assert walk.ask() is None
    walk.end(probe, CallOutcome.SUCCEEDED)
    assert walk.phase() is BreakerPhase.CLOSED
    assert walk.state.counted == 0


def test_a_probe_that_fails_opens_again_for_the_whole_rest() -> None:
    walk = Walk().opened()
    walk.now += 5
    assert walk.call(CallOutcome.FAILED)
    walk.now += 4.9
    assert walk.ask() is None
    walk.now += 0.1
    assert walk.call(CallOutcome.SUCCEEDED)
    assert walk.phase() is BreakerPhase.CLOSED


def test_a_probe_that_was_given_up_or_is_never_heard_of_makes_room_for_the_next() -> None:
    walk = Walk().opened()
    walk.now += 5
    assert walk.call(CallOutcome.ABANDONED)
    assert walk.ask() is not None
    assert walk.ask() is None
    walk.now += 3
    assert walk.ask() is not None


def test_what_began_before_says_nothing_about_now() -> None:
    walk = Walk()
    early = [walk.ask() for _ in range(3)]
    walk.opened()
    walk.now += 5
    probe = walk.ask()
    assert probe is not None
    for permit in early:
        assert permit is not None
        walk.end(permit, CallOutcome.SUCCEEDED)
    assert walk.phase() is BreakerPhase.HALF_OPEN
    walk.end(probe, CallOutcome.SUCCEEDED)
    for permit in early:
        assert permit is not None
        walk.end(permit, CallOutcome.FAILED)
    assert (walk.phase(), walk.state.counted) == (BreakerPhase.CLOSED, 0)


@pytest.mark.parametrize("wrong", [{"window_seconds": 0}, {"calls_min": 0}, {"failure_ratio": 1.1}])
def test_numbers_that_cannot_be_meant_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DeclarationError):
        BreakerPolicy(**wrong)  # type: ignore[arg-type]  # an int is passed as the int it is


class BreakerBesideAModel(RuleBasedStateMachine):
    """Whatever happens in whatever order; the model keeps every outcome and looks at all of them each time."""

    def __init__(self) -> None:
        super().__init__()
        self.walk = Walk()
        self.under_way: list[tuple[int, int]] = []  # (era, permit)
        self.era = 0
        self.outcomes: list[tuple[float, bool]] = []
        self.phase = BreakerPhase.CLOSED
        self.until = 0.0

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 2.9, 3.0, 5.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.walk.now += seconds

    @rule()
    def somebody_asks(self) -> None:
        permit = self.walk.ask()
        expected = self.phase is BreakerPhase.CLOSED or self.walk.now >= self.until
        assert (permit is not None) == expected
        if permit is None:
            return
        if self.phase is not BreakerPhase.CLOSED:
            self.phase, self.until = BreakerPhase.HALF_OPEN, self.walk.now + POLICY.probe_seconds
            self.era += 1
        self.under_way.append((self.era, permit))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(list(CallOutcome)))
    def a_call_ends(self, data: st.DataObject, outcome: CallOutcome) -> None:
        era, permit = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.walk.end(permit, outcome)
        if era != self.era:
            return
        if self.phase is BreakerPhase.HALF_OPEN:
            self._probed(outcome)
        elif outcome is not CallOutcome.ABANDONED:
            self.outcomes.append((self.walk.now, outcome is CallOutcome.FAILED))
            counted, failed = self._window()
            if counted >= POLICY.calls_min and failed >= POLICY.failure_ratio * counted:
                self._open()

    def _probed(self, outcome: CallOutcome) -> None:
        if outcome is CallOutcome.FAILED:
            self._open()
        elif outcome is CallOutcome.SUCCEEDED:
            self.phase, self.outcomes, self.era = BreakerPhase.CLOSED, [], self.era + 1
        else:
            self.until, self.era = self.walk.now, self.era + 1

    def _open(self) -> None:
        self.phase, self.until, self.outcomes = BreakerPhase.OPEN, self.walk.now + POLICY.open_seconds, []
        self.era += 1

    def _window(self) -> tuple[int, int]:
        """The window moves in tenths."""
        tenth = POLICY.window_seconds / 10
        kept = [failed for at, failed in self.outcomes if self.walk.now // tenth - at // tenth < 10]
        return len(kept), sum(kept)

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        assert self.walk.phase() is self.phase

    @invariant()
    def it_remembers_a_bounded_number(self) -> None:
        assert len(self.walk.state.buckets) <= 10


TestBreakerBesideAModel = BreakerBesideAModel.TestCase
TestBreakerBesideAModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
