"""The gateway reaches what is published and nothing else, takes no more than it can carry, and blames no service for
what its callers do.
"""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from aiohttp import web

from freehold.http.limit import BODY_BYTES_MAX
from freehold_shop import settings as shop_settings
from freehold_shop.assembly import create_app
from freehold_shop.calls import ServiceRefused, call, close_calls, fetch
from freehold_shop.gateway.app import create_gateway
from freehold_shop.settings import DEFAULT_PORTS, ShopSettings, configure


@dataclass
class Everything:
    """All services in one, which answer to every path, hidden ones too; one that holds a NUL makes them fail."""

    asked: list[str] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.raw_path}")
        self.bodies.append(len(await request.read()))
        if "%00" in request.raw_path:
            return web.json_response({}, status=500)
        if request.raw_path.startswith("/orders/refused"):
            return web.json_response({}, status=int(request.raw_path[-3:]))
        if request.raw_path == "/orders/elsewhere":
            return web.json_response({}, status=307, headers={"Location": "/healthz"})
        if request.method == "POST" and request.raw_path.endswith("/query"):
            return web.json_response([])
        return web.json_response({"order_id": "o1", "customer_id": "c1", "lines": []}, headers={"ETag": '"1"'})


@pytest.fixture
async def services() -> AsyncIterator[Everything]:
    found = Everything()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    before = shop_settings.settings()
    configure(ShopSettings(urls=dict.fromkeys(DEFAULT_PORTS, f"http://127.0.0.1:{runner.addresses[0][1]}")))
    yield found
    await close_calls()
    await runner.cleanup()
    configure(before)


@pytest.fixture
async def gateway(services: Everything) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_gateway()), base_url="http://shop") as client:
        yield client


async def _raw(method: str, target: str, content: bytes = b"") -> tuple[int, dict[str, Any]]:
    """A request as it comes over the wire: no client has tidied its path up."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"shop")],
    }
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content}

    async def send(message: Any) -> None:
        answers.append(message)

    await create_gateway()(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in answers[0]["headers"]}
    return answers[0]["status"], headers


DOTS = [".", "..", "%2e", "%2E%2e", ".%2E", "%252e%252e", "%25252e.", "..;x=1", "%2e%2e;", "..%3bx", "..%5c", "%5c.."]


@pytest.mark.parametrize("dots", DOTS)
@pytest.mark.parametrize(
    "path",
    [
        "/products/{}",
        "/products/{}/healthz",
        "/products/{}%2fhealthz",
        "/products/a/{}/x",
        "/products/a%2f{}%2fx",
        "/stock/{}%2Ffreehold%2fdatasets",
        "/stock/x%5c{}%5cx",
        "/orders/{}",
        "/orders/{}/details",
        "/customers/{}/360",
        "/customers/{}/360?from=read-model",
        "/returns/{}",
    ],
)
async def test_the_gateway_forwards_no_dot_segments(services: Everything, path: str, dots: str) -> None:
    status, headers = await _raw("GET", path.format(dots))
    assert (status, headers["content-type"], services.asked) == (400, "application/problem+json", [])


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_nor_does_it_for_what_changes_something(services: Everything, method: str) -> None:
    for path in ("/products/%2e%2e%2forders", "/shipments/%2e%2e/dispatch", "/customers/%2e"):
        status, _ = await _raw(method, path, b"{}")
        assert status in {400, 405}
    assert services.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "/freehold/datasets/x/rows",
        "/payments/o1",
        "/payments/query",
        "/reservations/o1",
        "/holds/query",
        "/products",
        "/customers/bulk/x",
        "//healthz",
        "/orders//details",
        "/orders/o1%2fx",
        "/orders/o1/",
        "/orders/o1/details/x",
        "/products//healthz",
        "/products/a//b",
        "/products/a%5cb",
        "/products/%00",
        "/products/a%0ab",
        "/products/" + "x" * 65,
        "/stock/%7f",
        "/orders/" + "x" * 65,
        "/orders/a%20b",
        "/orders/%00",
        "/orders/%C3%A9/details",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_nothing_is_reached_that_is_not_published(services: Everything, method: str, target: str) -> None:
    status, headers = await _raw(method, target, b"{}")
    assert status in {307, 404, 405, 422}
    assert services.asked == []
    if status != 307:
        assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("/products/A-1", "/products/A-1"),
        ("/products/BANK%20CHARGES", "/products/BANK%20CHARGES"),
        ("/products/a/b.c", "/products/a/b.c"),
        ("/products/a%2Fb", "/products/a/b"),
        ("/products/%C3%A9%3f%23%25", "/products/%C3%A9%3F%23%25"),
        ("/products/...", "/products/..."),
        ("/orders/a..b", "/orders/a..b"),
        ("/orders/summary", "/orders/summary"),
        ("/orders?customer_id=c1&limit=5&limit=6", "/orders?customer_id=c1&limit=5&limit=6"),
        ("/orders?customer_id=a%26b%23&secret=1&LIMIT=2", "/orders?customer_id=a%26b%23"),
        ("/customers/c1/360?from=read-model&x=%0d%0a", "/customers/c1/360"),
    ],
)
async def test_what_is_published_is_reached_with_what_is_declared(
    services: Everything, target: str, reached: str
) -> None:
    status, headers = await _raw("GET", target)
    assert (status, services.asked) == (200, [f"GET {reached}"])
    assert headers["etag"] == '"1"'


@pytest.mark.parametrize("order", ["%00", "a%00b", "%0a", "%7f", "%C2%80", "%ED%A0%80", "%FF", "x" * 65, "a%20b"])
async def test_no_order_opens_the_circuit_breaker_for_everybody(
    services: Everything, gateway: httpx.AsyncClient, order: str
) -> None:
    for path in (f"/orders/{order}/details", f"/customers/{order}/360"):
        for _ in range(8):
            answer = await gateway.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert services.asked == []
    assert (await gateway.get("/orders/o1/details")).status_code == 200
    breakers = (await gateway.get("/breakers")).json()
    assert {each["phase"] for each in breakers.values()} == {"closed"}


@pytest.mark.parametrize(("status", "told"), [(400, 400), (401, 502), (409, 502), (422, 502), (429, 503), (503, 503)])
async def test_a_refusal_of_a_service_is_told_from_its_failure(
    gateway: httpx.AsyncClient, status: int, told: int
) -> None:
    answer = await gateway.get(f"/orders/refused-{status}/details")
    assert (answer.status_code, answer.headers["content-type"]) == (told, "application/problem+json")
    assert ("retry-after" in answer.headers) == (told == 503)


async def test_a_redirect_of_a_service_is_not_followed(services: Everything, gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get("/orders/elsewhere")).status_code == 502
    assert services.asked == ["GET /orders/elsewhere"]


async def test_a_call_that_cannot_be_made_is_no_outage(services: Everything) -> None:
    for path in ("orders", "//elsewhere/", "/a b", "/a\r\nx: y", "@elsewhere/"):
        with pytest.raises(ServiceRefused):
            await call("orders", "GET", path)
    with pytest.raises(ServiceRefused):
        await call("orders", "GET", "/orders/o1", headers={"x": "a\r\nb: c"})
    with pytest.raises(ServiceRefused):
        await fetch("orders", "/orders/refused-422", dict)
    assert services.asked == ["GET /orders/refused-422"]


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65_536


@pytest.mark.parametrize("path", ["/orders", "/intake", "/returns", "/stock/receipts", "/nowhere"])
@pytest.mark.parametrize("length", [b"400000000", None], ids=["told", "in chunks"])
@pytest.mark.parametrize("key", [None, b"k1"], ids=["without a key", "with a key"])
async def test_a_body_costs_no_more_than_the_limit(
    services: Everything, path: str, length: bytes | None, key: bytes | None
) -> None:
    headers = [(b"content-length", length)] if length else []
    headers += [(b"idempotency-key", key)] if key else []
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    pieces, read, answers = _endless(), 0, []

    async def receive() -> dict[str, Any]:
        nonlocal read
        piece = next(pieces)
        read += len(piece)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        answers.append(message)

    app = create_gateway()
    tracemalloc.start()
    try:
        await app(scope, receive, send)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answers[0]["status"] == (404 if path == "/nowhere" and not length else 413)
    assert (b"content-type", b"application/problem+json") in answers[0]["headers"]
    assert services.asked == []
    assert read <= (0 if length else BODY_BYTES_MAX + 65_536)
    assert peak < 4 * BODY_BYTES_MAX


async def test_each_service_has_a_limit_too(services: Everything) -> None:
    for name in ("orders", "catalog", "users"):
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/orders",
            "query_string": b"",
            "headers": [(b"content-length", b"400000000")],
        }
        answers: list[Any] = []

        async def receive() -> dict[str, Any]:
            raise AssertionError("nothing is read")

        async def send(message: Any, answers: list[Any] = answers) -> None:
            answers.append(message)

        await create_app(name)(scope, receive, send)
        assert answers[0]["status"] == 413


async def test_the_gateway_declares_its_parameters_and_refusals() -> None:
    paths = create_gateway().openapi()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            declared = {each["name"]: each for each in operation.get("parameters", ())}
            for name in (part.strip("{}") for part in path.split("/") if part.startswith("{")):
                assert declared[name]["in"] == "path", (method, path)
                assert declared[name]["schema"]["pattern"]
            if path == "/breakers":
                continue
            assert {"400", "422"} <= operation["responses"].keys(), (method, path)
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"]
    assert {"404", "409"} <= paths["/products/{sku}"]["put"]["responses"].keys()
    assert "404" in paths["/orders/{order_id}/details"]["get"]["responses"]
    assert "409" in paths["/orders"]["post"]["responses"]
    assert {each["name"] for each in paths["/orders"]["get"]["parameters"]} >= {"customer_id", "status", "limit"}
    assert "from" in {each["name"] for each in paths["/customers/{customer_id}/360"]["get"]["parameters"]}


async def test_unknown_paths_and_methods_are_problems(gateway: httpx.AsyncClient) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/orders", 405), ("GET", "/intake", 405)):
        answer = await gateway.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_many_callers_at_once_open_no_breaker(services: Everything, gateway: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(gateway.get("/orders/%00/details") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {422}
    assert services.asked == []
