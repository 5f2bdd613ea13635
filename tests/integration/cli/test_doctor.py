"""`doctor`, `monitor` and `outbox` on what keeps a service from its work: each is named with its reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.integration.cli.till import SaleClosed, depot, till
from tests.integration.cli.work import APP, Project
from tests.integration.health.conditions import TABLE, Condition, grow
from tests.unit.cli.typing_in import Typed, typist
from tests.unit.runtime.trial import envelope_of

from freehold import RunningService
from freehold.adapters.files.holder import writer_of
from freehold.broker import OutgoingMessage
from freehold.ids import new_id
from freehold.inbox.store import INBOX, IncomingMessage
from freehold.messages import encode_envelope
from freehold.runtime.adapters import open_broker
from freehold.saga.store import SAGAS, SagaRecord, SagaStatus
from freehold.schedule.store import SCHEDULE
from freehold.settings import Settings
from freehold.sql import SQL

pytestmark = pytest.mark.timeout(240)
COMMAND = [sys.executable, "-m", "freehold.cli.main"]
HOUR_SECONDS = 3600


@pytest.mark.parametrize(("condition_url", "condition", "reason"), TABLE, indirect=["condition_url"])
def test_a_database_that_cannot_be_written(
    condition_url: str,
    condition: Condition,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker and what can be read are looked at all the same."""
    url = condition_url
    file = tmp_path / "freehold.toml"
    file.write_text(
        f'broker = "embedded:///{tmp_path}/broker.db"\n[project]\nmodules = ["{APP}"]\n'
        f'[services.till]\ndatabase = "{url}"\n[services.till.database_options]\nlock_timeout_seconds = 1.0\n'
    )
    monkeypatch.setenv("FREEHOLD_SETTINGS", str(file))
    monkeypatch.setattr("freehold.runtime.doctor._PROBE_SECONDS", 1.0)
    monkeypatch.setattr("freehold.cli.services.PROBE_SECONDS", 1.0)
    typed = typist(capsys)
    assert typed("db", "upgrade", "-s", "till").code == 0
    if url.startswith("sqlite"):
        grow(url)
    assert _findings(typed("doctor", "-s", "till", "--json"))["write probe"]["ok"]
    with condition(url):
        answer = typed("doctor", "-s", "till", "--json")
        text = typed("doctor", "-s", "till").out
        watched = [
            typed("outbox", "-s", "till", "--max-lag-seconds", "3600", "--json"),
            typed("monitor", "-s", "till", "--max-lag-seconds", "3600", "--json"),
        ]
    told = [each for each in _findings(answer).values() if not each["ok"] and reason in each["detail"]]
    assert told, answer.document
    assert all(each["fix"] for each in told)
    assert answer.code == 3
    assert "broker" in _findings(answer)
    assert reason in text
    assert "all well" not in text
    for each in watched:
        assert each.code == 3
        assert reason in each.out + each.err
    assert typed("outbox", "-s", "till", "--max-lag-seconds", "3600").code == 0


def test_a_consumer_that_was_stopped(project: Project, typed: Typed, tmp_path: Path) -> None:
    text = project.file.read_text()
    project.file.write_text(text.replace("prefix =", "lease_seconds = 2.0\nprefix =", 1))
    with _running(project) as process:
        _until_read(typed, "depot")
        _freeze(process, tmp_path)
        try:
            asyncio.run(_publish(project))
            answer = typed("doctor", "-s", "depot", "--json")
            finding = _findings(answer)["consumers of depot"]
            assert not finding["ok"]
            assert "partitions are held by a member that sent no heartbeat for" in finding["detail"]
            assert "one message waits" in finding["detail"]
            assert answer.code == 1
            assert typed("monitor", "-s", "depot", "--max-lag-seconds", "3600").code == 0
            late = typed("monitor", "-s", "depot", "--max-lag-seconds", "0.5", "--json")
            assert (late.code, late.document["late"]) == (1, ["depot: consumer of till.events"])
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert _ok(typed, "depot")


def test_what_has_been_deferred_for_an_hour(project: Project, typed: Typed) -> None:
    asyncio.run(_defer(project))
    assert typed("outbox", "-s", "till", "--max-lag-seconds", "3600").code == 0
    assert typed("monitor", "-s", "till", "--max-lag-seconds", "3600").code == 0
    assert _findings(typed("doctor", "-s", "till", "--json"))["deferred"]["ok"]
    asyncio.run(_age(project))
    answer = typed("doctor", "-s", "till", "--json")
    finding = _findings(answer)["deferred"]
    assert (finding["ok"], answer.code) == (False, 1)
    assert finding["detail"] == "1 wait for a retry, the oldest for 62 min: NotYet: the bank is closed"
    late = typed("outbox", "-s", "till", "--max-lag-seconds", "3600")
    assert (late.code, "deferred for" in late.err) == (1, True)
    assert typed("outbox", "-s", "till", "--max-lag-seconds", "7200").code == 0
    behind = typed("monitor", "-s", "till", "--max-lag-seconds", "3600", "--json")
    assert (behind.code, behind.document["late"]) == (1, ["till: deferred messages"])
    (kept,) = behind.document["services"]
    assert (kept["deferred"], kept["outbox"], kept["outbox_oldest_seconds"]) == (1, 0, None)


def test_what_is_due_for_long_and_not_done(project: Project, typed: Typed) -> None:
    """Nobody runs: each is named, with the loop that should have done it. For a while that is no defect."""
    asyncio.run(_make_due(project))
    shown = _findings(typed("doctor", "-s", "till", "--json"))
    assert {name: each["ok"] for name, each in shown.items() if name.startswith("due ")} == {
        "due scheduled messages": True,
        "due deferred messages": True,
        "due timers of sagas": True,
    }
    assert shown["pruning"]["ok"]
    asyncio.run(_age_what_is_due(project))
    shown = _findings(typed("doctor", "-s", "till", "--json"))
    for name, role in (
        ("scheduled messages", "schedule"),
        ("deferred messages", "deferred"),
        ("timers of sagas", "sagas"),
    ):
        late = shown[f"due {name}"]
        assert (late["ok"], late["detail"]) == (False, "the oldest has been due for 62 min, and was not done")
        assert f"the role '{role}'" in late["fix"]
    assert (shown["pruning"]["ok"], shown["pruning"]["detail"]) == (False, "receipts are 62 min past their retention")


def test_a_database_that_was_made_anew(project: Project, typed: Typed, caplog: pytest.LogCaptureFixture) -> None:
    """It was lost while nothing ran. A first start tells of nothing."""
    asyncio.run(_publish(project))
    asyncio.run(_handle(project))
    assert _findings(typed("doctor", "-s", "depot", "--json"))["former database"]["ok"]
    assert "created a new, empty database" not in caplog.text
    _drop_depot(project)
    with caplog.at_level(logging.WARNING, "freehold.runtime"):
        asyncio.run(_publish(project))
        asyncio.run(_handle(project))
    assert "depot: created a new, empty database at" in caplog.text
    finding = _findings(typed("doctor", "-s", "depot", "--json"))["former database"]
    assert not finding["ok"]
    assert "its group on the broker has read messages before" in finding["detail"]
    assert "freehold db mark depot --instead-of depot" in finding["fix"]
    assert typed("db", "mark", "depot", "--instead-of", "depot", "--reason", "it is known").code == 0
    assert _findings(typed("doctor", "-s", "depot", "--json"))["former database"]["ok"]


def test_messages_that_nobody_reads(tmp_path: Path, typed: Typed, project: Project) -> None:
    """For a while that is no defect: the system may not be running."""
    if "embedded" not in project.file.read_text():
        pytest.skip("the age of a message is the server's own")
    with _running(project):
        _until_read(typed, "depot")
    asyncio.run(_publish(project))
    fresh = _findings(typed("doctor", "-s", "depot", "--json"))["consumers of depot"]
    assert fresh["ok"]
    assert fresh["detail"].startswith("the group has no member; one message waits")
    with closing(sqlite3.connect(tmp_path / "broker.db")) as broker:
        broker.execute("UPDATE message SET stored_at = stored_at - 100")
        broker.commit()
    old = _findings(typed("doctor", "-s", "depot", "--json"))["consumers of depot"]
    assert (old["ok"], old["fix"]) == (False, "is freehold run running?")


def _findings(answer: Any) -> dict[str, Any]:
    return {each["subject"]: each for report in answer.document["reports"] for each in report["findings"]}


def _ok(typed: Typed, name: str) -> bool:
    """Whether the service's consumers are well, after a while."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if _findings(typed("doctor", "-s", name, "--json"))[f"consumers of {name}"]["ok"]:
            return True
    return False


def _freeze(process: subprocess.Popen[str], files: Path) -> None:
    """Stop it, but not in the middle of a write: it would block whoever publishes."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        os.kill(process.pid, signal.SIGSTOP)
        if all(writer_of(each) != process.pid for each in files.glob("*.db")):
            return
        os.kill(process.pid, signal.SIGCONT)
    raise AssertionError("it writes all the time")


def _until_read(typed: Typed, name: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(each["lag"] == 0 for each in typed("monitor", "-s", name, "--json").document["consumers"]):
            return
    raise AssertionError("the group did not come")


@contextmanager
def _running(project: Project) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, "run", "--json"],
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()


async def _publish(project: Project) -> None:
    settings = Settings.load("till", environ={}, file=project.file)
    envelope = envelope_of(SaleClosed("sale", 1))
    broker = open_broker(settings.broker, settings.broker_options)
    await broker.open()
    await broker.publish([OutgoingMessage(new_id(), "till.events", "sale", encode_envelope(envelope))], 10.0)
    await broker.close()


async def _defer(project: Project) -> None:
    async with project.stores(till) as stores, stores.database.begin() as db_tx:
        arrival = IncomingMessage(receipt_key="k", topic="depot.replies", key="sale")
        await stores[INBOX].defer(
            db_tx, "till", arrival, b"{}", attempts=1, delay_seconds=60, reason="NotYet: the bank is closed"
        )


async def _handle(project: Project) -> None:
    """Run the depot until it has handled something."""
    settings = Settings.load("depot", environ={}, file=project.file)
    async with RunningService(depot, settings) as running, asyncio.timeout(60):
        while not await running.stores[INBOX].oldest_receipt_seconds("depot"):  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


def _drop_depot(project: Project) -> None:
    url = Settings.load("depot", environ={}, file=project.file).database
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        for each in file.parent.glob(f"{file.name}*"):
            if each.is_file():
                each.unlink()
        return
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("DROP SCHEMA public CASCADE")
        admin.execute("CREATE SCHEMA public")


async def _make_due(project: Project) -> None:
    """A scheduled message, a deferred one, a timer and a receipt, all of them due or past their retention just now."""
    async with project.stores(till) as stores, stores.database.begin() as db_tx:
        message = OutgoingMessage(new_id(), "till.events", "sale", b"{}")
        await stores[SCHEDULE].add(db_tx, message, "sale", 0.0)
        arrival = IncomingMessage(receipt_key="k", topic="depot.replies", key="sale")
        await stores[INBOX].defer(db_tx, "till", arrival, b"{}", attempts=1, delay_seconds=0.0, reason="NotYet")
        await stores[INBOX].receive(
            db_tx, "till", [IncomingMessage(receipt_key="r", topic="depot.replies", key="other")]
        )
        record = SagaRecord(
            id=new_id(),
            definition="till.selling",
            definition_version=1,
            key="sale",
            correlation_id=new_id(),
            status=SagaStatus.RUNNING,
            version=1,
            document=b"{}",
            due_seconds=0.0,
        )
        await stores[SAGAS].create(db_tx, record, [])


async def _age_what_is_due(project: Project) -> None:
    settings = Settings.load("till", environ={}, file=project.file)
    async with project.stores(till) as stores, stores[SQL].direct() as sql:
        lite = stores.database.features.technology == "SQLite"

        def earlier(column: str, seconds: float) -> str:
            return f"{column} = {column} - " + (f"{seconds * 1e6:.0f}" if lite else f"interval '{seconds:.0f} seconds'")

        for table in ("freehold_schedule", "freehold_deferred", "freehold_saga"):
            await sql.execute(f"UPDATE {table} SET {earlier('due_at', 3700)}")
        past = settings.dedup_window_seconds + 3700
        await sql.execute(f"UPDATE freehold_inbox SET {earlier('received_at', past)}")


async def _age(project: Project) -> None:
    async with project.stores(till) as stores, stores[SQL].direct() as sql:
        lite = stores.database.features.technology == "SQLite"
        earlier = "deferred_at - 3700 * 1000000" if lite else "deferred_at - interval '3700 seconds'"
        await sql.execute(f"UPDATE freehold_deferred SET deferred_at = {earlier}")
