"""What an application does behind its answer comes after the commit, and not at all where there was none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.requests import Request as HttpRequest
from tests.integration.http.conftest import Opener
from tests.unit.http.apps import Trial
from tests.unit.runtime.trial import Request

from freehold import ConcurrencyConflict, Rejected, Transaction
from freehold.errors import TransactionEnded
from freehold.http import Tx, transaction

KEYED = [{}, {"Idempotency-Key": "k1"}]
pytestmark = pytest.mark.parametrize("headers", KEYED, ids=["without a key", "with a key"])


class Seen:
    """What tasks saw of the database when they ran."""

    def __init__(self) -> None:
        self.trial: Trial | None = None
        self.staged: list[int] = []

    async def look(self) -> None:
        assert self.trial is not None
        self.staged.append(await asyncio.wait_for(self.trial.staged(), 60))


async def test_background_tasks_of_fastapi_run_after_the_commit(opened: Opener, headers: dict[str, str]) -> None:
    seen = Seen()

    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201)
        async def place(tx: Tx, tasks: BackgroundTasks) -> dict[str, str]:
            tx.send(Request("a", 1))
            tasks.add_task(seen.look)
            return {"placed": "yes"}

    async with opened(routes) as trial:
        seen.trial = trial
        assert (await trial.client.post("/orders", headers=headers)).status_code == 201
        assert seen.staged == [1]


async def test_the_background_task_of_a_response_can_open_a_transaction_of_its_own(
    opened: Opener, headers: dict[str, str]
) -> None:
    def routes(app: FastAPI) -> None:
        @app.post("/orders")
        async def place(tx: Tx) -> JSONResponse:
            tx.send(Request("a", 1))
            return JSONResponse({}, 201, background=BackgroundTask(again))

        async def again() -> None:
            running = app.state.freehold
            async with asyncio.timeout(60), running.transaction() as tx:
                tx.send(Request("b", 2))

    async with opened(routes) as trial:
        assert (await trial.client.post("/orders", headers=headers)).status_code == 201
        assert await trial.staged() == 2


@pytest.mark.parametrize("error", [ValueError("a secret"), Rejected("no", "no"), ConcurrencyConflict("late")])
async def test_a_background_task_that_raises_changes_no_committed_answer(
    opened: Opener, headers: dict[str, str], error: Exception
) -> None:
    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201)
        async def place(tx: Tx, tasks: BackgroundTasks) -> dict[str, str]:
            tx.send(Request("a", 1))
            tasks.add_task(fail)
            return {"placed": "yes"}

        async def fail() -> None:
            raise error

    async with opened(routes) as trial:
        answer = await trial.client.post("/orders", headers=headers)
        assert (answer.status_code, answer.json()) == (201, {"placed": "yes"})
        assert await trial.staged() == 1
        if headers:
            again = await trial.client.post("/orders", headers=headers)
            assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")


async def test_nothing_runs_behind_an_answer_whose_commit_failed(opened: Opener, headers: dict[str, str]) -> None:
    ran: list[str] = []

    def routes(app: FastAPI) -> None:
        @app.post("/orders")
        async def place(tx: Tx) -> JSONResponse:
            tx.send(Request("a", 1))
            tx.staging.companion("late", lambda: None, conflict)
            return JSONResponse({}, 201, background=BackgroundTask(ran.append, "task"))

        async def conflict(_companion: None) -> None:
            raise ConcurrencyConflict("somebody was first")

    async with opened(routes) as trial:
        answer = await trial.client.post("/orders", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
        assert (ran, await trial.staged()) == ([], 0)
        assert answer.headers["x-correlation-id"]


async def test_a_background_task_of_a_refusal_runs_and_finds_nothing(opened: Opener, headers: dict[str, str]) -> None:
    seen = Seen()

    def routes(app: FastAPI) -> None:
        @app.post("/orders")
        async def place(tx: Tx) -> JSONResponse:
            tx.send(Request("a", 1))
            return JSONResponse({}, 409, background=BackgroundTask(seen.look))

    async with opened(routes) as trial:
        seen.trial = trial
        assert (await trial.client.post("/orders", headers=headers)).status_code == 409
        assert seen.staged == [0]


async def test_a_streamed_answer_is_committed_before_it_is_sent(opened: Opener, headers: dict[str, str]) -> None:
    def routes(app: FastAPI) -> None:
        @app.post("/orders")
        async def place(tx: Tx) -> StreamingResponse:
            tx.send(Request("a", 1))
            return StreamingResponse(parts(), 201, media_type="text/plain")

        async def parts() -> AsyncIterator[str]:
            for part in ("one ", "two"):
                yield part

    async with opened(routes) as trial:
        answers = [await trial.client.post("/orders", headers=headers) for _ in range(2)]
        assert [(answer.status_code, answer.text) for answer in answers] == [(201, "one two")] * 2
        assert await trial.staged() == (1 if headers else 2)


async def test_a_stream_that_breaks_off_is_committed_without_a_key_and_taken_back_with_one(
    opened: Opener, headers: dict[str, str]
) -> None:
    """Without a key its beginning was sent; with one, nothing was."""

    def routes(app: FastAPI) -> None:
        @app.post("/orders")
        async def place(tx: Tx) -> StreamingResponse:
            tx.send(Request("a", 1))
            return StreamingResponse(parts(), 201, media_type="text/plain")

        async def parts() -> AsyncIterator[str]:
            yield "one "
            raise ValueError("a secret")

    async with opened(routes) as trial:
        answer = await trial.client.post("/orders", headers=headers)
        assert answer.status_code == (500 if headers else 201)
        assert "secret" not in answer.text
        assert await trial.staged() == (0 if headers else 1)


async def test_a_background_task_that_uses_the_requests_transaction_is_refused(
    opened: Opener, headers: dict[str, str]
) -> None:
    refused: list[BaseException] = []

    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201)
        async def place(tx: Tx, request: HttpRequest, tasks: BackgroundTasks) -> dict[str, str]:
            tx.send(Request("a", 1))
            tasks.add_task(late, tx, request)
            return {}

        @app.post("/plain", status_code=201)
        async def plain(request: HttpRequest, tasks: BackgroundTasks) -> dict[str, str]:
            tasks.add_task(late, None, request)
            return {}

        async def late(tx: Transaction | None, request: HttpRequest) -> None:
            for use in (lambda: tx and tx.send(Request("b", 2)), lambda: transaction(request)):
                try:
                    found = use()
                    if found is not None:
                        await found  # type: ignore[misc] # an id cannot be awaited, and is not given
                except TransactionEnded as error:
                    refused.append(error)

    async with opened(routes) as trial:
        assert (await trial.client.post("/orders", headers=headers)).status_code == 201
        assert len(refused) == 2
        assert (await trial.client.post("/plain", headers=headers)).status_code == 201
        assert len(refused) == 3
        assert "committed" in str(refused[-1])
        assert await trial.staged() == 1


async def test_a_stream_that_uses_the_requests_transaction_is_refused(opened: Opener, headers: dict[str, str]) -> None:
    """With a key the answer is held back whole, and so is its commit: the stream is part of the request then."""
    refused: list[BaseException] = []

    def routes(app: FastAPI) -> None:
        @app.post("/orders")
        async def place(tx: Tx) -> StreamingResponse:
            tx.send(Request("a", 1))
            return StreamingResponse(parts(tx), 201, media_type="text/plain")

        async def parts(tx: Transaction) -> AsyncIterator[str]:
            yield "one "
            try:
                tx.send(Request("b", 2))
            except TransactionEnded as error:
                refused.append(error)
            yield "two"

    async with opened(routes) as trial:
        answer = await trial.client.post("/orders", headers=headers)
        assert (answer.status_code, answer.text) == (201, "one two")
        assert (len(refused), await trial.staged()) == ((0, 2) if headers else (1, 1))


async def test_what_a_dependency_does_after_yield_comes_after_the_end(opened: Opener, headers: dict[str, str]) -> None:
    refused: list[BaseException] = []
    raised: list[BaseException] = []

    async def late(tx: Tx) -> AsyncIterator[None]:
        try:
            yield
        except ConcurrencyConflict as error:
            raised.append(error)
            raise
        try:
            tx.send(Request("b", 2))
        except TransactionEnded as error:
            refused.append(error)

    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201, dependencies=[Depends(late)])
        async def place(tx: Tx, conflict: bool = False) -> dict[str, str]:
            tx.send(Request("a", 1))
            if conflict:
                tx.staging.companion("late", lambda: None, fail)
            return {}

        async def fail(_companion: None) -> None:
            raise ConcurrencyConflict("somebody was first")

    async with opened(routes) as trial:
        answer = await trial.client.post("/orders", headers=headers, params={"conflict": True})
        assert (answer.status_code, len(raised), await trial.staged()) == (409, 1, 0)
        assert (await trial.client.post("/orders", headers=headers)).status_code == 201
        assert (len(refused), len(raised), await trial.staged()) == (1, 1, 1)
