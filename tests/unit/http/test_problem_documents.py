"""Every refusal is a problem document, of unknown paths too; none tells a value, and none grows without bound."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import Body, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError
from tests.unit.http.apps import started

from freehold.http.problems import problem_responses


class Card(BaseModel):
    kind: Literal["card"]


class Cash(BaseModel):
    kind: Literal["cash"]


class Paid(BaseModel):
    model_config = ConfigDict(extra="forbid")
    by: Annotated[Card | Cash, Field(discriminator="kind")] | None = None
    id: UUID | None = None
    code: str = ""
    rows: list[int] = []

    @field_validator("code")
    @classmethod
    def check(cls, value: str) -> str:
        if value:
            raise PydanticCustomError("own_code", "the code {value} is none", {"value": value})
        return value


def _routes(app: FastAPI) -> None:
    @app.post("/payments")
    async def pay(body: Paid) -> dict[str, str]:
        return {}

    @app.get("/refused/{number}")
    async def refuse(number: int) -> dict[str, str]:
        details: list[Any] = [
            {"status": "odd", "headers": 1, "detail": "told", "code": "c"},
            ["a", "list"],
            None,
            {"at": "\ud800"},
        ]
        raise HTTPException(status_code=499 if number == 9 else 409, detail=details[number % len(details)])

    @app.post("/texts")
    async def text(body: Annotated[str, Body()]) -> dict[str, str]:
        return {}


async def _refused(method: str, path: str, status: int, **given: Any) -> Any:
    async with started(_routes) as trial:
        answer = await trial.client.request(method, path, **given)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
        assert answer.json()["status"] == status
        assert answer.headers["x-correlation-id"]
        return answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/payments/%00/..%2f", 404),
        ("GET", "/payments", 405),
        ("DELETE", "/payments", 405),
        ("PROPFIND", "/payments", 405),
        ("GET", "/refused/s3cret", 422),
    ],
)
async def test_what_is_not_there_is_a_problem(method: str, path: str, status: int) -> None:
    answer = await _refused(method, path, status)
    assert "s3cret" not in answer.text
    if status == 405:
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"a=b", "text/plain"),
        (b"[" * 5_000, "application/json"),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_problem(content: bytes, kind: str) -> None:
    async with started(_routes) as trial:
        answer = await trial.client.post("/payments", content=content, headers={"Content-Type": kind})
        assert answer.status_code in {400, 415, 422}
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [{"by": {"kind": "s3cret"}}, {"id": "s3cret-z"}, {"code": "s3cret"}, {"rows": ["s3cret"]}, "s3cret"]
)
async def test_no_problem_quotes_what_it_refuses(body: Any) -> None:
    answer = await _refused("POST", "/payments", 422, json=body)
    assert "s3cret" not in answer.text


async def test_a_problem_is_no_larger_for_a_larger_request() -> None:
    answer = await _refused("POST", "/payments", 422, json={"rows": ["x"] * 5_000})
    assert len(answer.json()["errors"]) == 100
    answer = await _refused("POST", "/payments", 422, json={"n" * 100_000: 1})
    assert len(answer.content) < 2_000


@pytest.mark.parametrize("name", ['"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"'])
async def test_a_field_with_an_odd_name_is_a_problem_and_no_failure(name: str) -> None:
    async with started(_routes) as trial:
        headers = {"Content-Type": "application/json"}
        answer = await trial.client.post("/payments", content=f"{{{name}: 1}}".encode(), headers=headers)
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("number", range(4))
async def test_whatever_an_exception_details_is_a_problem(number: int) -> None:
    answer = await _refused("GET", f"/refused/{number}", 409)
    if number == 0:
        document = answer.json()
        assert (document["detail"], document["code"], document["headers"]) == ("told", "c", 1)


async def test_a_status_that_no_standard_knows_is_a_problem() -> None:
    assert (await _refused("GET", "/refused/9", 499)).json()["title"] == "Status 499"


async def test_problems_are_declared_in_openapi() -> None:
    app = FastAPI()

    @app.get("/a/{number}", responses=problem_responses(404, 422))
    async def a(number: int) -> None: ...

    declared = app.openapi()["paths"]["/a/{number}"]["get"]["responses"]
    for status in ("404", "422"):
        assert list(declared[status]["content"]) == ["application/problem+json"]
