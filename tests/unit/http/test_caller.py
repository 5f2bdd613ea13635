"""Who a caller is: what the application says, else the token, else the session's cookie."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from tests.unit.http.apps import started
from tests.unit.runtime.trial import Request

from freehold import DeclarationError, Unavailable
from freehold.http import Tx, create_app
from freehold.http.caller import Callers


def _scope(path: str = "/orders", method: str = "POST", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}


async def _of(callers: Callers, **given: str) -> str:
    return await callers.scope_of(_scope(**given), "trial")


@pytest.mark.parametrize("name", ["session", "sessionid", "__Host-session", "access_token"])
async def test_sessions_are_told_apart_by_their_cookie_alone(name: str) -> None:
    callers = Callers()
    one = await _of(callers, cookie=f"{name}=1")
    assert one == await _of(callers, cookie=f"theme=dark; {name}=1; _ga=7")
    assert one != await _of(callers, cookie=f"{name}=2")
    assert one != await _of(callers)


async def test_the_cookies_that_count_can_be_named() -> None:
    callers = Callers(session_cookies=["my_login"])
    assert await _of(callers, cookie="my_login=1") != await _of(callers, cookie="my_login=2")
    assert await _of(callers, cookie="session=1") == await _of(callers)


async def test_the_token_goes_before_the_cookie_and_nothing_is_mistaken_for_it() -> None:
    callers = Callers()
    assert await _of(callers, authorization="a", cookie="session=1") == await _of(callers, authorization="a")
    assert await _of(callers, authorization="a") != await _of(callers, cookie="session=a")
    named = Callers(lambda _request: "a")
    assert await _of(named) != await _of(callers, authorization="a")


async def test_a_key_counts_for_one_method_path_and_service() -> None:
    callers = Callers()
    found = {
        await callers.scope_of(_scope(path, method), service)
        for path in ("/a", "/b")
        for method in ("POST", "PUT")
        for service in ("one", "two")
    }
    assert len(found) == 8
    assert all(len(each) < 100 for each in found)


@pytest.mark.parametrize("given", [7, "7"])
async def test_an_id_may_be_a_number(given: object) -> None:
    assert await _of(Callers(lambda _request: given)) == await _of(Callers(lambda _request: "7"))


async def test_what_is_no_function_is_refused_where_it_is_written() -> None:
    with pytest.raises(DeclarationError):
        Callers("user")  # type: ignore[arg-type] # what is tested
    with pytest.raises(DeclarationError):
        Callers(session_cookies="session")


@pytest.mark.parametrize(
    ("error", "status"),
    [(HTTPException(401, "who are you?"), 401), (Unavailable("users is away"), 503), (ValueError("s3cret"), 500)],
)
async def test_a_caller_that_cannot_be_told_is_answered_and_nothing_is_done(error: Exception, status: int) -> None:
    def caller(_request: HttpRequest) -> str:
        raise error

    def routes(app: FastAPI) -> None:
        @app.post("/orders")
        async def place(tx: Tx) -> dict[str, str]:
            tx.send(Request("a", 1))
            return {}

    async with started(routes, caller=caller) as trial:
        answer = await trial.client.post("/orders", headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert "s3cret" not in answer.text
        assert answer.headers["x-correlation-id"]
        assert (await trial.client.post("/orders")).status_code == 200
        assert await trial.staged() == 1


async def test_create_app_takes_what_install_takes() -> None:
    async with started(lambda _app: None) as trial:
        with pytest.raises(DeclarationError):
            create_app(trial.running, body_bytes_max=-1)
