"""Calls: one limit for all attempts, at most one more, and none where the service fails anyhow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.composition.played import Services, always, gone, hang, reply
from tests.unit.composition.timing import MovedClock, settle

from freehold.clock import SystemClock
from freehold.composition import (
    BUDGET_HEADER,
    BreakerPhase,
    BreakerPolicy,
    Budget,
    CallFailed,
    Composer,
    Composition,
    Missing,
    Read,
    Reason,
    Reply,
    Request,
    within,
)
from freehold.composition.client import RETRY, Client
from freehold.policy import Retry

POLICY = BreakerPolicy(window_seconds=10, calls_min=3, open_seconds=5, slow_seconds=0.5)
ONCE = Retry(attempts=1)


def caller(services: Services, clock: MovedClock, retry: Retry = ONCE) -> Client:
    return Client(services, clock, POLICY, retry)


def request(limit_seconds: float = 1.0) -> Request:
    return Request("s", "GET", "/", limit_seconds=limit_seconds)


async def fails(calling: Client, clock: MovedClock, wanted: Request | None = None, seconds: float = 9.0) -> CallFailed:
    task = asyncio.create_task(calling.call(wanted or request(), Budget(seconds, clock)))
    await clock.advance(seconds)
    with pytest.raises(CallFailed) as failed:
        await task
    return failed.value


def once_then(first: Callable[[Request], Any], then: Callable[[Request], Any]) -> Callable[[Request], Any]:
    answers = iter([first])

    async def answer(wanted: Request) -> Reply:
        answered: Reply = await next(answers, then)(wanted)
        return answered

    return answer


@pytest.mark.parametrize("first", [gone, always({}, 503), always({}, 500)])
async def test_a_quick_failure_is_tried_once_more(first: Callable[[Request], Any]) -> None:
    clock = MovedClock()
    services = Services({"s": once_then(first, always({"ok": True}))})
    task = asyncio.create_task(caller(services, clock, RETRY).call(request(), Budget(9, clock)))
    await clock.advance(0.024)
    assert len(services.requests) == 1
    await clock.advance(0.026)
    assert (await task).status == 200
    services.answers["s"] = gone
    assert (await fails(caller(services, clock, RETRY), clock)).reason is Reason.UNAVAILABLE
    assert len(services.requests) == 4


@pytest.mark.parametrize("answer", [hang, always({}, 503, retry_after="1"), always({}, 429), always({}, 504)])
async def test_what_will_not_be_better_in_a_moment_is_not_tried_again(answer: Callable[[Request], Any]) -> None:
    clock = MovedClock()
    services = Services({"s": answer})
    await fails(caller(services, clock, RETRY), clock)
    assert len(services.requests) == 1


async def test_it_is_not_tried_again_without_the_time_for_it() -> None:
    clock = MovedClock()
    services = Services({"s": gone})
    await fails(caller(services, clock, RETRY), clock, seconds=0.02)
    assert len(services.requests) == 1


async def test_it_is_not_tried_again_where_that_failure_opened_the_breaker() -> None:
    clock = MovedClock()
    services = Services({"s": gone})
    calling = caller(services, clock, RETRY)
    await fails(calling, clock)
    assert (await fails(calling, clock, seconds=0.04)).reason is Reason.UNAVAILABLE
    assert len(services.requests) == 3
    assert calling.breakers()["s"].phase is BreakerPhase.OPEN


async def test_an_open_breaker_spares_the_service_until_a_probe_succeeds() -> None:
    clock = MovedClock()
    services = Services({"s": always({}, 503), "other": always({})})
    calling = caller(services, clock)
    for _ in range(3):
        await fails(calling, clock, seconds=0.1)
    for _ in range(10):
        assert (await fails(calling, clock, seconds=0.1)).reason is Reason.CIRCUIT_OPEN
    assert len(services.requests) == 3
    assert (await calling.call(Request("other", "GET", "/"), Budget(1, clock))).status == 200
    shown = calling.breakers()["s"]
    assert shown.phase is BreakerPhase.OPEN
    assert shown.retry_after_seconds == pytest.approx(3.9)
    await clock.advance(5)
    services.answers["s"] = always({})
    assert (await calling.call(request(), Budget(1, clock))).status == 200
    assert calling.breakers()["s"].phase is BreakerPhase.CLOSED


async def test_one_of_many_is_the_probe() -> None:
    clock = MovedClock()
    services = Services({"s": gone})
    calling = caller(services, clock)
    for _ in range(3):
        await fails(calling, clock, seconds=0.1)
    await clock.advance(5)
    services.answers["s"] = hang
    tasks = [asyncio.create_task(calling.call(request(), Budget(0.2, clock))) for _ in range(20)]
    await settle()
    assert services.under_way == 1
    assert calling.breakers()["s"].phase is BreakerPhase.HALF_OPEN
    await clock.advance(0.2)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    reasons = [error.reason for error in ended if isinstance(error, CallFailed)]
    assert sorted(reasons) == [Reason.BUDGET, *[Reason.CIRCUIT_OPEN] * 19]


async def test_a_service_that_hangs_is_found_out_and_one_that_got_no_time_is_not() -> None:
    clock = MovedClock()
    services = Services({"s": hang})
    calling = caller(services, clock)
    for _ in range(5):
        assert (await fails(calling, clock, seconds=0.4)).reason is Reason.BUDGET
    assert calling.breakers()["s"].phase is BreakerPhase.CLOSED
    for _ in range(3):
        assert (await fails(calling, clock, seconds=0.5)).reason is Reason.BUDGET
    assert calling.breakers()["s"].phase is BreakerPhase.OPEN


async def test_a_call_with_a_short_limit_of_its_own_counts_when_that_is_over() -> None:
    clock = MovedClock()
    calling = caller(Services({"s": hang}), clock)
    for _ in range(3):
        assert (await fails(calling, clock, request(0.1), 1.0)).reason is Reason.TIMEOUT
    assert calling.breakers()["s"].phase is BreakerPhase.OPEN


async def test_what_a_service_refuses_is_no_failure_of_it() -> None:
    clock = MovedClock()
    services = Services({"s": always({}, 404)})
    calling = caller(services, clock)
    for _ in range(5):
        await calling.call(request(), Budget(1, clock))
    shown = calling.breakers()["s"]
    assert (shown.phase, shown.calls, shown.failures) == (BreakerPhase.CLOSED, 5, 0)


async def test_clients_that_leave_early_do_not_open_the_breaker() -> None:
    clock = MovedClock()
    services = Services({"s": hang})
    calling = caller(services, clock)
    for _ in range(10):
        task = asyncio.create_task(calling.call(request(), Budget(1, clock)))
        await clock.advance(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (calling.breakers()["s"].calls, services.cancelled) == (0, 10)


async def test_a_composition_says_that_the_circuit_is_open() -> None:
    clock = MovedClock()
    composer = Composer(Services({"s": gone}), breaker=POLICY, retry=ONCE, clock=clock)
    view: Composition[str] = Composition("view", budget_seconds=1)
    view.part("p", Read("s", "/{key}", dict), by=lambda found: found.given)
    reasons = [(await composer.compose(view, "x")).missing for _ in range(4)]
    assert reasons[2:] == [(Missing("p", "s", "unavailable"),), (Missing("p", "s", "circuit-open"),)]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("250", 0.25), ("99999", 2.0), (None, 2.0), ("", 2.0), ("-5", 2.0), ("1e3", 2.0), ("²", 2.0), ("0", 0.0)],
)
def test_a_budget_that_is_passed_on_is_bounded_by_ones_own(header: str | None, seconds: float) -> None:
    assert Budget.from_header(header, 2.0, MovedClock()).left_seconds() == pytest.approx(seconds)


async def test_a_retry_is_told_what_is_left() -> None:
    clock = MovedClock()

    async def slow_no(_request: Request) -> Reply:
        await clock.sleep(0.3)
        return reply({}, 500)

    services = Services({"s": once_then(slow_no, always({}))})
    task = asyncio.create_task(
        caller(services, clock, Retry(attempts=2, delay_seconds=0, draw=lambda: 0)).call(request(), Budget(1, clock))
    )
    await clock.advance(0.3)
    await task
    assert [each.headers[BUDGET_HEADER] for each in services.requests] == ["1000", "700"]


@pytest.mark.parametrize("kind", [MovedClock, SystemClock])
async def test_within_ends_the_work_before_it_says_that_time_is_over(kind: type[MovedClock | SystemClock]) -> None:
    clock, ended = kind(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await settle()
            ended.append(True)

    task = asyncio.create_task(within(clock, 0.01, work()))
    if isinstance(clock, MovedClock):
        await clock.advance(0.01)
    with pytest.raises(TimeoutError):
        await task
    assert ended == [True]
