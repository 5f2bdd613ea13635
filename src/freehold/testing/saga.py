"""Explores a saga through every failure of its steps, also sagas of users. Testing: imports the saga pattern.

def test_checkout_ends_well_whatever_fails() -> None:
    explore(Checkout, CheckoutState(order_id="1", ...), replies={"hold": {"hold_id": "h"}})
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from freehold.saga.definition import Saga
from freehold.saga.store import SagaStatus
from freehold.service import Service
from freehold.testing.choices import Choices, all_choices
from freehold.testing.participants import SagaViolation
from freehold.testing.saga_code import HookBench, not_called
from freehold.testing.saga_faults import Rule
from freehold.testing.saga_run import SagaRun
from freehold.testing.saga_story import call_text

__all__ = ["Exploration", "SagaEnd", "SagaViolation", "explore"]

RUNS_MAX: Final = 200_000


@dataclass(frozen=True, slots=True)
class SagaEnd:
    """How one run has ended, for `check`.

    effects  the steps whose action is in effect.
    tables   what local functions and hooks wrote into `tx.connection`; empty where no service is given.
    """

    status: SagaStatus
    state: Any
    effects: Collection[str]
    tables: Mapping[str, Any]


@dataclass(slots=True)
class Exploration:
    """The result: how many different runs there are, and how many ended with each status.

    left_out  what was not explored, in words; empty for nothing.
    """

    runs: int = 0
    statuses: Counter[SagaStatus] = field(default_factory=Counter)
    left_out: Sequence[str] = ()

    def __str__(self) -> str:
        ends = ", ".join(f"{number} {status.value}" for status, number in sorted(self.statuses.items()))
        left_out = "".join(f"\nleft out: {each}" for each in self.left_out)
        return f"{self.runs} runs: {ends}{left_out}"


def explore(
    saga: type[Saga[Any]],
    state: Any,
    *,
    replies: Mapping[str, Mapping[str, Any]] | None = None,
    faults_max: int = 2,
    failures_max: int = 2,
    remaining: Collection[str] = (),
    service: Service | None = None,
    check: Callable[[SagaEnd], None] | None = None,
    runs_max: int = RUNS_MAX,
    only: Mapping[str, str] | None = None,
) -> Exploration:
    """Simulate every run of the saga with at most `faults_max` faults, and check each of them.

    Raises `SagaViolation`, whose text is the story of a run with as few faults as possible, and `ValueError` for more
    than `runs_max` runs.

    Checks: the rules in `freehold.testing.saga_faults.Rule`, and `check`, which raises `AssertionError`. Faults: those
    in `Fault` there, for each attempt of each step; a compensation also fails up to `failures_max` times in a row. The
    replies of parallel steps arrive in every order; another order than the first counts as a fault. Between two inputs
    the instance is stored and read again.

    `replies` are the fields of each step's reply. Commands are made and replies merged by the saga's own code. With
    `service`, local functions and hooks are called as well, in transactions on a database in memory; else they are
    simulated. `remaining` names the steps whose effect may remain in a saga that is compensated. `only` repeats one
    combination. Must not be called within an event loop where `service` is given.
    """
    options = _given(replies, failures_max, remaining, service, check)
    one = partial(_one, saga, state, options, check)
    if only is not None:
        choices = Choices.of(only)
        report = Exploration(1, Counter([one(choices)]), ["all other combinations"])
        choices.check_used()
        return report
    report, cut = Exploration(), False
    for choices in all_choices(faults_max, runs_max):
        try:
            report.statuses[one(choices)] += 1
        except SagaViolation as violation:
            raise _simplest(one, violation, runs_max) from None
        report.runs += 1
        cut = cut or choices.cut
    left_out = [f"combinations of more than {faults_max} faults"] if cut else []
    if service is None and (simulated := not_called(saga.definition())):
        left_out.append(f"the code of {', '.join(simulated)}: it is called where service= is given")
    report.left_out = left_out
    return report


def _given(
    replies: Mapping[str, Mapping[str, Any]] | None,
    failures_max: int,
    remaining: Collection[str],
    service: Service | None,
    check: Callable[[SagaEnd], None] | None,
) -> dict[str, Any]:
    """The options that differ from their defaults, which decide with the combination about a run."""
    found: dict[str, Any] = {}
    if replies:
        found["replies"] = replies
    if failures_max != 2:
        found["failures_max"] = failures_max
    if remaining:
        found["remaining"] = list(remaining)
    if service is not None:
        found["service"] = service
    if check is not None:
        found["check"] = check
    return found


def _one(
    saga: type[Saga[Any]],
    state: Any,
    options: Mapping[str, Any],
    check: Callable[[SagaEnd], None] | None,
    choices: Choices,
) -> SagaStatus:
    """One run. Raises `SagaViolation` with its story."""
    with _bench(options.get("service")) as bench, _repeatable():
        run = SagaRun(
            saga.definition(),
            state,
            choices.choose,
            options.get("replies"),
            failures=options.get("failures_max", 2),
            remaining=options.get("remaining", ()),
            bench=bench,
        )
        try:
            ended = run.run()
            if check is not None:
                _check(check, run, ended, bench)
        except SagaViolation as violation:
            again = call_text(saga.__qualname__.rpartition(".")[2], state, options, choices.named)
            raise _told(saga, run, violation, choices.named, again) from violation.__cause__
    return ended


@contextmanager
def _bench(service: Service | None) -> Iterator[HookBench | None]:
    if service is None:
        yield None
        return
    bench = HookBench(service)
    try:
        yield bench
    finally:
        bench.close()


@contextmanager
def _repeatable() -> Iterator[None]:
    """Backoffs are drawn: the same for each run."""
    before = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(before)


def _check(check: Callable[[SagaEnd], None], run: SagaRun, ended: SagaStatus, bench: HookBench | None) -> None:
    in_effect = frozenset(name for name, number in run.participants.effects.items() if number)
    tables = bench.tables() if bench is not None else {}
    try:
        check(SagaEnd(ended, run.instance.state, in_effect, tables))
    except AssertionError as error:
        text = str(error).partition("\n")[0] or "an assertion without a text"
        raise SagaViolation(f"{getattr(check, '__name__', 'check')}: {text}", Rule.CHECK) from error


def _told(
    saga: type[Saga[Any]], run: SagaRun, violation: SagaViolation, faults: Mapping[str, str], again: str
) -> SagaViolation:
    combination = "; ".join(f"{about}: {chosen}" for about, chosen in faults.items()) or "none"
    lines = [
        f"{saga.definition().name}: {violation}",
        f"the rule: {violation.rule}",
        f"faults: {combination}",
        *run.story.render(run.instance, run.participants.effects),
        f"again: {again}",
    ]
    return SagaViolation("\n".join(lines), violation.rule, dict(faults))


def _simplest(one: Callable[[Choices], SagaStatus], found: SagaViolation, runs_max: int) -> SagaViolation:
    """A violation with the fewest faults. The one that was found may have more than it needs."""
    for faults_max in range(len(found.faults)):
        for choices in all_choices(faults_max, runs_max):
            try:
                one(choices)
            except SagaViolation as violation:
                return violation
    return found
