"""A replayed answer is the first one: status, body and every header that says something, and no other caller's."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from starlette.requests import Request as HttpRequest
from tests.integration.http.conftest import Opener
from tests.unit.http.apps import Trial
from tests.unit.runtime.trial import Request

from freehold.http import Tx
from freehold.http.buffered_response import RESPONSE_BYTES_MAX
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.sql import SQL

KEY = {"Idempotency-Key": "k1"}


def _answering(response: Any) -> Any:
    def routes(app: FastAPI) -> None:
        @app.post("/orders", response_model=None)
        async def place(tx: Tx) -> Response:
            tx.send(Request("a", 1))
            made: Response = response() if callable(response) else response
            return made

    return routes


async def _twice(trial: Trial, **headers: str) -> tuple[httpx.Response, httpx.Response]:
    first = await trial.client.post("/orders", headers=KEY | headers)
    again = await trial.client.post("/orders", headers=KEY | headers)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert await trial.staged() == 1
    return first, again


async def test_a_replayed_answer_keeps_every_header_that_means_something(opened: Opener) -> None:
    given = {
        "Location": "/orders/1",
        "ETag": '"v1"',
        "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT",
        "Content-Language": "en",
        "Content-Disposition": 'attachment; filename="ré.pdf"',
        "Cache-Control": "no-store",
        "Vary": "Accept",
        "Retry-After": "7",
        "X-Total": "3",
    }

    def made() -> Response:
        response = JSONResponse({"id": 1}, 201, headers=given)
        response.raw_headers += [(b"link", b"</a>; rel=next"), (b"link", b"</b>; rel=last")]
        return response

    async with opened(_answering(made)) as trial:
        first, again = await _twice(trial)
        for name in (*given, "Content-Type", "Content-Length"):
            assert again.headers[name] == first.headers[name], name
        assert again.headers.get_list("link") == ["</a>; rel=next", "</b>; rel=last"]


async def test_a_replayed_answer_sets_no_cookie_and_is_of_its_own_connection(opened: Opener) -> None:
    def made() -> Response:
        response = JSONResponse({}, 201, headers={"Connection": "x-hop", "X-Hop": "1", "Date": "then", "X-Kept": "1"})
        response.set_cookie("basket", "of the first one")
        response.set_cookie("other", "as well")
        return response

    async with opened(_answering(made)) as trial:
        first, again = await _twice(trial)
        assert len(first.headers.get_list("set-cookie")) == 2
        for name in ("set-cookie", "connection", "x-hop", "date"):
            assert name not in again.headers
        assert again.headers["x-kept"] == "1"
        for name in ("x-correlation-id", "content-length", "content-type"):
            assert len(again.headers.get_list(name)) == 1
        assert again.headers["x-correlation-id"] != first.headers["x-correlation-id"]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Response(status_code=204),
        lambda: Response(b"\x00\xff", 200),
        lambda: Response("", 201, headers={"Location": "/orders/1"}),
        lambda: RedirectResponse("/orders/1", 303),
        lambda: Response(gzip.compress(b"{}", mtime=0), 200, {"Content-Encoding": "gzip"}, "application/json"),
    ],
    ids=["no content", "no type", "empty", "redirect", "compressed"],
)
async def test_a_replayed_answer_is_the_same_also_without_a_body_or_type(opened: Opener, made: Any) -> None:
    async with opened(_answering(made)) as trial:
        first, again = await _twice(trial)
        ours = {"x-correlation-id", "idempotency-replayed"}
        assert {name: value for name, value in again.headers.items() if name not in ours} == {
            name: value for name, value in first.headers.items() if name not in ours
        }


async def test_an_answer_too_large_to_be_kept_is_refused_and_takes_its_effect_back(opened: Opener) -> None:
    async with opened(_answering(lambda: Response(b"x" * (RESPONSE_BYTES_MAX + 1), 200))) as trial:
        answer = await trial.client.post("/orders", headers=KEY)
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "nothing was done" in answer.json()["detail"]
        assert await trial.staged() == 0
        assert (await trial.client.post("/orders")).status_code == 200
        assert await trial.staged() == 1


async def test_headers_too_large_to_be_kept_are_refused_and_take_their_effect_back(opened: Opener) -> None:
    async with opened(_answering(lambda: Response(b"", 200, {f"x-{n}": "v" * 1000 for n in range(40)}))) as trial:
        assert (await trial.client.post("/orders", headers=KEY)).status_code == 500
        assert await trial.staged() == 0


ONE = {"Authorization": "Bearer one"}


def _whose(app: FastAPI) -> None:
    @app.post("/orders", status_code=201)
    async def place(tx: Tx, request: HttpRequest) -> dict[str, str]:
        tx.send(Request("a", 1))
        return {"of": request.headers.get("authorization") or request.headers.get("cookie") or ""}

    @app.post("/returns", status_code=201)
    async def give_back(tx: Tx) -> dict[str, str]:
        tx.send(Request("a", 2))
        return {"of": "returns"}


async def _ask(trial: Trial, path: str = "/orders", **headers: str) -> tuple[bool, str]:
    answer = await trial.client.post(path, headers={**KEY, **headers})
    assert answer.status_code == 201, answer.text
    return "idempotency-replayed" in answer.headers, answer.json()["of"]


@pytest.mark.parametrize("name", ["authorization", "cookie"])
async def test_no_user_is_answered_with_another_ones_answer(opened: Opener, name: str) -> None:
    async with opened(_whose) as trial:
        for again in (False, True):
            for value in ("session=one", "session=two"):
                assert await _ask(trial, **{name: value}) == (again, value)
        assert await trial.staged() == 2


async def test_requests_without_a_caller_share_one_scope_for_each_route(opened: Opener) -> None:
    async with opened(_whose) as trial:
        assert await _ask(trial) == (False, "")
        assert await _ask(trial) == (True, "")
        assert await _ask(trial, "/returns") == (False, "returns")
        assert await _ask(trial, "/returns") == (True, "returns")
        assert (await _ask(trial, cookie="theme=dark"))[0], "a cookie that is no session tells nobody apart"


async def test_a_caller_that_is_named_keeps_its_keys_where_tokens_rotate(opened: Opener) -> None:
    async def caller(request: HttpRequest) -> str | None:
        await asyncio.sleep(0)
        return request.headers.get("x-user")

    async with opened(_whose, caller=caller) as trial:
        assert await _ask(trial, authorization="t1", **{"x-user": "u1"}) == (False, "t1")
        assert await _ask(trial, authorization="t2", **{"x-user": "u1"}) == (True, "t1")
        assert await _ask(trial, authorization="t1", **{"x-user": "u2"}) == (False, "t1")
        assert await _ask(trial, authorization="t1") == (False, "t1"), "nobody is named: the token tells"


async def test_what_identifies_a_caller_is_not_stored(opened: Opener) -> None:
    async with opened(_whose) as trial:
        await _ask(trial, authorization="Bearer s3cret")
        if SQL not in trial.running.stores:
            return
        async with trial.running.stores[SQL].direct() as sql:
            rows = await sql.fetch("SELECT scope, key, fingerprint FROM freehold_idempotency", ())
        assert [len(row) for row in rows] == [3]
        assert "s3cret" not in repr([tuple(row) for row in rows])


async def test_two_requests_of_one_key_at_once_have_one_effect_and_one_answer(opened: Opener) -> None:
    async with opened(_whose) as trial:
        answers = await asyncio.gather(*(trial.client.post("/orders", headers=KEY | ONE) for _ in range(6)))
        assert {answer.status_code for answer in answers} <= {201, 409, 503}
        assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
        assert await trial.staged() == 1


async def test_a_key_of_before_the_upgrade_has_no_second_effect_and_tells_nobody_its_answer(opened: Opener) -> None:
    async with opened(_whose) as trial:
        stores = trial.running.stores
        async with stores.database.begin() as db_tx:
            await stores[IDEMPOTENCY].claim(db_tx, "trial:http", "k1", "f")
            await stores[IDEMPOTENCY].complete(
                db_tx, "trial:http", "k1", StoredResponse("f", 201, "text/plain", b"s3cret")
            )
        for headers in (KEY, KEY | ONE):
            answer = await trial.client.post("/orders", headers=headers)
            assert (answer.status_code, "s3cret" in answer.text) == (409, False)
        assert await trial.staged() == 0
        assert (await trial.client.post("/orders", headers={"Idempotency-Key": "k2"})).status_code == 201


async def test_a_request_that_is_killed_in_the_middle_leaves_its_key_free(opened: Opener) -> None:
    begun = asyncio.Event()

    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201)
        async def place(tx: Tx, hang: bool = False) -> dict[str, str]:
            tx.send(Request("a", 1))
            begun.set()
            if hang:
                await asyncio.Event().wait()
            return {}

    async with opened(routes) as trial:
        killed = asyncio.create_task(trial.client.post("/orders", headers=KEY, params={"hang": True}))
        async with asyncio.timeout(30):
            await begun.wait()
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        assert await trial.staged() == 0
        answer = await trial.client.post("/orders", headers=KEY)
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)
        assert await trial.staged() == 1


async def test_an_answer_that_never_ends_whole_is_a_failure_and_takes_its_effect_back(opened: Opener) -> None:
    def routes(app: FastAPI) -> None:
        @app.post("/orders", response_model=None)
        async def place(tx: Tx) -> Response:
            tx.send(Request("a", 1))
            return Half()

    class Half(Response):
        async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async with opened(routes) as trial:
        answer = await trial.client.post("/orders", headers=KEY)
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert await trial.staged() == 0


async def _asked(trial: Trial, more: dict[str, Any]) -> list[Any]:
    """The messages of the answer to a request with a key, from a server that can do what `more` says."""
    messages, sent = iter([{"type": "http.request", "body": b""}]), []
    scope = {"type": "http", "method": "POST", "path": "/orders", "query_string": b"", **more}

    async def receive() -> dict[str, Any]:
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()
        return message or {}

    async def send(message: Any) -> None:
        sent.append(message)

    await trial.app({**scope, "headers": [(b"idempotency-key", b"k")]}, receive, send)
    return sent


async def test_files_early_hints_and_trailers_are_kept_as_a_plain_answer(opened: Opener, tmp_path: Path) -> None:
    """A server that sends files by name gives the body to nobody, so with a key it is not asked to."""
    (tmp_path / "bill.txt").write_text("a bill")
    extensions: dict[str, Any] = {
        "http.response.pathsend": {},
        "http.response.trailers": {},
        "http.response.early_hint": {},
    }

    def routes(app: FastAPI) -> None:
        @app.post("/orders", response_model=None)
        async def place(tx: Tx, request: HttpRequest) -> Response:
            tx.send(Request("a", 1))
            await request.send_early_hints("</a.css>; rel=preload")
            return FileResponse(tmp_path / "bill.txt")

    async with opened(routes) as trial:
        bodies = []
        for _ in range(2):
            sent = await _asked(trial, {"extensions": extensions})
            assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
            bodies.append(sent[1]["body"])
        assert bodies == [b"a bill", b"a bill"]
        assert await trial.staged() == 1
