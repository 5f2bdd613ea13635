"""A service gives up when the budget that it was told is used up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.composition.timing import MovedClock, settle

from freehold.composition import BudgetMiddleware

Scope = dict[str, Any]


class Service:
    """Answers in two pieces, each when it is let."""

    def __init__(self) -> None:
        self.begin = asyncio.Event()
        self.end = asyncio.Event()
        self.cancelled = False

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        try:
            await self.begin.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await self.end.wait()
            await send({"type": "http.response.body", "body": b"whole"})
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def _receive() -> dict[str, Any]:
    return {"type": "http.request"}


async def _begun(service: Service, clock: MovedClock, budget: str | None) -> tuple[asyncio.Task[None], list[Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message.get("status") or message.get("body"))

    headers = [] if budget is None else [(b"freehold-budget-ms", budget.encode())]
    answering = BudgetMiddleware(service, clock=clock)({"type": "http", "headers": headers}, _receive, send)
    task = asyncio.ensure_future(answering)
    await settle()
    return task, sent


async def test_a_request_whose_time_is_over_is_cancelled_and_answered() -> None:
    service, clock = Service(), MovedClock()
    task, sent = await _begun(service, clock, "500")
    await clock.advance(0.499)
    assert (service.cancelled, sent) == (False, [])
    await clock.advance(0.001)
    await task
    assert (service.cancelled, sent[0]) == (True, 504)
    assert b'"code":"out-of-time"' in sent[1]


async def test_an_answer_that_has_begun_is_finished() -> None:
    service, clock = Service(), MovedClock()
    task, sent = await _begun(service, clock, "500")
    service.begin.set()
    await clock.advance(1.0)
    service.end.set()
    await task
    assert (service.cancelled, sent) == (False, [200, b"whole"])


@pytest.mark.parametrize("budget", [None, "soon"])
async def test_without_a_budget_there_is_no_limit(budget: str | None) -> None:
    service, clock = Service(), MovedClock()
    task, sent = await _begun(service, clock, budget)
    await clock.advance(600.0)
    service.begin.set()
    service.end.set()
    await task
    assert sent == [200, b"whole"]


async def test_cancelled_it_cancels_the_service() -> None:
    service, clock = Service(), MovedClock()
    before = asyncio.all_tasks()
    task, _ = await _begun(service, clock, "500")
    service.begin.set()
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.cancelled
    assert asyncio.all_tasks() == before


async def test_an_error_comes_through_and_other_protocols_pass() -> None:
    async def broken(scope: Any, _receive: Any, _send: Any) -> None:
        raise LookupError(scope["type"])

    async def send(_message: Any) -> None:
        raise AssertionError

    for scope in ({"type": "lifespan"}, {"type": "http", "headers": [(b"freehold-budget-ms", b"500")]}):
        with pytest.raises(LookupError):
            await BudgetMiddleware(broken, clock=MovedClock())(scope, _receive, send)
