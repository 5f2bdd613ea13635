"""Every query of every store beside a hundred rows and beside a hundred thousand, timed: the ratio is bounded.

Apart from the other tests (`make test-growth`): it seeds a large database for each engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.conformance.sql.beside import ALLOWED, ALLOWED_ON_POSTGRES, on_postgres, on_sqlite
from tests.conformance.sql.queries import QUERIES, Query, Seeded
from tests.conformance.sql.recorder import Recorder, recording

pytestmark = [pytest.mark.growth, pytest.mark.timeout(900)]
_FEW, _MANY = 100, 100_000
# The least of several runs is what the machine can do; wrong plans take a hundred times as long, and more. One that
# does much else is asked again, until it had some time for both.
_RUNS, _RATIO, _SECONDS_MORE = 7, 5.0, 0.002
_ROUNDS = 8


async def test_no_query_takes_longer_beside_more_rows_on_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        few, many = [await stack.enter_async_context(on_sqlite(tmp_path, rows, "none")) for rows in (_FEW, _MANY)]
        assert await _slower(few, many, monkeypatch, ALLOWED) == {}


@pytest.mark.servers
async def test_no_query_takes_longer_beside_more_rows_on_postgres(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the statistics of empty tables, which is what a backlog meets."""
    name = postgres_url.rpartition("/")[2] + "_many"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            async with AsyncExitStack() as stack:
                few, many = [
                    await stack.enter_async_context(on_postgres(url, rows, "of an empty table", explained=False))
                    for url, rows in ((postgres_url, _FEW), (postgres_url.rpartition("/")[0] + f"/{name}", _MANY))
                ]
                assert await _slower(few, many, monkeypatch, ALLOWED_ON_POSTGRES) == {}
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def _slower(few: Seeded, many: Seeded, patch: pytest.MonkeyPatch, allowed: Mapping[str, str]) -> dict[str, str]:
    slower = {}
    with recording(patch) as recorder:
        for name, query in QUERIES.items():
            least = [float("inf")] * 2
            within = name in allowed
            for _ in range(_ROUNDS):
                for place, seeded in enumerate((few, many)):
                    least[place] = min(least[place], await _least(recorder, query, seeded))
                within = within or least[1] <= _RATIO * least[0] + _SECONDS_MORE
                if within:
                    break
            if not within:
                slower[name] = f"{least[0] * 1000:.2f} ms beside {_FEW} rows, {least[1] * 1000:.2f} beside {_MANY}"
    return slower


async def _least(recorder: Recorder, query: Query, seeded: Seeded) -> float:
    times = []
    for _ in range(_RUNS):
        recorder.clear()
        await query(seeded)
        times.append(recorder.seconds)
    return min(times)
