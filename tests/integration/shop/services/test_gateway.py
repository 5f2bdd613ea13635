"""The gateway composes what the services answer, says what is missing, and gives up when its client does."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
import uvicorn
from aiohttp import web
from tests.integration.shop.services.slowtime import SLOWER, slow_gateway

from freehold_shop import settings as shop_settings
from freehold_shop.calls import close_calls
from freehold_shop.gateway.app import create_gateway
from freehold_shop.settings import DEFAULT_PORTS, ShopSettings, configure

ORDER = {"order_id": "o1", "customer_id": "c1", "lines": [{"sku": "A", "quantity": 1}]}
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Played:
    """All services in one; keeps what it was asked."""

    calls: Counter[str] = field(default_factory=Counter)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:  # noqa: PLR0911 - one for each service that is played
        name = f"{request.method} {request.path}"
        self.calls[name] += 1
        self.headers[name] = {key.lower(): value for key, value in request.headers.items()}
        match (request.method, request.path):
            case ("GET", "/orders/o1" | "/orders/slow"):
                return web.json_response(ORDER, headers={"Freehold-Consistency": "t2"})
            case ("GET", "/payments/slow"):
                return await self._hang()
            case ("GET", "/customers/c1"):
                return web.json_response({"customer_id": "c1"})
            case ("POST", "/products/query"):
                return web.json_response([{"sku": "A"}])
            case ("POST", "/orders"):
                return web.json_response({"key": request.headers["idempotency-key"]}, status=201)
            case ("POST", "/products/bulk" | "/customers/bulk"):
                return web.json_response({"taken": len(await request.json())})
            case ("POST", "/stock/query"):
                return web.json_response({}, status=500)
            case _:
                return web.json_response({}, status=404)

    async def _hang(self) -> web.Response:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up.set()
        return web.json_response({})


@pytest.fixture
async def played(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Played]:
    """Services of which shipping is down."""
    slow_gateway(monkeypatch)
    services = Played()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", services.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    before = shop_settings.settings()
    configure(ShopSettings(urls={**dict.fromkeys(DEFAULT_PORTS, url), "shipping": NOWHERE}))
    yield services
    await close_calls()
    await runner.cleanup()
    configure(before)


@pytest.fixture
async def gateway(played: Played) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_gateway()), base_url="http://shop") as client:
        yield client


async def test_details_hold_what_is_there_and_name_what_is_not(played: Played, gateway: httpx.AsyncClient) -> None:
    details = (await gateway.get("/orders/o1/details")).json()
    assert details["order"] == ORDER
    assert (details["customer"], details["products"]) == ({"customer_id": "c1"}, [{"sku": "A"}])
    assert (details["payment"], details["notifications"], details["stock"]) == (None, None, None)
    assert details["missing"] == [
        {"part": "shipment", "service": "shipping", "reason": "unavailable"},
        {"part": "stock", "service": "inventory", "reason": "unavailable"},
    ]
    assert played.calls["POST /stock/query"] == 2, "a read that failed is tried once more"
    assert (await gateway.get("/orders/o2/details")).status_code == 404


async def test_details_need_orders(gateway: httpx.AsyncClient) -> None:
    configure(ShopSettings(urls={**shop_settings.settings().urls, "orders": NOWHERE}))
    await close_calls()
    answer = await gateway.get("/orders/o1/details")
    assert (answer.status_code, answer.json()["code"]) == (503, "orders-unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_headers_of_the_request_go_along_with_every_call(played: Played, gateway: httpx.AsyncClient) -> None:
    headers = {"Freehold-Consistency": "t1", "Freehold-Budget-Ms": "700", "Idempotency-Key": "k1"}
    answer = await gateway.get("/orders/o1/details", headers=headers)
    for call in ("GET /orders/o1", "GET /payments/o1", "POST /products/query"):
        assert played.headers[call]["freehold-consistency"] == "t1"
        assert played.headers[call]["x-correlation-id"] == answer.headers["x-correlation-id"]
        assert "idempotency-key" not in played.headers[call]
        assert 0 < int(played.headers[call]["freehold-budget-ms"]) <= 700
    assert answer.headers["freehold-consistency"] == "t1, t2"


async def test_a_client_that_waits_no_longer_gets_what_there_is(gateway: httpx.AsyncClient) -> None:
    details = (await gateway.get("/orders/slow/details", headers={"Freehold-Budget-Ms": "300"})).json()
    assert details["order"] == ORDER
    assert {"part": "payment", "service": "payments", "reason": "budget"} in details["missing"]


async def test_a_client_that_leaves_ends_the_calls_made_for_it(played: Played) -> None:
    server = uvicorn.Server(uvicorn.Config(create_gateway(), port=0, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /orders/slow/details HTTP/1.1\r\nhost: shop\r\n\r\n")
        await played.waiting.wait()
        writer.close()
    async with asyncio.timeout(0.7 * SLOWER):  # the call's own limit is a second
        await played.given_up.wait()
    server.should_exit = True
    await serving


async def test_a_service_that_keeps_failing_is_spared(played: Played, gateway: httpx.AsyncClient) -> None:
    answers = [(await gateway.get("/orders/o1/details")).json() for _ in range(8)]
    assert {"part": "stock", "service": "inventory", "reason": "circuit-open"} in answers[-1]["missing"]
    assert played.calls["POST /stock/query"] == 5
    breakers = (await gateway.get("/breakers")).json()
    assert (breakers["inventory"]["phase"], breakers["orders"]["phase"]) == ("open", "closed")


async def test_what_one_service_answers_is_passed_on(played: Played, gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/orders", content=b"{}", headers={"Idempotency-Key": "k1"})
    assert (answer.status_code, answer.json()) == (201, {"key": "k1"})
    answer = await gateway.get("/orders/o1", headers={"Freehold-Consistency": "t1"})
    assert (played.headers["GET /orders/o1"]["freehold-consistency"], answer.headers["freehold-consistency"]) == (
        "t1",
        "t2",
    )


async def test_an_intake_is_divided_and_says_who_did_not_take_their_share(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/intake", json={"products": [], "customers": []})
    assert (answer.status_code, set(answer.json())) == (200, {"products", "customers"})
    answer = await gateway.post("/intake", json={"products": [], "stock": {"receipt_ref": "r"}})
    assert answer.status_code == 404
    assert (await gateway.post("/intake", json={"goods": []})).status_code == 422
