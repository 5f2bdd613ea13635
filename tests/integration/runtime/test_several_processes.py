"""Processes that start at once on an empty database: uvicorn with several workers, several runs, several upgrades."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.forking import ForkedProcess, forked, ran
from tests.integration.runtime.clinic import ADMITTED, APP, SEEN, clinic

from freehold.conformance.broker_harness import eventually
from freehold.ports import Stores
from freehold.projection.store import CHECKPOINTS, GenerationState
from freehold.projection.view_store import VIEWS
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

_LIMIT_SECONDS = 120.0
_PATIENTS = 60
_MADE = ["projection/seen", "projection/at-once", "view/visits"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """For processes of the clinic, with an empty database and an embedded broker of their own."""
    url = f"sqlite:///{tmp_path}/clinic.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    others = {name: value for name, value in os.environ.items() if not name.startswith("FREEHOLD_")}
    return {
        **others,
        "FREEHOLD_CLINIC_DATABASE": url,
        "FREEHOLD_CLINIC_POLL_SECONDS": "0.1",
        "FREEHOLD_BROKER": f"embedded:///{tmp_path}/broker.db",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }


@asynccontextmanager
async def _process(environment: dict[str, str], *arguments: str, **options: Any) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=PIPE, stderr=STDOUT, env=environment, **options
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _stores(environment: dict[str, str]) -> AsyncIterator[Stores]:
    stores = open_stores(environment["FREEHOLD_CLINIC_DATABASE"], migrations=clinic.migrations)
    await stores.database.open()
    try:
        yield stores
    finally:
        await stores.database.close()


async def _count(stores: Stores, name: str) -> int:
    async with stores[SQL].direct() as direct:
        return int((await direct.fetch(f"SELECT count(*) FROM {name}"))[0][0])


async def _is_made_once(stores: Stores) -> bool:
    """One live generation of each projection, no migration missing, the view built."""
    generations = await stores[CHECKPOINTS].generations()
    assert {(each.projection, each.number, each.state) for each in generations} <= {
        (name, 1, GenerationState.LIVE) for name in ("seen", "at-once")
    }
    assert await stores.database.pending() == []
    return len(generations) == 2 and any(each.digest for each in await stores[VIEWS].states())


@pytest.mark.empty_database
async def test_uvicorn_with_several_workers_starts_on_an_empty_database(environment: dict[str, str]) -> None:
    """Each request counts once, whichever worker has it: in the table, both read models and the view."""
    arguments = ("uvicorn", "tests.integration.runtime.clinic_api:app", "--workers", "2", "--port", "0")
    async with asyncio.timeout(_LIMIT_SECONDS), _process(environment, *arguments) as process:
        assert process.stdout is not None
        told: list[str] = []
        started, address = 0, ""
        while started < 2:
            line = (await process.stdout.readline()).decode()
            assert line, "".join(told)
            told.append(line)
            started += "Application startup complete" in line
            address = found[0] if (found := re.findall(r"http://[\d.:]+", line)) else address
        rest = asyncio.create_task(process.stdout.read())
        workers: set[int] = set()
        for number in range(_PATIENTS):
            # A connection each, so that both workers have some.
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                answer = await client.post(f"/patients/p{number}")
            assert answer.status_code == 202
            workers.add(answer.json()["worker"])
        async with _stores(environment) as stores:

            async def has_come() -> bool:
                names = ("patient", SEEN.name, ADMITTED.name, "visits")
                return {await _count(stores, name) for name in names} == {_PATIENTS} and await _is_made_once(stores)

            await eventually(has_come)
            async with stores[SQL].direct() as direct:
                assert [tuple(row) for row in await direct.fetch("SELECT DISTINCT visits FROM patient")] == [(1,)]
        process.send_signal(signal.SIGTERM)
        await process.wait()
        told.append((await rest).decode())
    assert "Traceback" not in "".join(told)
    assert len(workers) <= 2


async def test_services_that_start_at_once_make_everything_once(environment: dict[str, str]) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS), _all(environment, 3) as processes:
        await _all_say(processes, "waiting")
        await _all_say(processes, "ready", before=lambda: _look(environment))
        assert [await process.wait() for process in processes] == [0] * 3


async def _all_say(
    processes: list[ForkedProcess], word: str, *, before: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Hear a word of each process, and have them go on together; `before` is done while they still wait."""
    for process in processes:
        line = (await process.stdout.readline()).decode()
        assert line.strip() == word, line + (await process.stdout.read()).decode()
    if before is not None:
        await before()
    for process in processes:
        process.stdin.write(b"\n")


async def _look(environment: dict[str, str]) -> None:
    async with _stores(environment) as stores:
        await eventually(lambda: _is_made_once(stores))


@asynccontextmanager
async def _all(environment: dict[str, str], number: int) -> AsyncIterator[list[ForkedProcess]]:
    processes = [await forked(APP, environment=environment) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            await process.end()


async def test_upgrades_that_run_at_once_make_everything_once(environment: dict[str, str], tmp_path: Path) -> None:
    places = [tmp_path / str(number) for number in range(3)]
    for place in places:
        place.mkdir()
    upgrade = partial(ran, "freehold.cli.main", "--app", APP, "db", "upgrade", environment=environment)
    async with asyncio.timeout(_LIMIT_SECONDS):
        runs = await asyncio.gather(*(asyncio.to_thread(upgrade, directory=place) for place in places))
    assert [code for code, _, _ in runs] == [0] * 3, runs
    assert all(any(label in out + err for _, out, err in runs) for label in _MADE), runs
    async with _stores(environment) as stores:
        assert await _is_made_once(stores)
