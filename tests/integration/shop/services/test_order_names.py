"""Names that stand in paths: orders may not be called `.`, `..` or `summary`, and no path finds what cannot be."""

import httpx
import pytest
from tests.integration.shop.services.conftest import Opener

from freehold.errors import InvalidValue
from freehold.runtime import RunningService
from freehold_shop.assembly import create_app
from freehold_shop.orders.contracts import CheckoutMode, OrderLine
from freehold_shop.orders.placement import NewOrder, place

LINES = [{"sku": "A", "quantity": 1, "price_pence": 5}]


def _client(name: str, running: RunningService) -> httpx.AsyncClient:
    app = create_app(name, running)
    app.state.freehold = running
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://shop")


@pytest.mark.parametrize("name", [".", "..", "summary", "a\n", "", "a/b", "\x00"])
async def test_an_order_may_not_be_called_so(opened: Opener, name: str) -> None:
    body = {"order_id": name, "customer_id": "c1", "lines": LINES}
    async with opened("orders") as running, _client("orders", running) as client:
        answer = await client.post("/orders", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["at"]) == (422, ["body", "order_id"])
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", [".", "..", "summary", "a/b", "", "x" * 65])
async def test_nor_may_one_that_is_placed_from_python(opened: Opener, name: str) -> None:
    order = NewOrder(name, "c1", CheckoutMode.SAGA, "GBP", (OrderLine("A", 1, 5),))
    async with opened("orders") as running:
        with pytest.raises(InvalidValue, match="order_id"):
            async with running.transaction() as tx:
                await place(tx, order)


@pytest.mark.parametrize("name", [".", ".."])
async def test_nor_may_a_return(opened: Opener, name: str) -> None:
    body = {"return_ref": name, "customer_id": "c1", "lines": [{"sku": "A", "quantity": 1}]}
    async with opened("orders") as running, _client("orders", running) as client:
        answer = await client.post("/returns", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["at"]) == (422, ["body", "return_ref"])


@pytest.mark.parametrize("name", [".", ".."])
async def test_nor_may_a_customer(opened: Opener, name: str) -> None:
    body = {"customer_id": name, "name": "N", "email": "n@example.org", "country": "GB"}
    async with opened("users") as running, _client("users", running) as client:
        answer = await client.post("/customers", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["at"]) == (422, ["body", "customer_id"])


PATHS = {
    "orders": ["/orders/{}", "/returns/{}", "/orders?customer_id={}", "/order-summaries?customer_id={}"],
    "payments": ["/payments/{}"],
    "shipping": ["/shipments/{}"],
    "inventory": ["/reservations/{}"],
    "notifications": ["/notifications/{}"],
    "users": ["/customers/{}"],
    "reference": ["/countries/{}"],
    "overview": ["/customers/{}/360"],
}


@pytest.mark.parametrize("name", PATHS)
async def test_a_path_with_what_no_engine_keeps_is_the_callers_error(opened: Opener, name: str) -> None:
    async with opened(name) as running, _client(name, running) as client:
        for path in PATHS[name]:
            for odd in ("%00", "a%00b", "a%0A", "x" * 65, "%ED%A0%80"):
                answer = await client.get(path.format(odd))
                assert answer.status_code == 422, (path, odd, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("/readyz")).status_code == 200
