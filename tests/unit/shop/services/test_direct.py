"""Bodies that are read directly: what does not fit is named by its place, never by what is there."""

from dataclasses import dataclass

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request, Response

from freehold.http.app import install
from freehold_shop.direct import DirectRoute, described, json_answer, read_body


@dataclass(frozen=True, slots=True)
class Line:
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Body:
    customer_id: str
    lines: tuple[Line, ...]


_DECODER = msgspec.json.Decoder(Body)


async def _take(request: Request) -> Response:
    body = await read_body(request, _DECODER)
    return json_answer({"pieces": sum(line.quantity for line in body.lines)}, 201)


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = FastAPI()
    install(app)
    app.router.route_class = DirectRoute
    app.router.add_api_route("/things", _take, methods=["POST"], openapi_extra=described(Body))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")


async def test_a_body_that_fits_is_taken(client: httpx.AsyncClient) -> None:
    lines = [{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 3}]
    answer = await client.post("/things", json={"customer_id": "c", "lines": lines})
    assert (answer.status_code, answer.json()) == (201, {"pieces": 5})


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"customer_id": "c", "lines": [{"sku": "A", "quantity": "secret"}]}', "quantity"),
        (b'{"customer_id": "c", "lines": [{"sku": "secret"}]}', "lines"),
        (b'{"customer_id": ["secret"], "lines": []}', "customer_id"),
        (b'{"customer_id": "secret"', "body"),
        (b"\xff\xfe secret", "body"),
    ],
)
async def test_what_does_not_fit_is_named_by_its_place(client: httpx.AsyncClient, body: bytes, place: str) -> None:
    answer = await client.post("/things", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert place in answer.text
    assert "secret" not in answer.text


async def test_the_schema_of_the_body_is_shown(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schema = document["paths"]["/things"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["lines"]["items"]["properties"]["quantity"] == {"type": "integer"}
