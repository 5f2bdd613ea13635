"""Whatever goes away behind an application, its callers get 503 and Retry-After, and its log one line."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from tests.unit.http.apps import Trial, started

from freehold.adapters.sqlite.connection import PooledAiosqlite
from freehold.errors import Unavailable
from freehold.http import Tx

WAYS = ["/raw", "/wrapped", "/group", "/typed", "/dependency", "/needed"]


def _full(name: str = "SQLITE_FULL", code: int = 13) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full: ada@example.org")
    error.sqlite_errorname, error.sqlite_errorcode = name, code
    return error


async def _missing() -> None:
    raise Unavailable("the mail server is away")


def _routes(app: FastAPI) -> None:
    @app.api_route("/raw", methods=["GET", "POST"])
    async def raw(tx: Tx) -> None:
        raise _full()

    @app.api_route("/wrapped", methods=["GET", "POST"])
    async def wrapped(tx: Tx) -> None:
        await tx.connection.execute(sa.text("PRAGMA query_only = ON"))
        try:
            await tx.connection.execute(sa.text("CREATE TABLE t (n INTEGER)"))
        finally:
            await tx.connection.execute(sa.text("PRAGMA query_only = OFF"))

    @app.api_route("/group", methods=["GET", "POST"])
    async def group(tx: Tx) -> None:
        raise ExceptionGroup("several", [_full(), Unavailable("another")])

    @app.api_route("/typed", methods=["GET", "POST"])
    async def typed(tx: Tx) -> None:
        raise Unavailable("the connection was lost")

    @app.api_route("/dependency", methods=["GET", "POST"])
    async def dependency(tx: Tx, needed: Annotated[None, Depends(_missing)]) -> None:
        """Never called."""

    @app.api_route("/needed", methods=["GET", "POST"])
    async def needed(tx: Tx) -> None:
        await tx.connection.execute(sa.text("SELECT 1"))
        raise sa.exc.OperationalError("INSERT", None, _full())

    _add_others(app)


def _add_others(app: FastAPI) -> None:
    @app.get("/well")
    async def well(tx: Tx) -> str:
        await tx.connection.execute(sa.text("SELECT 1"))
        return "well"

    @app.post("/made")
    async def made(tx: Tx) -> str:
        return "made"

    @app.get("/conflict")
    async def conflict(tx: Tx) -> None:
        raise sa.exc.OperationalError("UPDATE", None, _full("SQLITE_BUSY_SNAPSHOT", 517))

    @app.get("/bug")
    async def bug(tx: Tx) -> None:
        await tx.connection.execute(sa.text("SELECT nothing FROM nowhere"))


@pytest.fixture
async def trial(tmp_path: Path) -> AsyncIterator[Trial]:
    async with started(_routes, f"sqlite:///{tmp_path}/trial.db") as found:
        yield found


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k"}], ids=["plain", "keyed"])
@pytest.mark.parametrize("way", WAYS)
async def test_an_outage_is_503_wherever_it_is_met(
    way: str, headers: dict[str, str], trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("POST", "GET"):
        answer = await trial.client.request(method, way, headers=headers)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["content-type"] == "application/problem+json"
        assert "ada" not in answer.text
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("trial: ")
    assert line.endswith("; requests are answered with 503 and Retry-After")
    assert "Traceback" not in caplog.text
    assert (await trial.client.get("/well")).json() == "well"


async def test_an_outage_at_the_commit_is_503(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_connection: PooledAiosqlite) -> None:
        raise Unavailable("the disk is full (SQLITE_FULL)")

    with monkeypatch.context() as absence:
        absence.setattr(PooledAiosqlite, "commit", full)
        for way in ("/well", "/made"):
            answer = await trial.client.request(
                "POST" if way == "/made" else "GET", way, headers={"idempotency-key": "k"}
            )
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await trial.client.get("/well")).status_code == 200


async def test_many_requests_in_an_outage_are_one_line(trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        await trial.client.get("/raw")
    assert [record.getMessage() for record in caplog.records] == [
        "trial: the disk is full (SQLITE_FULL); requests are answered with 503 and Retry-After"
    ]


async def test_what_a_driver_calls_a_conflict_is_409_and_a_bug_stays_500(trial: Trial) -> None:
    assert (await trial.client.get("/conflict")).status_code == 409
    assert (await trial.client.get("/bug")).status_code == 500


async def test_who_is_not_ready_says_when_to_ask_again(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.running.draining = True
    answer = await trial.client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    trial.running.draining = False
