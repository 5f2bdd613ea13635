"""The runner of crash points, on a scenario of a few lines that passes points itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from freehold.crash_points import crash_point
from freehold.testing import CrashScenario, CrashViolation, Passage, crash_once, explore_crashes

_STEPS = 3


class _Counting(CrashScenario):
    """Takes three steps, and notes each in a file. With `twice` the note comes before what makes the step known."""

    def __init__(self, *, twice: bool = False) -> None:
        self._twice = twice

    async def life(self, place: Path) -> None:
        known, notes = place / "known", place / "notes"
        for number in range(int(known.read_text()) if known.exists() else 0, _STEPS):
            crash_point("outbox.before-publish")
            if self._twice or not (place / f"note-{number}").exists():
                (place / f"note-{number}").touch()
                notes.write_text((notes.read_text() if notes.exists() else "") + f"{number} ")
            crash_point("outbox.published")
            known.write_text(str(number + 1))

    async def check(self, place: Path) -> Sequence[str]:
        notes = (place / "notes").read_text().split()
        return [] if notes == ["0", "1", "2"] else [f"the notes are {notes}"]


class _Stuck(_Counting):
    life_seconds = 0.2

    async def life(self, place: Path) -> None:
        await asyncio.Event().wait()


def test_it_kills_at_every_passage_and_then_in_the_recovery() -> None:
    report = explore_crashes(_Counting(), pairs=5)
    assert [run.name for run in report.runs[1:7]] == [
        f"outbox.{point}#{number}" for number in (1, 2, 3) for point in ("before-publish", "published")
    ]
    assert (report.runs[0].reached, len(report.runs), report.kills >= 6 + 5) == (0, 12, True)
    assert report.points >= {"outbox.before-publish", "outbox.published"}


def test_a_violation_says_which_call_repeats_it() -> None:
    with pytest.raises(CrashViolation, match=r"the notes are") as failure:
        explore_crashes(_Counting(twice=True), points=["outbox.published"])
    assert "crash_once(_Counting(), ['outbox.published#1'], place)" in str(failure.value)


def test_a_passage_that_does_not_come_kills_nothing(tmp_path: Path) -> None:
    run = crash_once(_Counting(), ["outbox.published#9"], tmp_path)
    assert (run.reached, run.violations, run.passages) == (0, [], {"outbox.before-publish": 3, "outbox.published": 3})


def test_a_life_that_does_not_end_is_a_violation(tmp_path: Path) -> None:
    run = crash_once(_Stuck(), (), tmp_path)
    assert "did not end within 0.2 s" in run.violations[0]


def test_a_life_that_is_killed_by_somebody_else_is_a_violation(tmp_path: Path) -> None:
    class Killed(_Counting):
        async def life(self, place: Path) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    run = crash_once(Killed(), (), tmp_path)
    assert "ended with -9" in run.violations[0]


def test_a_passage_is_a_text_and_first_occurrences_come_first() -> None:
    texts = ["outbox.published#2", "inbox.received#10", "outbox.published#1", "*#3"]
    passages = sorted(Passage.parse(text) for text in texts)
    assert [str(each) for each in passages] == [texts[2], texts[0], texts[3], texts[1]]
    with pytest.raises(ValueError, match="no crash point"):
        Passage.parse("outbox.publshed")
