"""FastAPI's dependencies with `yield`: what comes after it runs behind the answer, and behind the commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession
from tests.integration.transaction.trial import Happened, Order, messages, orders

from freehold import RunningService, Transaction
from freehold.errors import TransactionEnded
from freehold.http import Tx, create_app
from freehold.sqlalchemy import connection, session

CALLS = 200


@asynccontextmanager
async def client_of(running: RunningService, routes: Callable[[FastAPI], None]) -> AsyncIterator[httpx.AsyncClient]:
    """What a server would log is raised to the caller, after the answer has come."""
    app = create_app(running)
    routes(app)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://trial") as client,
    ):
        yield client


def _is_told(error: object) -> bool:
    """Starlette says that the answer has begun; its cause is the reason."""
    return isinstance(error, RuntimeError) and isinstance(error.__cause__, TransactionEnded)


async def plain_session(tx: Tx) -> AsyncIterator[AsyncSession]:
    """As in many applications: flushed when the endpoint is done."""
    async with AsyncSession(connection(tx), expire_on_commit=False) as opened:
        yield opened
        await opened.flush()


async def own_session(tx: Tx) -> AsyncIterator[AsyncSession]:
    async with session(tx) as opened:
        yield opened


DEPENDENCIES: dict[str, Callable[..., Any]] = {"plain": plain_session, "own": own_session}


@pytest.mark.parametrize("dependency", DEPENDENCIES)
async def test_nothing_is_lost_by_a_session_that_flushes_late(running: RunningService, dependency: str) -> None:
    """What the endpoint added is flushed with the commit: every answer of 201 is true."""
    depends: Any = Depends(DEPENDENCIES[dependency])

    def routes(app: FastAPI) -> None:
        @app.post("/orders/{order_id}", status_code=201)
        async def place(order_id: str, tx: Tx, opened: AsyncSession = depends) -> dict[str, str]:
            opened.add(Order(order_id=order_id))
            tx.publish(Happened(order_id))
            return {"placed": order_id}

    async with client_of(running, routes) as client:
        answers = await asyncio.gather(*(client.post(f"/orders/{number}") for number in range(CALLS)))
    assert [answer.status_code for answer in answers] == [201] * CALLS
    assert await orders(running) == CALLS
    assert await messages(running) == CALLS


@pytest.mark.parametrize("dependency", DEPENDENCIES)
async def test_what_is_written_after_the_answer_is_refused_aloud(running: RunningService, dependency: str) -> None:
    """It can be in no answer any more. It is in nobody's transaction either."""
    depends: Any = Depends(DEPENDENCIES[dependency])

    async def late(order_id: str, opened: AsyncSession = depends) -> AsyncIterator[AsyncSession]:
        yield opened
        opened.add(Order(order_id=f"late-{order_id}"))
        await opened.flush()

    after_it: Any = Depends(late)

    def routes(app: FastAPI) -> None:
        @app.post("/orders/{order_id}", status_code=201)
        async def place(order_id: str, opened: AsyncSession = after_it) -> None:
            opened.add(Order(order_id=order_id))

    async with client_of(running, routes) as client:
        answers = await asyncio.gather(
            *(client.post(f"/orders/{number}") for number in range(CALLS)), return_exceptions=True
        )
    assert all(_is_told(answer) for answer in answers), answers[:3]
    assert await orders(running) == CALLS


async def test_a_dependency_that_ends_with_its_function_may_write(running: RunningService) -> None:
    """FastAPI runs its end before the answer begins: that is where late writes belong."""

    async def late(tx: Tx) -> AsyncIterator[Transaction]:
        yield tx
        session(tx).add(Order(order_id="in time"))

    before_it: Any = Depends(late, scope="function")

    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201)
        async def place(_tx: Transaction = before_it) -> None:
            """Place it."""

    async with client_of(running, routes) as client:
        assert (await client.post("/orders")).status_code == 201
    assert await orders(running) == 1


async def test_a_streamed_answer_cannot_read_on(running: RunningService) -> None:
    """Its transaction ended when it began; it is told, instead of reading in that of another request."""

    def routes(app: FastAPI) -> None:
        @app.get("/orders")
        async def stream(tx: Tx) -> StreamingResponse:
            found = await connection(tx).stream(Order.__table__.select())

            async def lines() -> AsyncIterator[str]:
                async for row in found:
                    yield f"{row.order_id}\n"

            return StreamingResponse(lines())

    async with running.transaction() as tx:
        session(tx).add_all([Order(order_id=f"{number}") for number in range(5)])
    async with client_of(running, routes) as client:
        with pytest.raises(RuntimeError) as told:
            await client.get("/orders")
    assert _is_told(told.value)


async def test_tasks_behind_the_answer_are_told(running: RunningService) -> None:
    """Background tasks, and tasks that an endpoint has started."""
    told: list[BaseException | None] = []
    go_on = asyncio.Event()
    started: list[asyncio.Task[None]] = []

    async def behind(tx: Transaction) -> None:
        try:
            tx.publish(Happened("late"))
        except TransactionEnded as error:
            told.append(error)

    async def beside(tx: Transaction) -> None:
        await go_on.wait()
        await behind(tx)

    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201)
        async def place(tx: Tx, tasks: BackgroundTasks) -> None:
            tx.publish(Happened("in time"))
            tasks.add_task(behind, tx)
            started.append(asyncio.create_task(beside(tx)))

    async with client_of(running, routes) as client:
        assert (await client.post("/orders")).status_code == 201
        go_on.set()
        await asyncio.gather(*started)
    assert len(told) == 2
    assert await messages(running) == 1


async def test_an_endpoint_that_is_no_coroutine_may_publish(running: RunningService) -> None:
    def routes(app: FastAPI) -> None:
        @app.post("/orders", status_code=201)
        def place(tx: Tx) -> None:
            tx.publish(Happened("from a thread"))

    async with client_of(running, routes) as client:
        assert (await client.post("/orders")).status_code == 201
    assert await messages(running) == 1
