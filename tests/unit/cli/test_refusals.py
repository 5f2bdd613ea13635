"""What people do wrong: no traceback, an exit code, the place named, and never a secret."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from tests.unit.cli.typing_in import Answer, Typed, typist

PASSWORD = "hunter2-0e6b1c"
LETTER = "0d4f7c9e-53cb-4a2f-9a35-6f0f1d0a8b11"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typed:
    """A command line in an empty directory, with no settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("FREEHOLD_SETTINGS", "FREEHOLD_APP"):
        monkeypatch.delenv(name, raising=False)
    return typist(capsys)


def _is_clean(answer: Answer) -> None:
    assert PASSWORD not in answer.out + answer.err
    assert "Traceback" not in answer.err
    assert answer.err.strip()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@127.0.0.1:1/orders",
        f"postgresql://me:{PASSWORD}@127.0.0.1:port/orders",
        f"postgresql://me:{PASSWORD}@[broken/orders",
        f"postgresql://me:{PASSWORD}@127.0.0.1/orders?secret={PASSWORD}",
        f"oracle://me:{PASSWORD}@host/orders",
        f"{PASSWORD}",
        f"sqlite:////no/such/{PASSWORD[:3]}/orders.db?key={PASSWORD}",
        "sqlite:////proc/self/orders.db",
        "sqlite:///no-database.db",
    ],
)
@pytest.mark.parametrize("command", [["dlq", "list"], ["doctor"], ["db", "upgrade"], ["ps"]])
def test_a_database_url_that_cannot_be_used(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, url: str, command: list[str]
) -> None:
    Path("no-database.db").write_text("this is text " * 100)
    monkeypatch.setenv("FREEHOLD_ORDERS_DATABASE", url)
    monkeypatch.setenv("FREEHOLD_BROKER", "memory://")
    answer = typed(*command, "--service", "orders", "--json")
    assert PASSWORD not in answer.out + answer.err
    assert "Traceback" not in answer.err
    assert answer.document
    assert answer.code in ({3} if ":1/" in url else {1, 2, 3})


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"nats://me:{PASSWORD}@127.0.0.1:1", 3),
        (f"nats://me:{PASSWORD}@[broken", 1),
        (f"kafka://me:{PASSWORD}@host", 1),
    ],
)
def test_a_broker_url_that_cannot_be_used(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, code: int
) -> None:
    monkeypatch.setenv("FREEHOLD_ORDERS_DATABASE", f"sqlite:///{tmp_path}/orders.db")
    monkeypatch.setenv("FREEHOLD_BROKER", url)
    monkeypatch.setenv("FREEHOLD_ORDERS_BROKER_OPTIONS_CONNECT_TIMEOUT_SECONDS", "0.3")
    monkeypatch.setenv("FREEHOLD_ORDERS_LEASE_SECONDS", "0.2")
    assert typed("db", "upgrade").code == 0
    for command in ("doctor", "ps", *(["run"] if code == 1 else [])):
        answer = typed(command, "--service", "orders", "--json")
        assert PASSWORD not in answer.out + answer.err
        assert "Traceback" not in answer.err
        assert answer.code == (code if command == "doctor" or code == 3 else 2), command


def test_services_run_without_their_broker(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FREEHOLD_ORDERS_DATABASE", f"sqlite:///{tmp_path}/orders.db")
    monkeypatch.setenv("FREEHOLD_BROKER", f"nats://me:{PASSWORD}@127.0.0.1:1")
    told: list[str] = []

    def note(text: str) -> None:
        told.append(text)
        if text.startswith("running orders"):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("freehold.cli.run.note", note)
    answer = typed("run", "--service", "orders", "--json")
    assert (answer.code, answer.document["running"]) == (0, ["orders"])
    assert told[0].startswith("orders waits for its broker: NATS cannot be reached")
    assert PASSWORD not in answer.out + answer.err + told[0]


def test_doctor_goes_on_past_a_setting_that_is_wrong(typed: Typed, tmp_path: Path) -> None:
    Path("freehold.toml").write_text(
        f"""
        broker = "memory://"
        [services.bad]
        database = "sqlite:///{tmp_path}/bad.db"
        workers = "{PASSWORD}"
        [services.fine]
        database = "sqlite:///{tmp_path}/fine.db"
        [services.short]
        database = "sqlite:///{tmp_path}/short.db"
        dedup_window_seconds = 60
        """
    )
    answer = typed("doctor", "--json")
    assert answer.code == 1
    assert PASSWORD not in answer.out + answer.err
    findings = {
        (report["place"], each["subject"]): each for report in answer.document["reports"] for each in report["findings"]
    }
    assert "workers" in findings["settings of bad", "settings"]["detail"]
    fine = findings["database of fine", "migrations"]
    assert (fine["ok"], fine["fix"]) == (False, "freehold db upgrade --service fine")
    window = findings["broker of fine, short", "dedup window"]
    assert (window["ok"], "short" in window["detail"]) == (False, True)
    assert typed("db", "upgrade", "-s", "fine").code == 0
    text = typed("doctor", "-s", "fine").out
    assert "migrations: all are applied" in text
    assert "SQLite 3" in text


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("broker = [", "freehold.toml"),
        ("brokr = 'x'", "brokr"),
        ("services = 3", "services"),
        ("[project]\nmodules = 3", "modules"),
    ],
)
def test_a_settings_file_that_is_wrong(typed: Typed, content: str, named: str) -> None:
    Path("freehold.toml").write_text(content)
    answer = typed("outbox", "--service", "orders", "--json")
    _is_clean(answer)
    assert answer.code == 2
    assert named in answer.err
    assert answer.document["error"]["kind"] == "ConfigurationError"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent_module", None, "module 'absent_module' does not exist"),
        ("raises_at_import", f"\nraise ValueError('{PASSWORD}')", "raises_at_import.py line 2"),
        ("no_python", "def", "no_python.py line 1"),
        ("wants_another", "import absent_other", "module 'absent_other' does not exist"),
        ("no_service", "x = 1", "no service is known"),
        ("bad_name", "from freehold import Service\nx = Service('Bad Name')", "not a service name"),
    ],
)
def test_a_module_that_cannot_be_used(typed: Typed, name: str, content: str | None, told: str) -> None:
    if content is not None:
        Path(f"{name}.py").write_text(content)
    answer = typed("--app", name, "describe")
    _is_clean(answer)
    assert answer.code == 2
    assert told in answer.err


def test_a_service_mistyped_is_no_new_database(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FREEHOLD_ORDERS_ARCHIVE_DATABASE", f"sqlite:///{tmp_path}/orders.db")
    answer = typed("dlq", "list", "--service", "orders-archiv")
    assert answer.code == 2
    assert "orders-archive" in answer.err
    assert list(tmp_path.glob("**/*.db")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["dlq", "show", "no-id"],
        ["dlq", "replay", LETTER],
        ["dlq", "replay", LETTER, "--reason", "  "],
        ["dlq", "discard", LETTER, "--reason", "x", "--json"],
        ["dlq", "edit", LETTER, "--reason", "x", "--body", "/no/such/file"],
        ["saga", "list", "--status", "nonsense"],
        ["saga", "compensate", "order", "--reason", "x"],
        ["saga", "terminate", "order", "--reason", "x"],
        ["saga", "skip", "order", "--reason", "x"],
        ["schedule", "cancel", LETTER, "--reason", "x"],
        ["outbox", "--max-lag-seconds", "-1"],
        ["dlq", "list", "--limit", "0"],
        ["run", "--role", "nonsense"],
    ],
)
def test_wrong_usage_is_2_and_waits_for_nobody(typed: Typed, arguments: list[str]) -> None:
    answer = typed(*arguments)
    _is_clean(answer)
    assert answer.code == 2


def test_a_database_without_its_tables_says_what_makes_them(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_ORDERS_DATABASE", "sqlite:///./orders.db")
    answer = typed("saga", "list", "-s", "orders")
    assert answer.code == 2
    assert "freehold db upgrade" in answer.err
    status = typed("db", "status", "--json")
    assert (status.code, len(status.document["pending"]["orders"]) > 3) == (1, True)
    assert typed("db", "upgrade", "--json").document["applied"] == status.document["pending"]
    assert typed("db", "status").code == 0
    assert typed("saga", "list", "-s", "orders").code == 0
