"""The gateway composes what the services answer, and says what is missing."""

from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from freehold_shop import settings as shop_settings
from freehold_shop.calls import close_calls
from freehold_shop.gateway.app import create_gateway
from freehold_shop.settings import DEFAULT_PORTS, ShopSettings, configure

ORDER = {"order_id": "o1", "customer_id": "c1", "lines": [{"sku": "A", "quantity": 1}]}


async def _answer(request: web.Request) -> web.Response:  # noqa: PLR0911 - one for each service that is played
    match (request.method, request.path):
        case ("GET", "/orders/o1"):
            return web.json_response(ORDER)
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


@pytest.fixture
async def gateway() -> AsyncIterator[httpx.AsyncClient]:
    """A gateway before services of which shipping and payments are down."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    nowhere = "http://127.0.0.1:9"
    before = shop_settings.settings()
    configure(ShopSettings(urls={**dict.fromkeys(DEFAULT_PORTS, url), "shipping": nowhere, "payments": nowhere}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_gateway()), base_url="http://shop") as client:
        yield client
    await close_calls()
    await runner.cleanup()
    configure(before)


async def test_details_hold_what_is_there_and_name_what_is_not(gateway: httpx.AsyncClient) -> None:
    details = (await gateway.get("/orders/o1/details")).json()
    assert details["order"] == ORDER
    assert (details["customer"], details["products"]) == ({"customer_id": "c1"}, [{"sku": "A"}])
    assert details["notifications"] is None
    assert {each["part"] for each in details["missing"]} == {"payment", "shipment", "stock"}
    assert (await gateway.get("/orders/o2/details")).status_code == 404


async def test_what_one_service_answers_is_passed_on(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/orders", content=b"{}", headers={"Idempotency-Key": "k1"})
    assert (answer.status_code, answer.json()) == (201, {"key": "k1"})


async def test_an_intake_is_divided_and_says_who_did_not_take_their_share(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/intake", json={"products": [], "customers": []})
    assert (answer.status_code, set(answer.json())) == (200, {"products", "customers"})
    answer = await gateway.post("/intake", json={"products": [], "stock": {"receipt_ref": "r"}})
    assert answer.status_code == 404
    assert (await gateway.post("/intake", json={"goods": []})).status_code == 422
