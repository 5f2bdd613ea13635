"""Settings as the command line reads them: a file that is missing, and names that nothing reads, are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.unit.cli.typing_in import Typed, typist

_MODULE = """
from freehold import Service

orders = Service("orders")
"""


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typed:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("FREEHOLD_SETTINGS", "FREEHOLD_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "declaring_orders", raising=False)
    Path("declaring_orders.py").write_text(_MODULE)
    return typist(capsys)


@pytest.mark.parametrize("command", [["doctor"], ["db", "status"], ["run"], ["dlq", "list"]])
def test_a_settings_file_that_is_missing_is_told(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("FREEHOLD_SETTINGS", "/nope.toml")
    answer = typed(*command)
    assert answer.code != 0
    assert "/nope.toml" in answer.out + answer.err
    assert "does not exist" in answer.out + answer.err


def test_where_no_service_is_known_the_file_that_was_looked_for_is_told(typed: Typed, tmp_path: Path) -> None:
    answer = typed("db", "status")
    assert answer.code != 0
    assert f"the settings file {tmp_path}/freehold.toml does not exist" in " ".join(answer.err.split())
    Path("freehold.toml").write_text("")
    assert f"{tmp_path}/freehold.toml was read" in " ".join(typed("db", "status").err.split())


def test_a_misspelt_service_is_told_with_the_nearest(typed: Typed) -> None:
    assert "did you mean orders?" in typed("--app", "declaring_orders", "db", "status", "--service", "oders").err


def test_misspelt_variables_are_told_by_commands_and_by_doctor(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_ODERS_DATABASE", "sqlite:///oders.db")
    monkeypatch.setenv("FREEHOLD_BROKR", "memory://")
    monkeypatch.setenv("FREEHOLD_BILLING_DATABASE", "sqlite:///billing.db")
    upgraded = typed("--app", "declaring_orders", "db", "upgrade")
    assert upgraded.code == 0
    told = " ".join(upgraded.err.split())
    assert "nothing reads FREEHOLD_ODERS_DATABASE: is FREEHOLD_ORDERS_DATABASE meant?" in told
    assert "nothing reads FREEHOLD_BROKR: is FREEHOLD_BROKER meant?" in told
    assert "BILLING" not in told
    doctor = typed("--app", "declaring_orders", "doctor", "--json")
    findings = {
        (report["place"], each["subject"]): each for report in doctor.document["reports"] for each in report["findings"]
    }
    assert doctor.code == 1
    assert not findings["names of settings", "FREEHOLD_ODERS_DATABASE"]["ok"]
    assert "FREEHOLD_BROKER" in findings["names of settings", "FREEHOLD_BROKR"]["fix"]
    place = findings["database of orders", "database"]
    assert "sqlite:///./.freehold/data/orders.db, the default" in place["detail"]
    assert "FREEHOLD_ORDERS_DATABASE" in place["fix"]
