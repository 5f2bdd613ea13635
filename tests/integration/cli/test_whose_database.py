"""The command line on a database that belongs to another service: refused by name, until it is marked again."""

from __future__ import annotations

import pytest
from tests.integration.cli.work import Project
from tests.unit.cli.typing_in import Typed

WHY = ("--reason", "till was renamed")
TOLD = "belongs to 'till', and this is 'kiosk'"


@pytest.fixture
def kiosk(typed: Typed, project: Project) -> str:
    """A service that no module declares, whose settings name the database of another."""
    lines = project.file.read_text().splitlines()
    (database,) = (lines[number + 1] for number, each in enumerate(lines) if each == "[services.till]")
    project.file.write_text("\n".join([*lines, "[services.kiosk]", database]))
    return "kiosk"


@pytest.mark.parametrize(
    "command", [("ps",), ("outbox",), ("dlq", "list"), ("audit",), ("db", "upgrade"), ("db", "status")]
)
def test_commands_refuse_it_by_name(typed: Typed, kiosk: str, command: tuple[str, ...]) -> None:
    answer = typed(*command, "--service", kiosk)
    assert answer.code != 0
    assert TOLD in answer.err
    assert "freehold db mark kiosk --instead-of till" in answer.err


def test_doctor_names_it(typed: Typed, kiosk: str) -> None:
    report = typed("doctor", "--service", kiosk, "--json")
    assert report.code == 1
    told = [finding for each in report.document["reports"] for finding in each["findings"] if not finding["ok"]]
    assert [TOLD in finding["detail"] for finding in told] == [True]
    assert TOLD not in typed("doctor", "--service", "till").out


def test_a_renamed_service_takes_its_database_along(typed: Typed, kiosk: str) -> None:
    assert typed("db", "mark", kiosk, "--instead-of", "depot", *WHY).code != 0
    assert typed("db", "mark", kiosk, "--instead-of", "till").code == 2
    done = typed("db", "mark", kiosk, "--instead-of", "till", *WHY, "--json")
    assert (done.code, done.document) == (0, {"service": "kiosk", "instead_of": "till"})
    assert typed("outbox", "--service", kiosk).code == 0
    assert "belongs to 'kiosk'" in typed("outbox", "--service", "till").err
    (entry,) = typed("audit", "--service", kiosk, "--json").document["actions"]
    assert (entry["action"], entry["subject"], entry["reason"]) == ("db.mark", "kiosk", WHY[1])
