"""`freehold dlq` on real databases: what it shows, what it does, and what it writes down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.integration.cli.till import depot
from tests.integration.cli.work import Project, keep, letter, ran
from tests.unit.cli.typing_in import Typed

from freehold.deadletters.commands import actions

pytestmark = pytest.mark.timeout(240)


def _ids(answer: object) -> list[str]:
    assert isinstance(answer, dict)
    return [each["id"] for each in answer["dead_letters"]]


def test_letters_are_listed_by_what_they_are_and_shown_whole(project: Project, typed: Typed) -> None:
    first = letter(-1)
    other = letter(-2, reason="invalid-body", type="depot.pick", failed_at=first.failed_at + timedelta(seconds=1))
    unreadable = letter(-3, document=b"\xff\x00", message_id=None, failed_at=first.failed_at + timedelta(seconds=2))
    ran(keep(project, first, other, unreadable))
    every = typed("dlq", "list", "--json")
    assert _ids(every.document) == [str(unreadable.id), str(other.id), str(first.id)]
    assert "document" not in every.document["dead_letters"][0]
    assert _ids(typed("dlq", "list", "--error-reason", "invalid-body", "--json").document) == [str(other.id)]
    assert _ids(typed("dlq", "list", "--type", "depot.pick", "--json").document) == [str(other.id)]
    assert _ids(typed("dlq", "list", "--limit", "1", "--json").document) == [str(unreadable.id)]
    assert _ids(typed("dlq", "list", "--consumer", "nobody", "--json").document) == []
    assert _ids(typed("dlq", "list", "--service", "till", "--json").document) == []
    text = typed("dlq", "list").out
    assert str(first.id) in text
    assert "cents" not in text
    shown = typed("dlq", "show", first.id, "--json").document
    assert (shown["service"], shown["document"]["data"]) == ("depot", {"sale": "sale -1", "cents": -1})
    assert typed("dlq", "show", unreadable.id, "--json").document["document"] == "\\xff\x00"
    assert "planned" in typed("dlq", "show", first.id).out
    absent = typed("dlq", "show", uuid4())
    assert (absent.code, "there is no dead letter" in absent.err) == (1, True)


def test_an_edited_letter_is_replayed_once(project: Project, typed: Typed, tmp_path: Path) -> None:
    kept = letter(-1)
    ran(keep(project, kept))
    body = tmp_path / "body.json"
    for content, told in (
        ("{", "not JSON"),
        ('{"sale": "a"}', "does not fit"),
        ('{"sale": 3, "cents": 1}', "does not"),
    ):
        body.write_text(content)
        refused = typed("dlq", "edit", kept.id, "--body", body, "--reason", "mended")
        assert (refused.code, told in refused.err, "Traceback" in refused.err) == (2, True, False)
    body.write_text('{\n "sale": "a",\n "cents": 5\n}')
    assert typed("dlq", "edit", kept.id, "--body", body, "--reason", "mended", "--json").document["edited"] is True
    shown = typed("dlq", "show", kept.id, "--json").document
    assert (shown["edited"]["data"], shown["document"]["data"]["cents"]) == ({"sale": "a", "cents": 5}, -1)

    replayed = typed("dlq", "replay", kept.id, "--reason", "sent again", "--json")
    assert (replayed.code, replayed.document["counts"]) == (0, {"done": 1, "refused": 0})
    again = typed("dlq", "replay", kept.id, "--reason", "sent again", "--json")
    assert (again.code, again.document["counts"]) == (1, {"done": 0, "refused": 1})
    assert "replayed already" in again.document["refused"][0]["error"]
    assert typed("outbox", "-s", "depot", "--json").document["services"][0]["deferred"]["pending"] == 1
    shown = typed("dlq", "show", kept.id, "--json").document
    assert (shown["status"], shown["replayed_as"]) == ("replayed", replayed.document["replayed"][0]["new_id"])
    trail = typed("audit", "--subject", kept.id, "--json").document["actions"]
    assert [(each["action"], each["reason"]) for each in trail] == [
        ("dead-letter.replay", "sent again"),
        ("dead-letter.edit", "mended"),
    ]


@pytest.mark.parametrize("batch", [2, 200])
def test_all_that_match_are_replayed_once_each_past_those_refused(
    project: Project, typed: Typed, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(actions, "_BATCH", batch)
    good = [letter(number) for number in range(5)]
    old = [replace(each, failed_at=each.failed_at - timedelta(days=9)) for each in (letter(90), letter(91), letter(92))]
    ran(keep(project, *good, *old, letter(99, reason="invalid-body")))
    bounded = typed(
        "dlq", "replay", "--all", "--limit", "1", "--error-reason", "attempts-exhausted", "--reason", "x", "--json"
    )
    assert bounded.document["counts"] == {"done": 1, "refused": 0}
    answer = typed("dlq", "replay", "--all", "--error-reason", "attempts-exhausted", "--reason", "x", "--json")
    assert (answer.code, answer.document["counts"]) == (1, {"done": 4, "refused": 3})
    assert {each["id"] for each in answer.document["refused"]} == {str(each.id) for each in old}
    assert "days old" in answer.document["refused"][0]["error"]
    late = typed(
        "dlq",
        "replay",
        "--all",
        "--ignore-replay-window",
        "--error-reason",
        "attempts-exhausted",
        "--reason",
        "x",
        "--json",
    )
    assert late.document["counts"] == {"done": 3, "refused": 0}
    assert typed("outbox", "-s", "depot", "--json").document["services"][0]["deferred"]["pending"] == 8
    assert len(_ids(typed("dlq", "list", "--json").document)) == 1


def test_dropping_is_for_those_who_say_so(project: Project, typed: Typed) -> None:
    kept = [letter(number) for number in range(3)]
    ran(keep(project, *kept))
    for arguments in ([kept[0].id], ["--all"]):
        answer = typed("dlq", "discard", *arguments, "--reason", "x")
        assert (answer.code, "--yes" in answer.err) == (2, True)
    assert typed("dlq", "discard", kept[0].id, "--reason", "x", "--yes").code == 0
    # One that does not exist keeps all of those named from being touched.
    assert typed("dlq", "discard", kept[1].id, uuid4(), "--reason", "x", "--yes").code == 1
    assert typed("dlq", "discard", "--reason", "x", "--yes").code == 2
    assert len(_ids(typed("dlq", "list", "--json").document)) == 2
    assert typed("dlq", "discard", "--all", "--reason", "x", "--yes").code == 0
    assert _ids(typed("dlq", "list", "--json").document) == []
    assert len(_ids(typed("dlq", "list", "--status", "discarded", "--json").document)) == 3
    assert {each["action"] for each in typed("audit", "--json").document["actions"]} == {"dead-letter.discard"}


def test_an_action_and_its_audit_row_are_one(project: Project, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = letter(-1)
    ran(keep(project, kept))
    ran(_without_audit(project))
    answer = typed("dlq", "replay", kept.id, "--reason", "x")
    assert answer.code == 1
    ran(_without_audit(project, back=True))
    assert _ids(typed("dlq", "list", "--json").document) == [str(kept.id)]
    assert typed("outbox", "-s", "depot", "--json").document["services"][0]["deferred"]["pending"] == 0


async def _without_audit(project: Project, *, back: bool = False) -> None:
    from sqlalchemy import text

    source, target = ("freehold_audit", "hidden") if not back else ("hidden", "freehold_audit")
    async with project.stores(depot) as stores, stores.database.begin() as db_tx:
        await db_tx.native.execute(text(f"ALTER TABLE {source} RENAME TO {target}"))


def test_a_service_that_is_down_leaves_the_others_shown(project: Project, typed: Typed) -> None:
    kept = letter(-1)
    ran(keep(project, kept))
    text = project.file.read_text()
    project.file.write_text(text + '\n[services.far]\ndatabase = "postgresql://me:hunter2@127.0.0.1:1/far"\n')
    answer = typed("dlq", "list", "--service", "depot", "--service", "far", "--json")
    assert answer.code == 3
    assert _ids(answer.document) == [str(kept.id)]
    assert answer.document["failed"]["far"]["kind"] == "Unavailable"
    assert "hunter2" not in answer.out + answer.err
    unknown = typed("dlq", "show", UUID(int=1), "--service", "depot", "--service", "far")
    assert (unknown.code, "could not be asked" in unknown.err) == (3, True)
    assert typed("dlq", "list", "--service", "far").code == 3
