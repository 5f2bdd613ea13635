"""`run`, `ps`, `outbox`, `doctor` and `describe` on a project that runs in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.integration.cli.work import Project, keep, letter, ran, stuck_sagas
from tests.unit.cli.typing_in import Typed

pytestmark = pytest.mark.timeout(240)
COMMAND = [sys.executable, "-m", "freehold.cli.main"]


@contextmanager
def _running(project: Project) -> Iterator[None]:
    """`freehold run --json`, from its document to its end by SIGTERM."""
    process = subprocess.Popen(
        [*COMMAND, "run", "--json"],
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr else ""
            text += line
        assert json.loads(text)["running"] == ["depot", "till"]
        yield
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, ""), err
        assert "Traceback" not in err
    finally:
        process.kill()
        process.communicate()


def _until(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_replayed_letter_reaches_its_handler(project: Project, typed: Typed) -> None:
    kept = letter(7)
    ran(keep(project, kept))
    ran(stuck_sagas(project, "a"))
    quiet = typed("ps", "--json").document["services"]
    assert {each["service"]: (each["relays"], each["dead_letters"]) for each in quiet} == {
        "depot": ([], 1),
        "till": ([], 0),
    }
    assert typed("dlq", "replay", kept.id, "--reason", "mended").code == 0
    assert typed("saga", "retry", "a", "--reason", "mended").code == 0
    assert typed("outbox", "--max-lag-seconds", "0").code == 1
    assert typed("outbox", "--max-lag-seconds", "3600").code == 0
    with _running(project):
        _until(lambda: typed("saga", "show", "a", "--json").document["status"] == "compensated")
        _until(lambda: _waiting(typed) == 0)
        # A busy machine may keep a process from renewing its leases, which are short, for a moment.
        _until(lambda: _relayed_alone(typed))
        busy = typed("ps", "--json").document["services"]
        assert all(service["lag"] is not None for service in busy)
        assert busy[0]["dead_letters"] == 0
        _until(lambda: "1 (8/8)" in typed("ps").out)
    assert [each["relays"] for each in typed("ps", "--json").document["services"]] == [[], []]
    well = typed("doctor", "--json")
    findings = [each for report in well.document["reports"] for each in report["findings"]]
    assert {"version", "migrations", "outbox", "dead letters", "broker", "dedup window"} <= {
        each["subject"] for each in findings
    }
    assert [each for each in findings if not each["ok"] and each["subject"] != "isolation"] == []
    assert all(each["fix"] for each in findings if not each["ok"])


def _relayed_alone(typed: Typed) -> bool:
    """Whether each service has one relay, which lives and holds everything."""
    return all(
        [(relay["alive"], relay["partitions"]) for relay in service["relays"]] == [(True, service["partitions"])]
        for service in typed("ps", "--json").document["services"]
    )


def _waiting(typed: Typed) -> int:
    services = typed("outbox", "--json").document["services"]
    return sum(each["outbox"]["pending"] + each["deferred"]["pending"] for each in services)


def test_a_question_is_asked_on_a_terminal(project: Project, typed: Typed) -> None:
    kept = letter(-1)
    ran(keep(project, kept))
    for reply, code in (("n", 1), ("y", 0)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "dlq", "discard", str(kept.id), "--reason", "x"],
            env=project.environment(), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.write(ours, f"{reply}\n".encode())
        out, err = process.communicate(timeout=90)
        os.close(ours)
        os.close(theirs)
        assert (process.returncode, out, "They cannot be replayed afterwards." in err) == (code, "", True), err
        assert len(typed("dlq", "list", "--json").document["dead_letters"]) == code


def test_what_is_declared_is_described(project: Project, typed: Typed) -> None:
    by_name = {each["name"]: each for each in typed("describe", "--json").document["services"]}
    assert [(each["topic"], each["types"]) for each in by_name["depot"]["subscriptions"]] == [
        ("depot.commands", ["depot.pick 1", "depot.put-back 1"]),
        ("till.events", ["till.sale-closed 1"]),
    ]
    assert [(each["topic"], each["answers"]) for each in by_name["till"]["subscriptions"]] == [("till.replies", True)]
    accepts = {each["type"]: each["handled"] for each in by_name["depot"]["accepts"]}
    assert accepts == {"depot.pick": True, "depot.put-back": True, "depot.pay": False}
    assert [each["type"] for each in by_name["depot"]["publishes"]] == ["depot.sale-noted"]
    (saga,) = by_name["till"]["sagas"]
    assert [(step["name"], step["compensation"], step["after"]) for step in saga["steps"]] == [
        ("pick", "PutBack", []),
        ("pay", None, ["pick"]),
    ]
    assert {"pattern": "inbox", "ports": ["inbox", "deadletters", "progress"], "by": ["till.replies"]} in (
        by_name["till"]["needs"]
    )
    ports = {each["port"]: each for each in typed("describe", "--ports", "--json").document["ports"]}
    assert ports["views"]["engines"] == ["MariaDB", "PostgreSQL", "SQLite"]
    assert {"service": "till", "pattern": "outbox"} in ports["outbox"]["needed_by"]
    chart = typed("describe", "--mermaid").out
    assert chart.splitlines()[0] == "flowchart LR"
    for edge in ('s_till -->|"sale-closed"| s_depot', 's_till -.->|"pay"| s_depot', 's_till -.->|"put-back"| s_depot'):
        assert f"    {edge}\n" in chart
    text = typed("describe", "-s", "till").out
    assert "reads till.replies for the replies to its sagas" in text
    assert "orchestrates till.selling version 1" in text
