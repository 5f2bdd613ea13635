"""The machine, input by input: what the exploration covers as a whole is told here case by case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.unit.saga.shapes import ORDER, Calling, Capture, Checkout, Hold, Notify, Order, Parallel, Reserve, Void

from freehold.errors import CodecError
from freehold.saga import DecisionRefused, Saga, step
from freehold.saga.document import read_instance, read_progress, write_record
from freehold.saga.exchange import (
    CallEnded,
    Input,
    LocalEnded,
    OperatorAction,
    OperatorDecided,
    Outcome,
    Replied,
    RunCall,
    RunLocal,
    SendCommand,
    Started,
    TimerDue,
)
from freehold.saga.instance import Phase
from freehold.saga.machine import advance, begin
from freehold.saga.steps import StepDirection
from freehold.saga.store import JournalEntry, SagaStatus
from freehold.saga.timeline import sequence, timeline

NOW = datetime(2024, 1, 1, tzinfo=UTC)
ACTION, UNDO = StepDirection.ACTION, StepDirection.COMPENSATION


@dataclass
class Life:
    """An instance and everything that came of its inputs."""

    saga: type[Saga[Any]]
    state: Order = ORDER
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.instance = begin(self.saga.definition(), self.state, UUID(int=7), UUID(int=8), self.now)
        self.effects: list[object] = []
        self.entries: list[JournalEntry] = []
        self.take(Started())

    def take(self, arrived: Input) -> list[object]:
        transition = advance(self.saga.definition(), self.instance, arrived, self.now)
        self.instance = transition.instance
        self.effects += transition.effects
        self.entries += transition.entries
        return list(transition.effects)

    def done(self, name: str, direction: StepDirection = ACTION, attempt: int = 1) -> list[object]:
        return self.take(Replied(name, direction, attempt, Outcome.DONE))

    def rejected(
        self, name: str, code: str = "no", direction: StepDirection = ACTION, attempt: int = 1
    ) -> list[object]:
        return self.take(Replied(name, direction, attempt, Outcome.REJECTED, code=code))

    def timer(self) -> list[object]:
        assert self.instance.due is not None
        self.now = self.instance.due
        return self.take(TimerDue())

    def status(self) -> SagaStatus:
        return self.instance.status

    def phase(self, name: str) -> Phase:
        return self.instance.steps[name].phase


def _names(effects: list[object]) -> list[tuple[str, StepDirection]]:
    return [(e.step, e.direction) for e in effects if isinstance(e, SendCommand | RunCall | RunLocal)]


def test_parallel_steps_begin_together_and_are_joined() -> None:
    life = Life(Parallel)
    assert _names(life.effects) == [("begin", ACTION)]
    effects = life.take(LocalEnded("begin", ACTION, ORDER))
    assert _names(effects) == [("reserve", ACTION), ("hold", ACTION)]
    assert _names(life.done("reserve")) == [("extra", ACTION)]
    assert _names(life.done("hold")) == [("ship", ACTION)]


def test_what_is_under_way_beside_a_refused_step_is_compensated_at_once() -> None:
    life = Life(Parallel)
    life.take(LocalEnded("begin", ACTION, ORDER))
    effects = life.rejected("reserve", "out-of-stock")
    assert _names(effects) == [("hold", UNDO)]
    assert life.instance.failure == "out-of-stock"
    assert _names(life.take(Replied("hold", UNDO, 1, Outcome.NO_EFFECT))) == [("begin", UNDO)]
    assert life.take(LocalEnded("begin", UNDO, ORDER)) == []  # it has no hook to run
    assert life.instance.status is SagaStatus.COMPENSATED


def test_a_late_refusal_of_a_doubtful_step_spares_its_compensation() -> None:
    life = Life(Parallel)
    life.take(LocalEnded("begin", ACTION, ORDER))
    life.done("reserve")
    life.rejected("hold")
    assert (life.phase("extra"), life.phase("reserve")) == (Phase.COMPENSATING, Phase.DONE)


def test_a_running_call_is_waited_for_before_its_compensation() -> None:
    life = Life(Calling)
    assert life.effects == []
    assert _names(life.take(TimerDue())) == [("quote", ACTION)]
    life.take(CallEnded("quote", ACTION, 1, Outcome.DONE, b'{"hold_id":"q"}'))
    life.take(TimerDue())
    assert life.rejected("reserve") == []
    assert life.phase("second") is Phase.RUNNING
    life.take(CallEnded("second", ACTION, 1, Outcome.FAILED, error=OSError()))
    assert life.phase("second") is Phase.COMPENSATING
    assert _names(life.timer()) == [("second", UNDO)]


def test_a_call_that_nobody_has_begun_needs_no_compensation() -> None:
    life = Life(Calling)
    life.take(TimerDue())
    life.take(CallEnded("quote", ACTION, 1, Outcome.DONE))
    life.rejected("reserve")
    assert life.phase("second") is Phase.REJECTED
    assert life.phase("quote") is Phase.COMPENSATING


def test_a_pivot_in_doubt_is_repeated_and_then_waits_for_a_person_and_for_its_answer() -> None:
    life = Life(Checkout, replace(ORDER, hold_id="h"))
    for name in ("reserve", "hold", "ship"):
        life.done(name)
    while life.status() is SagaStatus.RUNNING:
        life.timer()
    assert life.status() is SagaStatus.NEEDS_ATTENTION
    assert life.instance.due is None
    assert all(effect.direction is ACTION for effect in life.effects if isinstance(effect, SendCommand))
    assert _names(life.done("capture", attempt=3)) == [("confirm", ACTION)]
    assert life.status() is SagaStatus.RUNNING


def test_a_refused_pivot_leads_back() -> None:
    life = Life(Checkout)
    for name in ("reserve", "hold", "ship"):
        life.done(name)
    assert _names(life.rejected("capture", "expired")) == [("ship", UNDO)]


def test_a_step_behind_the_pivot_waits_for_a_person_when_refused_and_is_repeated_with_a_new_key() -> None:
    life = Life(Parallel)
    life.take(LocalEnded("begin", ACTION, ORDER))
    for name in ("reserve", "hold", "extra", "ship", "capture"):
        life.done(name)
    life.rejected("confirm")
    assert life.status() is SagaStatus.NEEDS_ATTENTION
    life.take(OperatorDecided(OperatorAction.RETRY, "confirm", "mended"))
    first, second = [e for e in life.effects if isinstance(e, SendCommand) and e.step == "confirm"]
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.idempotency_key != second.idempotency_key
    life.done("confirm", attempt=1)
    assert life.status() is SagaStatus.RUNNING
    life.done("confirm", attempt=2)
    assert life.status() is SagaStatus.COMPLETED


def test_an_optional_step_fails_alone() -> None:
    life = Life(Checkout, replace(ORDER, hold_id="h"))
    for name in ("reserve", "hold", "ship", "capture"):
        life.done(name)
    life.take(LocalEnded("confirm", ACTION, ORDER))
    assert life.rejected("notify") == []  # it has no hook to run
    assert life.instance.due is None


def test_the_deadline_turns_round_only_while_there_is_a_way_back() -> None:
    early = Life(Parallel)
    early.take(LocalEnded("begin", ACTION, ORDER))
    early.now += timedelta(seconds=601)
    early.take(TimerDue())
    assert early.instance.failure == "deadline-passed"

    late = Life(Parallel)
    late.take(LocalEnded("begin", ACTION, ORDER))
    for name in ("reserve", "hold", "extra", "ship", "capture"):
        late.done(name)
    late.now += timedelta(seconds=601)
    late.take(TimerDue())
    assert late.instance.machine_status is SagaStatus.RUNNING


def test_a_timer_that_comes_early_or_twice_changes_nothing() -> None:
    life = Life(Checkout)
    life.instance = replace(life.instance, due=None)
    before = life.instance.steps
    assert life.take(TimerDue()) == []
    assert life.instance.steps == before


def test_a_timer_is_believed_although_the_own_clock_is_behind() -> None:
    life = Life(Checkout)
    life.now -= timedelta(hours=1)
    life.take(TimerDue())
    assert [entry.what for entry in life.entries][-1] == "failed"


def test_the_reason_is_told_to_a_state_that_asks_for_it() -> None:
    life = Life(Checkout)
    life.rejected("reserve", "out-of-stock")
    assert life.instance.state.failure == "out-of-stock"


def test_decisions_that_fit_nothing_are_refused() -> None:
    life = Life(Checkout)
    with pytest.raises(DecisionRefused, match="no step waits"):
        life.take(OperatorDecided(OperatorAction.RETRY))
    with pytest.raises(DecisionRefused, match="not step 'hold'"):
        life.take(OperatorDecided(OperatorAction.SKIP, "hold"))


def test_replies_are_merged_by_name_or_by_function() -> None:
    @dataclass(frozen=True)
    class Held:
        hold_id: str

    class Merging(Saga[Order], name="orders.merging", key="order_id"):
        reserve = step(
            Reserve,
            no_compensation=True,
            merge=lambda state, reply: replace(state, seen=(reply["place"],)),
            timeout_seconds=1,
        )
        hold = step(
            Hold, compensation=Void, after=reserve, reply=Held, merge=lambda s, r: replace(s, hold_id=r.hold_id)
        )
        capture = step(Capture, pivot=True, after=hold, make=lambda state: Capture(state.order_id, state.hold_id))
        notify = step(Notify, optional=True, after=capture)

    life = Life(Merging)
    life.take(Replied("reserve", ACTION, 1, Outcome.DONE, b'{"place":"shelf 3"}'))
    with pytest.raises(CodecError, match="'hold'"):
        life.take(Replied("hold", ACTION, 1, Outcome.DONE, b'{"hold_id":3}'))
    life.take(Replied("hold", ACTION, 1, Outcome.DONE, b'{"hold_id":"h"}'))
    life.take(Replied("capture", ACTION, 1, Outcome.DONE, b'{"unknown":1,"quantity":5}'))
    assert life.instance.state == Order("order-1", quantity=5, hold_id="h", seen=("shelf 3",))


def test_an_instance_survives_its_document() -> None:
    life = Life(Parallel)
    life.take(LocalEnded("begin", ACTION, ORDER))
    life.rejected("reserve")
    record = write_record(life.instance, 3, life.now)
    assert read_instance(record, Parallel.definition()) == life.instance
    assert read_progress(record) == life.instance.steps
    assert record.due_seconds == pytest.approx(30)
    assert ORDER.order_id not in repr(replace(record, key=""))


def test_the_stored_names_of_a_document_stay() -> None:
    instance = replace(Life(Checkout).instance, pending_continuation=True, unmerged_failure=True)
    record = write_record(instance, 1, NOW)
    assert b'"unsettled":true,"untold":true' in record.document
    assert read_instance(record, Checkout.definition()) == instance


@pytest.mark.parametrize(
    ("document", "says"),
    [(b"{", "cannot be read"), (b'{"format":9,"machine_status":"running","state":{},"steps":{}}', "format 9")],
)
def test_a_document_that_is_not_understood_is_refused(document: bytes, says: str) -> None:
    record = replace(write_record(Life(Checkout).instance, 1, NOW), document=document)
    with pytest.raises(CodecError, match=says):
        read_instance(record, Checkout.definition())


def test_a_definition_that_changed_without_a_new_version_is_refused() -> None:
    record = write_record(Life(Checkout).instance, 1, NOW)
    with pytest.raises(CodecError, match=r"started with other steps.*next version"):
        read_instance(record, Parallel.definition())


def test_a_timeline_tells_what_happened_and_when() -> None:
    life = Life(Checkout)
    life.done("reserve")
    life.now += timedelta(seconds=1.5)
    life.rejected("hold", "declined; `drop`")
    record = write_record(life.instance, 3, life.now)
    text = timeline(record, life.entries)
    assert "orders.checkout version 1, order-1: compensating because of 'declined; `drop`'" in text
    assert "    +1.500 s  hold     rejected #1  declined; `drop`" in text
    drawn = sequence(record, life.entries)
    assert "saga->>reserve: requested, attempt 1\n" in drawn
    assert "`" not in drawn
    assert ";" not in drawn
