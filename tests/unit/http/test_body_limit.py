"""Bodies are bounded: told lengths are refused at once, chunks as soon as they are too many."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request as HttpRequest
from tests.unit.http.apps import Trial, started
from tests.unit.runtime.trial import Request

from freehold import DeclarationError
from freehold.http import Tx, create_app, install

LIMIT = 64 * 1024
CHUNK = b"x" * 16_384


def _routes(app: FastAPI) -> None:
    @app.post("/orders", status_code=201)
    async def place(request: HttpRequest, tx: Tx) -> dict[str, int]:
        tx.send(Request("a", 1))
        return {"bytes": len(await request.body())}

    @app.post("/deaf", status_code=201)
    async def swallow(request: HttpRequest, tx: Tx) -> dict[str, str]:
        tx.send(Request("a", 1))
        try:
            await request.body()
        except Exception:  # noqa: BLE001 - what an application may do
            return {"went": "on"}
        return {}


class Sent:
    """A request in pieces, and what was read of it and answered to it."""

    def __init__(self, path: str, pieces: Iterator[bytes], *headers: tuple[bytes, bytes]) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": list(headers),
        }
        self.pieces = pieces
        self.read = 0
        self.answers: list[Any] = []

    async def receive(self) -> dict[str, object]:
        piece = next(self.pieces, None)
        self.read += len(piece or b"")
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(self, message: Any) -> None:
        self.answers.append(message)

    async def to(self, app: FastAPI) -> tuple[int, dict[bytes, bytes]]:
        await app(self.scope, self.receive, self.send)
        starts = [message for message in self.answers if message["type"] == "http.response.start"]
        assert len(starts) == 1
        return starts[0]["status"], dict(starts[0]["headers"])


def _endless() -> Iterator[bytes]:
    while True:
        yield CHUNK


KEYED = [(), ((b"idempotency-key", b"k"),)]


@pytest.mark.parametrize("headers", KEYED, ids=["without a key", "with a key"])
async def test_a_body_whose_length_is_told_is_refused_before_it_is_read(headers: Any) -> None:
    async with started(_routes, body_bytes_max=LIMIT) as trial:
        sent = Sent("/orders", _endless(), *headers, (b"content-length", b"400000000"))
        status, answered = await sent.to(trial.app)
        assert (status, answered[b"content-type"]) == (413, b"application/problem+json")
        assert answered[b"x-correlation-id"]
        assert (sent.read, await trial.staged()) == (0, 0)


@pytest.mark.parametrize("path", ["/orders", "/deaf"])
@pytest.mark.parametrize("headers", KEYED, ids=["without a key", "with a key"])
async def test_a_body_in_chunks_costs_no_more_than_the_limit(path: str, headers: Any) -> None:
    async with started(_routes, body_bytes_max=LIMIT) as trial:
        sent = Sent(path, _endless(), *headers)
        tracemalloc.start()
        try:
            status, answered = await sent.to(trial.app)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (status, answered[b"content-type"]) == (413, b"application/problem+json")
        assert sent.read <= LIMIT + len(CHUNK)
        assert peak < 8 * LIMIT
        assert await trial.staged() == 0, "whoever does not notice has no effect either"


async def test_a_body_as_large_as_the_limit_is_taken() -> None:
    async with started(_routes, body_bytes_max=LIMIT) as trial:
        for headers in ({}, {"Idempotency-Key": "k"}):
            answer = await trial.client.post("/orders", content=b"x" * LIMIT, headers=headers)
            assert (answer.status_code, answer.json()) == (201, {"bytes": LIMIT})
            answer = await trial.client.post("/orders", content=_chunks(LIMIT), headers={})
            assert answer.json() == {"bytes": LIMIT}
            answer = await trial.client.post("/orders", content=b"x" * (LIMIT + 1), headers=headers)
            assert answer.status_code == 413


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1024):
        yield b"x" * 1024


async def test_there_is_a_limit_where_none_is_named() -> None:
    async with started(_routes) as trial:
        for path in ("/orders", "/freehold/datasets/x/rows", "/deaf"):
            sent = Sent(path, _endless(), (b"content-length", b"400000000"))
            assert (await sent.to(trial.app))[0] == 413


@pytest.mark.parametrize("bytes_max", [-1, 1.5, "8", True])
async def test_a_limit_that_is_none_is_refused_where_it_is_written(bytes_max: Any) -> None:
    with pytest.raises(DeclarationError):
        install(FastAPI(), body_bytes_max=bytes_max)


async def test_middleware_of_the_application_goes_outside_whenever_it_is_added() -> None:
    """So that whatever it does with an answer is done with one that is committed."""
    seen: list[int] = []

    def routes(app: FastAPI) -> None:
        _routes(app)

    async with started(routes) as trial:
        app = FastAPI()

        @app.middleware("http")
        async def look(request: HttpRequest, call_next: Any) -> Any:
            response = await call_next(request)
            seen.append(await trial.staged())
            return response

        install(app)
        app.state.freehold = trial.running
        routes(app)
        other = Trial(app, trial.client, trial.running)
        for headers in KEYED:
            assert (await Sent("/orders", iter([b"x"]), *headers).to(other.app))[0] == 201
    assert seen == [1, 2]


async def test_it_is_installed_once_and_before_the_application_serves() -> None:
    async with started(_routes) as trial:
        with pytest.raises(DeclarationError, match="called before"):
            install(trial.app)
        app = FastAPI()
        await Sent("/nowhere", iter([])).to(app)
        with pytest.raises(DeclarationError, match="serves"):
            install(app)


async def test_create_app_refuses_a_limit_that_is_none() -> None:
    async with started(_routes) as trial:
        with pytest.raises(DeclarationError):
            create_app(trial.running, body_bytes_max=-1)
