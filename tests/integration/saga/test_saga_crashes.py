"""SIGKILL at each boundary of a call: what is on record is not repeated; what is not, is repeated by the same key."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.integration.saga.crash import POINTS, saga_id
from tests.integration.saga.crowd import LIVES, NUMBER
from tests.integration.saga.crowd import saga_id as crowd_id

from freehold.runtime.adapters import open_stores
from freehold.saga.store import SAGAS, SagaStatus


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def durable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/orders.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


def _live(url: str, ledger: Path, module: str = "crash") -> tuple[dict[str, int], str]:
    """How the process of each point ended, and what they logged."""
    command = [sys.executable, "-m", f"tests.integration.saga.{module}", url, str(ledger)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True, timeout=250
    )
    ends = [line.rpartition(" ") for line in done.stdout.splitlines()]
    return {point: int(code) for point, _, code in ends}, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_a_kill_at_any_boundary_loses_no_outcome(durable_url: str, tmp_path: Path) -> None:
    """Each process goes on with the saga of the one before, and is killed at the next boundary of its own."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    ends, log = _live(durable_url, ledger)
    assert ends == {**dict.fromkeys(POINTS, -signal.SIGKILL), "": 0}, log

    asked: dict[tuple[str, str], list[str]] = {}
    for line in ledger.read_text().splitlines():
        point, what, *key = line.split(" ")
        asked.setdefault((point, what), []).append(*key)
    # Again where it had been asked and the outcome was not on record; once behind that.
    assert set(asked) == {(point, what) for point in POINTS for what in ("label", "pack", "charge")}
    assert len(asked["chained", "label"]) == 1
    assert len(asked["after-effect", "charge"]) >= 2
    assert {len(asked[point, "charge"]) for point in POINTS[4:]} == {1}
    assert {len(asked[point, "pack"]) for point in POINTS[2:]} == {1}
    assert all(len(set(keys)) == 1 for keys in asked.values())

    stores = open_stores(durable_url)
    await stores.database.open()
    try:
        async with stores.database.begin() as db_tx:
            done = (await db_tx.native.execute(text("SELECT what FROM done"))).scalars().all()
        assert await stores[SAGAS].count() == {("orders.crashing", SagaStatus.COMPLETED): len(POINTS)}
        for point in POINTS:
            words = [f"{entry.step}:{entry.what}" for entry in await stores[SAGAS].journal(saga_id(point))]
            assert {words.count(f"{step}:done") for step in ("label", "pack", "charge", "write")} == {1}
            assert words.count(":completed") == 1
            assert not [word for word in words if "compens" in word]
    finally:
        await stores.database.close()
    assert sorted(done) == sorted(f"{point} {what}" for point in POINTS for what in ("write", "completed"))


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_a_kill_among_many_sagas_loses_no_outcome_of_a_group(durable_url: str, tmp_path: Path) -> None:
    """Killed in the middle of calls, and behind commits that record many outcomes and the intentions that follow."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    ends, log = _live(durable_url, ledger, "crowd")
    assert ends == {**dict.fromkeys(LIVES[:-1], -signal.SIGKILL), LIVES[-1]: 0}, log
    keys: dict[tuple[str, str], set[str]] = {}
    for line in ledger.read_text().splitlines():
        saga, step, key = line.split(" ")
        keys.setdefault((saga, step), set()).add(key)
    ids = [crowd_id(number) for number in range(NUMBER)]
    assert set(keys) == {(str(each), step) for each in ids for step in ("first", "second", "third")}
    assert {len(each) for each in keys.values()} == {1}
    stores = open_stores(durable_url)
    await stores.database.open()
    try:
        assert await stores[SAGAS].count() == {("orders.asking", SagaStatus.COMPLETED): NUMBER}
        for each in ids:
            words = [f"{entry.step}:{entry.what}" for entry in await stores[SAGAS].journal(each)]
            assert {words.count(f"{step}:done") for step in ("first", "second", "third")} == {1}
            assert words.count(":completed") == 1
    finally:
        await stores.database.close()
