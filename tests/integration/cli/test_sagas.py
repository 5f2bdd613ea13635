"""`freehold saga` and `schedule` on real databases: an operator decides for sagas that wait for one."""

from __future__ import annotations

import inspect
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.cli import till
from tests.integration.cli.work import Project, failing_sagas, ran, schedule_one, stuck_sagas
from tests.unit.cli.typing_in import Typed

pytestmark = pytest.mark.timeout(240)


def _status(typed: Typed, key: str) -> str:
    status: str = typed("saga", "show", key, "--json").document["status"]
    return status


def _unsent(typed: Typed) -> int:
    pending: int = typed("outbox", "-s", "till", "--json").document["services"][0]["outbox"]["pending"]
    return pending


def test_stuck_sagas_are_found_and_their_story_is_told(project: Project, typed: Typed) -> None:
    ran(stuck_sagas(project, "a", "b"))
    found = typed("saga", "list", "--status", "needs-attention", "--json").document["sagas"]
    assert [each["key"] for each in found] == ["b", "a"]
    assert typed("saga", "list", "--status", "completed", "--json").document["sagas"] == []
    assert [each["key"] for each in typed("saga", "list", "--key", "a", "--json").document["sagas"]] == ["a"]
    assert typed("saga", "list", "--definition", "other", "--json").document["sagas"] == []
    by_id = typed("saga", "show", found[1]["id"], "--json").document
    assert by_id == typed("saga", "show", "a", "--json").document
    assert [each["what"] for each in by_id["journal"] if each["step"] == "pick"][-1] == "needs-attention"
    assert "needs-attention" in typed("saga", "show", "a").out
    assert typed("saga", "show", "a", "--mermaid").out.startswith("sequenceDiagram")
    assert typed("saga", "diagram", "till.selling").out.startswith("stateDiagram-v2")
    absent = typed("saga", "diagram", "till.absent")
    assert (absent.code, "till.selling" in absent.err) == (1, True)
    assert typed("saga", "show", uuid4()).code == 1
    assert typed("doctor", "-s", "till", "--json").code == 1
    assert "saga list --status needs-attention" in typed("doctor", "-s", "till").out


def test_people_decide_and_it_is_written_down(project: Project, typed: Typed) -> None:
    ran(stuck_sagas(project, "retry", "skip", "compensate", "terminate"))
    ends = {"retry": "compensating", "skip": "compensated", "compensate": "compensating", "terminate": "terminated"}
    for decision, status in ends.items():
        yes = [] if decision == "retry" else ["--yes"]
        if yes:
            assert typed("saga", decision, decision, "--reason", "x").code == 2
            assert _status(typed, decision) == "needs-attention"
        answer = typed("saga", decision, decision, "--reason", f"why {decision}", *yes, "--json")
        assert (answer.code, answer.document["status"]) == (0, status), decision
        assert _status(typed, decision) == status
    # Those that ask for the compensation again staged it in the same transaction.
    assert _unsent(typed) == 2
    trail: list[Any] = typed("audit", "--json").document["actions"]
    assert {(each["action"], each["reason"]) for each in trail} == {(f"saga.{d}", f"why {d}") for d in ends}
    refused = typed("saga", "retry", "terminate", "--reason", "x")
    assert (refused.code, "Traceback" in refused.err) == (1, False)
    assert len(typed("audit", "--json").document["actions"]) == 4


def test_a_failing_hook_is_shown_with_its_place_and_run_again(
    project: Project, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(till.till.sagas, ("till.booking", 1), till.Booking)
    monkeypatch.setattr(till, "broken", [ZeroDivisionError("card 4111")])
    ran(failing_sagas(project, "a", "b"))
    line = inspect.getsourcelines(till.book)[1] + 2
    wrong = f"action of book: ZeroDivisionError at tests/integration/cli/till.py:{line}"
    shown = typed("saga", "show", "a").out
    assert f"problem: {wrong} (failed 2 times, retry in " in shown
    listed = typed("saga", "list", "--status", "needs-attention", "--json").document["sagas"]
    assert [each["problem"].partition(" (")[0] for each in listed] == [wrong, wrong]
    failure = listed[0]["hook_failure"]
    assert (failure["step"], failure["hook"], failure["failures"]) == ("book", "action", 2)
    assert (failure["error"], failure["place"]) == ("ZeroDivisionError", f"tests/integration/cli/till.py:{line}")
    assert 0 < failure["next_try_seconds"] <= 60
    assert "problem" in typed("saga", "list").out
    assert f"2 of them: {wrong}" in typed("doctor", "-s", "till").out

    again = typed("saga", "retry", "a", "--reason", "hope", "--json")
    assert (again.code, again.document["status"]) == (1, "running")
    assert again.document["problem"].startswith(wrong)
    monkeypatch.setattr(till, "broken", [])
    mended = typed("saga", "retry", "a", "--reason", "deployed the fix", "--json")
    assert (mended.code, mended.document["status"], mended.document["problem"]) == (0, "completed", None)
    skipped = typed("saga", "skip", "b", "--reason", "booked by hand", "--yes", "--json")
    assert (skipped.code, skipped.document["status"]) == (0, "completed")
    assert _unsent(typed) == 0
    story = typed("saga", "show", "a", "--json").document["journal"]
    assert [each["what"] for each in story].count("hook-failed") == 3
    assert "4111" not in shown + str(story)
    assert [each["action"] for each in typed("audit", "--json").document["actions"]].count("saga.retry") == 2


def test_what_follows_from_a_decision_starts_another_saga(
    project: Project, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command has the engine of the service, as the service itself."""
    monkeypatch.setitem(till.till.sagas, ("till.booking", 1), till.Booking)
    monkeypatch.setattr(till, "broken", [ZeroDivisionError()])
    ran(failing_sagas(project, "a"))
    monkeypatch.setattr(till, "broken", [])
    monkeypatch.setattr(till, "following", ["b"])
    mended = typed("saga", "retry", "a", "--reason", "deployed the fix", "--json")
    assert (mended.code, mended.document["status"]) == (0, "completed")
    found = {each["key"]: each["definition"] for each in typed("saga", "list", "--json").document["sagas"]}
    assert found["b"] == "till.selling"


def test_a_decision_needs_the_definition(project: Project, typed: Typed) -> None:
    ran(stuck_sagas(project, "a"))
    project.file.write_text(project.file.read_text().replace("modules = ", "# "))
    assert typed("saga", "show", "a", "-s", "till").code == 0
    answer = typed("saga", "retry", "a", "-s", "till", "--reason", "x")
    assert (answer.code, "--app" in answer.err) == (2, True)
    assert typed("describe").code == 2


def test_a_scheduled_message_is_taken_back_once(project: Project, typed: Typed) -> None:
    ran(schedule_one(project))
    (found,) = typed("schedule", "list", "--json").document["scheduled"]
    assert (found["type"], found["service"], found["key"]) == ("depot.put-back", "till", "later")
    assert typed("schedule", "list", "--type", "other", "--json").document["scheduled"] == []
    assert "in 60 min" in typed("schedule", "list").out
    assert typed("schedule", "cancel", found["id"], "--reason", "x").code == 2
    cancelled = typed("schedule", "cancel", found["id"], "--reason", "x", "--yes", "--json")
    assert (cancelled.code, cancelled.document["service"]) == (0, "till")
    assert typed("schedule", "cancel", found["id"], "--reason", "x", "--yes").code == 1
    (action,) = typed("audit", "--json").document["actions"]
    assert (action["action"], action["subject"]) == ("schedule.cancel", found["id"])
