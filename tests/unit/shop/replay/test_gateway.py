"""What replay repeats, what it gives up on, and what it never does: against a gateway that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from freehold.clock import SystemClock
from freehold_shop.replay.gateway import Gateway, Refused, ReturnState, ShopRefused
from freehold_shop.replay.patience import OutOfPatience, Patience
from freehold_shop.replay.tracker import Tracker


class _Hasty(SystemClock):
    """Waits for nothing, but time passes by what it was asked to wait."""

    def __init__(self) -> None:
        self.waited_seconds = 0.0

    def monotonic(self) -> float:
        return self.waited_seconds

    async def sleep(self, seconds: float) -> None:
        self.waited_seconds += seconds
        await super().sleep(0.0)


@dataclass
class _Answers:
    """Answers in turn, the last one for ever; keeps the keys it was asked with."""

    answers: list[tuple[int, object]]
    keys: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("idempotency-key", ""))
        status, document = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(document, status=status)


@pytest.fixture
async def answering() -> AsyncIterator[tuple[web.Application, TestServer]]:
    app = web.Application()
    server = TestServer(app)
    yield app, server
    await server.close()


async def _gateway(server: TestServer, clock: _Hasty, limit_seconds: float = 30.0) -> Gateway:
    await server.start_server()
    url = str(server.make_url("")).rstrip("/")
    return Gateway(lambda: url, Patience(clock, limit_seconds), connections_max=4)


async def test_an_order_is_repeated_with_its_key_until_it_is_taken(
    answering: tuple[web.Application, TestServer],
) -> None:
    app, server = answering
    orders = _Answers([(503, {}), (500, {}), (409, {"title": "Conflict"}), (201, {"order_id": "1"})])
    app.router.add_post("/orders", orders.handle)
    async with await _gateway(server, _Hasty()) as gateway:
        assert await gateway.place("536365", {"order_id": "536365"}) is None
    assert orders.keys == ["536365"] * 4


@pytest.mark.parametrize(
    ("status", "document", "reason"),
    [
        (422, {"code": "unknown-customer"}, "unknown-customer"),
        (409, {"code": "order-exists"}, "order-exists"),
        (422, {"title": "no code"}, "refused-422"),
    ],
)
async def test_a_refusal_is_not_repeated(
    answering: tuple[web.Application, TestServer], status: int, document: dict[str, str], reason: str
) -> None:
    app, server = answering
    orders = _Answers([(status, document)])
    app.router.add_post("/orders", orders.handle)
    async with await _gateway(server, _Hasty()) as gateway:
        assert await gateway.place("1", {}) == Refused(reason)
    assert len(orders.keys) == 1


@pytest.mark.parametrize(
    ("known", "keys"), [([{"order_id": "1", "status": "confirmed"}], ["1"]), ([], ["1", "1-again"])]
)
async def test_an_order_whose_key_was_used_before_an_upgrade_is_looked_up(
    answering: tuple[web.Application, TestServer], known: list[dict[str, str]], keys: list[str]
) -> None:
    """The shop does not know the answer of then; it knows the order."""
    app, server = answering
    orders = _Answers([(409, {"code": "key-from-before"}), (201, {"order_id": "1"})])
    app.router.add_post("/orders", orders.handle)
    app.router.add_post("/orders/query", _Answers([(200, known)]).handle)
    async with await _gateway(server, _Hasty()) as gateway:
        assert await gateway.place("1", {"order_id": "1"}) is None
    assert orders.keys == keys


@pytest.mark.parametrize(("status", "keys"), [(200, ["r1"]), (404, ["r1", "r1-again"])])
async def test_a_return_whose_key_was_used_before_an_upgrade_is_looked_up(
    answering: tuple[web.Application, TestServer], status: int, keys: list[str]
) -> None:
    """As an order is."""
    app, server = answering
    found = {"return_ref": "r1", "status": "completed"}
    returns = _Answers([(409, {"code": "key-from-before"}), (201, found)])
    app.router.add_post("/returns", returns.handle)
    app.router.add_get("/returns/r1", _Answers([(status, found if status == 200 else {})]).handle)
    async with await _gateway(server, _Hasty()) as gateway:
        assert await gateway.request_return("r1", {}) == ReturnState("r1", "completed")
    assert returns.keys == keys


async def test_patience_runs_out_and_tells_what_was_wrong(answering: tuple[web.Application, TestServer]) -> None:
    app, server = answering
    app.router.add_post("/orders", _Answers([(503, {})]).handle)
    async with await _gateway(server, _Hasty(), limit_seconds=20.0) as gateway:
        with pytest.raises(OutOfPatience, match="POST /orders: status 503"):
            await gateway.place("1", {})


async def test_nobody_listens(answering: tuple[web.Application, TestServer]) -> None:
    _, server = answering
    gateway = await _gateway(server, _Hasty(), limit_seconds=5.0)
    await server.close()
    async with gateway:
        with pytest.raises(OutOfPatience, match="did not answer"):
            await gateway.place("1", {})


async def test_an_order_in_flight_makes_a_return_wait(answering: tuple[web.Application, TestServer]) -> None:
    app, server = answering
    done = {"return_ref": "C1", "status": "requested", "unmatched": [], "parts": []}
    returns = _Answers([(409, {"code": "order-in-flight"}), (201, done)])
    app.router.add_post("/returns", returns.handle)
    async with await _gateway(server, _Hasty()) as gateway:
        assert await gateway.request_return("C1", {}) == ReturnState("C1", "requested")
    assert returns.keys == ["C1", "C1"]


async def test_an_intake_that_is_refused_ends_the_replay(answering: tuple[web.Application, TestServer]) -> None:
    app, server = answering
    app.router.add_post("/intake", _Answers([(422, {"products": {"status": 422, "code": "no-such-thing"}})]).handle)
    async with await _gateway(server, _Hasty()) as gateway:
        with pytest.raises(ShopRefused, match="no-such-thing"):
            await gateway.take_in({})


async def test_asking_how_orders_stand_is_no_progress(answering: tuple[web.Application, TestServer]) -> None:
    """An order that is stuck must not be waited for without end because the shop answers that it is."""
    app, server = answering
    app.router.add_post("/orders/query", _Answers([(200, [{"order_id": "1", "status": "placed"}])]).handle)
    clock = _Hasty()
    await server.start_server()
    patience = Patience(clock, 10.0)
    async with Gateway(lambda: str(server.make_url("")).rstrip("/"), patience, connections_max=4) as gateway:
        tracker = Tracker(gateway, patience, clock)
        ended = tracker.order_end("1")
        ended.send(None)
        with pytest.raises(OutOfPatience):
            await tracker.run()
        ended.close()


async def test_the_end_of_an_order_is_noticed(answering: tuple[web.Application, TestServer]) -> None:
    app, server = answering
    states = [
        (200, [{"order_id": "1", "status": "placed"}]),
        (200, [{"order_id": "1", "status": "cancelled", "reason": "declined", "ended_at_ms": 5}]),
    ]
    app.router.add_post("/orders/query", _Answers(list(states)).handle)
    clock = _Hasty()
    await server.start_server()
    patience = Patience(clock, 10.0)
    async with Gateway(lambda: str(server.make_url("")).rstrip("/"), patience, connections_max=4) as gateway:
        tracker = Tracker(gateway, patience, clock)
        running = asyncio.ensure_future(tracker.run())
        state = await asyncio.wait_for(tracker.order_end("1"), 60.0)
        running.cancel()
    assert (state.status, state.reason) == ("cancelled", "declined")
