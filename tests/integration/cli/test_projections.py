"""`freehold projection` on real databases: what people see and do about read models."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.cli.ledger import balance, book, is_up_to_date, ledger, mended
from tests.unit.cli.typing_in import Typed, typist

from freehold import RunningService, Settings
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.timeout(240)
WHY = ("--reason", "why not")


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found = tmp_path / "freehold.toml"
    url = f"sqlite:///{tmp_path}/ledger.db"
    if request.param == "servers":
        url = request.getfixturevalue("postgres_url")
    found.write_text(
        f'broker = "embedded:///{tmp_path}/broker.db"\n[project]\nmodules = ["tests.integration.cli.ledger"]\n'
        f'[defaults]\nlease_seconds = 0.6\npoll_seconds = 0.1\n[services.ledger]\ndatabase = "{url}"\n'
    )
    return found


@pytest.fixture
def typed(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    monkeypatch.setenv("FREEHOLD_SETTINGS", str(file))
    monkeypatch.delenv("FREEHOLD_APP", raising=False)
    asyncio.run(_migrate(file))
    yield typist(capsys)
    mended.clear()


async def _migrate(file: Path) -> None:
    """Apply the migrations alone: what run time needs of projections is not made ahead, as `db upgrade` would."""
    settings = Settings.load("ledger", environ={}, file=file)
    stores = open_stores(settings.database, migrations=ledger.migrations)
    await stores.database.open()
    await stores.database.upgrade("ledger")
    await stores.database.close()


def running(file: Path, work: Callable[[RunningService], Awaitable[Any]], *, up_to_date: bool = True) -> Any:
    """Do something while the service's projections run."""

    async def run() -> Any:
        settings = Settings.load("ledger", environ={}, file=file)
        async with RunningService(ledger, settings, roles=["projections"] if up_to_date else []) as service:
            result = await work(service)
            async with asyncio.timeout(60):
                while up_to_date and not await is_up_to_date(service):  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.02)
            return result

    return asyncio.run(run())


def booked(file: Path, *, poison: bool = False) -> None:
    async def work(service: RunningService) -> None:
        for number in range(5):
            await book(service, f"a{number}", *range(1, 11))
        if poison:
            await book(service, "a1", -1, 7)

    running(file, work)


def balances(file: Path) -> dict[str, tuple[int, int]]:
    async def work(service: RunningService) -> dict[str, tuple[int, int]]:
        async with service.transaction() as tx:
            return {row[0]: tuple(row[1:]) for row in await tx.connection.execute(sa.select(balance))}

    found: dict[str, tuple[int, int]] = running(file, work, up_to_date=False)
    return found


@contextmanager
def service_process(file: Path, version: str = "1") -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "freehold.cli.main", "run"],
        env={**os.environ, "FREEHOLD_SETTINGS": str(file), "LEDGER_VERSION": version},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def live_holders(typed: Typed) -> list[str]:
    found = typed("projection", "show", "balances", "--sample", 0, "--json").document["partitions"]
    return [each["holder"] for each in found if each["state"] == "live"]


def test_how_they_stand_is_shown(typed: Typed, file: Path) -> None:
    begun = typed("projection", "list", "--sample", 0, "--json").document
    assert begun["projections"] == []
    assert begun["not_started"] == [{"service": "ledger", "projection": "balances"}]
    assert "not started" in typed("projection", "list").out
    booked(file)
    running(file, lambda service: book(service, "a1", 5), up_to_date=False)
    (found,) = typed("projection", "list", "--sample", 0.1, "--json").document["projections"]
    assert (found["generation"], found["version"], found["state"]) == (1, 1, "live")
    assert (found["lag_events"], found["handled"], found["parked"], found["paused"]) == (1, 50, 0, None)
    assert found["lag_seconds"] > 0
    assert found["events_per_second"] == 0.0
    assert found["seconds_left"] is None
    assert "balances" in typed("projection", "list", "--sample", 0).out
    shown = typed("projection", "show", "balances", "--sample", 0, "--json").document
    assert [each["partition"] for each in shown["partitions"]] == [0, 1]
    assert [each["holder"] for each in shown["partitions"]] == ["", ""]
    assert "lag: 1 events" in typed("projection", "show", "balances", "--sample", 0).out
    absent = typed("projection", "show", "absent", "--json")
    assert (absent.code, absent.document["error"]["kind"]) == (1, "NotFound")


def test_a_rebuild_with_progress_by_the_running_service(typed: Typed, file: Path) -> None:
    booked(file)
    before = balances(file)
    with service_process(file):
        done = typed("projection", "rebuild", "balances", "--wait", *WHY, "--json")
        deadline = time.monotonic() + 60
        while not all(holders := live_holders(typed)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert done.code == 0, done.err
    assert (done.document["switched"], done.document["generation"], done.document["handled"]) == (True, 2, 50)
    assert "is live" in done.err
    assert all(holders)
    assert balances(file) == before
    assert typed("projection", "list", "--sample", 0, "--json").document["projections"][0]["generation"] == 2
    every = typed("projection", "list", "--all", "--sample", 0, "--json").document["projections"]
    assert [each["state"] for each in every] == ["retired", "live"]
    assert typed("projection", "drop", "balances", 2, "--yes", *WHY).code == 1
    assert typed("projection", "drop", "balances", 1, "--yes", *WHY).code == 0
    trail = typed("audit", "--json").document["actions"]
    assert sorted(each["action"] for each in trail) == ["projection.drop", "projection.rebuild", "projection.switch"]
    assert {each["reason"] for each in trail} == {"why not"}


def test_a_rebuild_step_by_step(typed: Typed, file: Path) -> None:
    assert typed("projection", "rebuild", "balances", *WHY).code == 1  # it has not run yet
    booked(file)
    assert typed("projection", "rebuild", "balances", *WHY, "--json").document["generation"] == 2
    assert typed("projection", "rebuild", "balances", *WHY).code == 1
    assert typed("projection", "switch", "balances", *WHY).code == 2  # nobody can be asked
    assert typed("projection", "cancel-rebuild", "balances", "--yes", *WHY).code == 0
    assert typed("projection", "rebuild", "balances", *WHY, "--json").document["generation"] == 3
    switched = typed("projection", "switch", "balances", "--yes", *WHY, "--json")
    assert (switched.code, switched.document["live"], switched.document["retired"]) == (0, 3, 1)
    assert typed("projection", "switch", "balances", "--yes", *WHY).code == 1
    assert typed("projection", "rebuild", "balances").code == 2  # without a reason
    assert len(balances(file)) == 5


def test_what_is_parked_is_retried_or_skipped(typed: Typed, file: Path) -> None:
    booked(file, poison=True)
    (parked,) = typed("projection", "parked", "balances", "--json").document["parked"]
    assert (parked["stream"], parked["error"], parked["version"]) == ("account-a1", "ValueError", 11)
    assert "planned" not in str(parked)
    assert "account-a1" in typed("projection", "parked", "balances").out
    assert typed("projection", "list", "--sample", 0, "--json").document["projections"][0]["parked"] == 1
    failing = typed("projection", "retry", "balances", "account-a1", *WHY, "--json")
    assert (failing.code, failing.document["generations"][0]["released"]) == (1, False)
    assert typed("projection", "skip", "balances", "account-a1", *WHY).code == 2  # nobody can be asked
    skipped = typed("projection", "skip", "balances", "account-a1", "--yes", *WHY, "--json")
    assert (skipped.code, skipped.document["generations"][0]["applied"]) == (0, 1)
    assert balances(file)["a1"] == (62, 11)
    assert typed("projection", "retry", "balances", "account-a1", *WHY).code == 1  # it is not parked any more
    mended.append(True)
    anew = typed("projection", "rebuild-key", "balances", "account-a1", *WHY, "--json")
    assert (anew.code, anew.document["events"]) == (0, 12)
    assert balances(file)["a1"] == (61, 12)
    assert typed("projection", "rebuild-key", "balances", "order-1", *WHY).code == 1


def test_pause_and_resume(typed: Typed, file: Path) -> None:
    booked(file)
    assert typed("projection", "pause", "balances", *WHY).code == 0
    assert typed("projection", "pause", "balances", "--reason", "another").code == 1
    assert "why not" in typed("projection", "list", "--sample", 0).out
    ended = typed("projection", "resume", "balances", *WHY, "--json")
    assert (ended.code, ended.document["ended"][0]["reason"]) == (0, "why not")
    assert typed("projection", "resume", "balances", *WHY).code == 1
    assert typed("projection", "pause", "absent", *WHY).code == 1


def test_history_is_replayed(typed: Typed, file: Path) -> None:
    booked(file, poison=True)
    span = ("--from", "2020-01-01", "--to", "2100-01-01T00:00:00Z")
    done = typed("projection", "replay", "balances", *span, *WHY, "--json")
    assert done.code == 1  # an event failed
    assert (done.document["applied"], done.document["failed"], done.document["state"]) == (51, 1, "done")
    assert done.document["tables"] == ["balance__r1"]
    (error,) = typed("projection", "replay", "errors", 1, "--json").document["errors"]
    assert (error["stream"], error["error"]) == ("account-a1", "ValueError")
    assert "ValueError" in typed("projection", "replay", "errors", 1).out
    assert typed("projection", "replay", "list", "--json").document["replays"][0]["replay"] == 1
    assert "balance__r1" in typed("projection", "replay", "list").out
    assert typed("projection", "replay", "resume", 1, *WHY).code == 1
    assert typed("projection", "replay", "cancel", 1, *WHY).code == 1
    assert typed("projection", "replay", "drop", 1, *WHY).code == 2  # nobody can be asked
    assert typed("projection", "replay", "drop", 1, "--yes", *WHY).code == 0
    assert typed("projection", "replay", "errors", 1).code == 1
    assert typed("projection", "replay", "balances", "--into", "live", *WHY).code == 2  # --yes is missing
    none = ("--from", "2100-01-01")
    into = typed("projection", "replay", "balances", *none, "--into", "live", "--yes", *WHY, "--json")
    assert (into.code, into.document["applied"], into.document["into"]) == (0, 0, "live")
    assert typed("projection", "replay", "balances", "--from", "2100-01-01", "--to", "2000-01-01", *WHY).code == 2


def test_views_are_refreshed_and_shown(typed: Typed, file: Path) -> None:
    assert typed("projection", "refresh", "totals").code == 1  # what it reads is not there yet
    (failed,) = typed("projection", "list", "--sample", 0, "--json").document["views"]
    assert failed["failures"] == 1
    assert failed["error"].startswith("DatabaseError")
    booked(file)
    done = typed("projection", "refresh", "totals")
    assert done.code == 0
    assert ("emulation" in done.err) == ("sqlite" in file.read_text())
    (view,) = typed("projection", "list", "--sample", 0, "--json").document["views"]
    assert (view["failures"], view["refresh_seconds"]) == (0, 600.0)
    assert "totals" in typed("projection", "list", "--sample", 0).out
    assert typed("projection", "refresh", "absent").code == 1
