"""The HTTP integration: transactions end before the answer, keys answer once, problems tell no secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from tests.unit.runtime.trial import Request, memory_broker, read_topic, settings_for

from freehold import (
    ConcurrencyConflict,
    NotFound,
    Rejected,
    RunningService,
    Service,
    Unavailable,
    VersionMismatch,
    command,
)
from freehold.adapters.memory.broker import MemoryBroker
from freehold.http import Tx, create_app
from freehold.http.limit import content_length
from freehold.outbox.store import OUTBOX


class Order(BaseModel):
    key: str
    number: int


def _routes(app: FastAPI) -> None:
    @app.post("/orders", status_code=201)
    async def place(order: Order, tx: Tx) -> dict[str, str]:
        message_id = tx.send(Request(order.key, order.number))
        if order.number == 1:
            raise HTTPException(402, "no credit")
        if order.number == 2:
            raise Rejected("out-of-stock", "none left")
        if order.number == 3:
            raise ValueError("a secret: 4711")
        if order.number == 4:
            raise Unavailable("the database at 10.0.0.1 is away")
        if order.number == 5:
            raise NotFound("no such product")
        if order.number == 6:
            raise ConcurrencyConflict("somebody was first")
        if order.number == 7:
            raise VersionMismatch("the order is at version 4, not 3")
        return {"id": str(message_id)}

    @app.get("/plain")
    async def plain() -> dict[str, str]:
        return {"plain": "yes"}


def _spoilt_route(app: FastAPI) -> None:
    @app.post("/spoilt")
    async def spoil(tx: Tx) -> None:
        wrong: Any = "4711"
        tx.send(Nested((Part("a", 1), Part("b", wrong))))


@dataclass(frozen=True)
class Part:
    name: str
    number: int


@command("trial.nested")
class Nested:
    parts: tuple[Part, ...]


_TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1,b=2"}


@asynccontextmanager
async def _client() -> AsyncIterator[tuple[httpx.AsyncClient, RunningService, MemoryBroker]]:
    broker = memory_broker()
    async with RunningService(Service("trial"), settings_for("trial"), broker=broker) as running:
        app = create_app(running)
        _routes(app)
        _spoilt_route(app)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        ):
            yield client, running, broker


async def test_an_answer_below_400_comes_after_the_commit() -> None:
    async with _client() as (client, _, broker):
        correlation = uuid4()
        answer = await client.post(
            "/orders", json={"key": "a", "number": 9}, headers={"X-Correlation-Id": str(correlation), **_TRACE}
        )
        assert (answer.status_code, answer.headers["x-correlation-id"]) == (201, str(correlation))
        (sent,) = await read_topic(broker, "trial.commands", 1)
        assert (str(sent.id), sent.correlation_id) == (answer.json()["id"], correlation)
        assert sent.trace_parent == answer.headers["traceparent"] == _TRACE["traceparent"]
        assert sent.trace_state == _TRACE["tracestate"]


async def test_a_request_without_a_trace_begins_none() -> None:
    async with _client() as (client, _, broker):
        answer = await client.post("/orders", json={"key": "a", "number": 9})
        (sent,) = await read_topic(broker, "trial.commands", 1)
        assert (sent.trace_parent, "traceparent" in answer.headers) == (None, False)


async def test_every_other_answer_takes_everything_back_and_tells_no_secret() -> None:
    async with _client() as (client, running, _):
        expected = {1: 402, 2: 409, 3: 500, 4: 503, 5: 404, 6: 409, 7: 412}
        for number, status in expected.items():
            answer = await client.post("/orders", json={"key": "a", "number": number})
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status
            assert "4711" not in answer.text
            assert "10.0.0.1" not in answer.text
        assert (await running.stores[OUTBOX].stats()).pending == 0
        refused = await client.post("/orders", json={"key": "a", "number": 2})
        assert (refused.json()["code"], refused.json()["detail"]) == ("out-of-stock", "none left")


async def test_a_request_that_does_not_fit_names_the_field_and_not_its_value() -> None:
    async with _client() as (client, _, _):
        answer = await client.post("/orders", json={"key": "a", "number": "s3cret"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["at"] == ["body", "number"]
        assert "s3cret" not in answer.text


async def test_the_same_key_and_body_give_the_same_answer_and_one_effect() -> None:
    async with _client() as (client, _, broker):
        headers = {"Idempotency-Key": "once"}
        order = {"key": "a", "number": 9}
        first = await client.post("/orders", json=order, headers=headers)
        again = await client.post("/orders", json=order, headers=headers)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        other = await client.post("/orders", json={**order, "number": 10}, headers=headers)
        assert other.status_code == 422
        await client.post("/orders", json={"key": "b", "number": 1})
        await client.post("/orders", json={"key": "b", "number": 8})
        assert sorted(each.key for each in await read_topic(broker, "trial.commands", 2)) == ["a", "b"]


async def test_a_failed_request_does_not_use_its_key_up() -> None:
    async with _client() as (client, _, _):
        headers = {"Idempotency-Key": "once"}
        failed = await client.post("/orders", json={"key": "a", "number": 1}, headers=headers)
        again = await client.post("/orders", json={"key": "a", "number": 9}, headers=headers)
        assert (failed.status_code, again.status_code) == (402, 201)


async def test_concurrent_requests_of_one_key_have_one_effect() -> None:
    async with _client() as (client, _, broker):
        order = {"key": "a", "number": 9}
        answers = await asyncio.gather(
            *(client.post("/orders", json=order, headers={"Idempotency-Key": "once"}) for _ in range(8))
        )
        assert {answer.status_code for answer in answers} <= {201, 409, 503}
        assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
        await client.post("/orders", json={"key": "b", "number": 8})
        assert sorted(each.key for each in await read_topic(broker, "trial.commands", 2)) == ["a", "b"]


async def test_readiness_tells_what_is_missing_and_health_asks_nobody() -> None:
    async with _client() as (client, running, broker):
        assert (await client.get("/readyz")).status_code == 200
        broker.interrupt()
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["problems"] == {"broker": "Unavailable: the memory broker is interrupted"}
        broker.restore()
        running.draining = True
        assert (await client.get("/readyz")).json()["problems"].keys() == {"draining"}
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/plain")).json() == {"plain": "yes"}


async def test_a_caller_who_hangs_up_in_the_middle_of_a_body_causes_nothing() -> None:
    async with _client() as (client, _running, _):
        app = client._transport.app  # type: ignore[attr-defined] # the application under test
        messages: list[dict[str, object]] = [
            {"type": "http.request", "body": b'{"key": "k", "number": 9}', "more_body": True},
            {"type": "http.disconnect"},
        ]
        answers: list[object] = []

        async def receive() -> dict[str, object]:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: object) -> None:
            answers.append(message)

        headers = [(b"idempotency-key", b"half"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/orders", "raw_path": b"/orders", "query_string": b""}
        await app({**scope, "headers": headers, "scheme": "http", "server": ("t", 80)}, receive, send)
        assert answers == []
        whole = await client.post("/orders", json={"key": "k", "number": 9}, headers={"Idempotency-Key": "half"})
        assert whole.status_code == 201
        assert "idempotency-replayed" not in whole.headers


async def test_an_idempotency_key_that_no_database_keeps_is_refused() -> None:
    async with _client() as (client, _, _broker):
        for key in ("a\x00b", "x" * 256, ""):
            answer = await client.post("/orders", json={"key": "k", "number": 9}, headers={"Idempotency-Key": key})
            assert answer.status_code == 400


async def test_a_value_that_does_not_fit_is_a_422_with_the_fields_name() -> None:
    async with _client() as (client, running, _):
        answer = await client.post("/spoilt")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        (error,) = answer.json()["errors"]
        assert error == {
            "at": ["parts", "1", "number"],
            "type": "invalid_value",
            "message": "must be int, and is str",
        }
        assert "parts[1].number" in answer.json()["detail"]
        assert "4711" not in answer.text
        assert (await running.stores[OUTBOX].stats()).pending == 0


def test_a_length_of_thousands_of_digits_is_too_long_and_no_error() -> None:
    assert content_length({"headers": [(b"content-length", b"9" * 5_000)]}) > 10**15
    assert content_length({"headers": [(b"content-length", b"-1")]}) == 0
