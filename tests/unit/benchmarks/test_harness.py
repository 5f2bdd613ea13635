"""The benchmarks run, check themselves, and are shown: on files, with tiny sizes."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from unittest.mock import patch

import pytest
from benchmarks import page, plot
from benchmarks.cases import backlog, events, sagas
from benchmarks.cases.conditions import CheckFailed, Conditions, expect
from benchmarks.goals import BEFORE, NAMES, NOW, ROWS, Goal
from benchmarks.ground import CaseFailed, Ground, Side
from benchmarks.results import Measured, judged, read, write
from benchmarks.rounds import measure, shown

ROOT = Path(__file__).parents[3]


def _conditions(tmp_path: Path, variant: str, messages: int = 0) -> Conditions:
    databases = tuple(f"sqlite:///{tmp_path}/{number}.db" for number in range(2))
    return Conditions(databases=databases, variant=variant, messages=messages, seconds=0.1, directory=str(tmp_path))


def _measured(values: dict[str, list[float]]) -> Measured:
    return Measured(sides={side: {"p50_ms": each} for side, each in values.items()})


def test_conditions_cross_the_border_of_a_process() -> None:
    conditions = Conditions(databases=("a", "b"), pids=(1, 2), rates_per_second=(10.0, 30.0), variant="x")
    assert Conditions.from_json(conditions.to_json()) == conditions


def test_a_backlog_is_published_and_handled(tmp_path: Path) -> None:
    assert asyncio.run(backlog.measure(_conditions(tmp_path, "inbox-row", 30)))["per_second"] > 0


def test_sagas_end(tmp_path: Path) -> None:
    assert asyncio.run(sagas.measure(_conditions(tmp_path, "calls")))["per_second"] > 0


def test_events_are_appended(tmp_path: Path) -> None:
    assert asyncio.run(events.measure(_conditions(tmp_path, "")))["per_second"] > 0


def test_a_case_fails_where_its_work_is_not_done(tmp_path: Path) -> None:
    with patch.object(backlog, "_pending", side_effect=CheckFailed("lost")), pytest.raises(CheckFailed):
        asyncio.run(backlog.measure(_conditions(tmp_path, "inbox", 5)))
    with pytest.raises(CheckFailed, match="rows: 1, and should be 2"):
        expect(1, 2, "rows")


def test_a_program_that_fails_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(CaseFailed, match="No module named"):
        Ground(tmp_path).run(Side(NOW), "benchmarks.cases.none", Conditions(), engine="", broker="")


def test_a_missing_server_and_missing_peers_are_said(tmp_path: Path) -> None:
    made = Ground(tmp_path)
    made.missing["postgresql"] = "no PostgreSQL on this machine"
    row = ROWS[0]
    measured = measure(row, made, {NOW: Side(NOW)}, 1, 1.0)
    lines = "\n".join(shown(row, measured, list(row.runs)))
    assert "now is left out: no PostgreSQL on this machine" in lines
    assert "txoutbox is left out" in lines


def test_the_sides_take_turns(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.key == "hop-nats")
    sides = {NOW: Side(NOW), BEFORE: Side(BEFORE)}
    order: list[str] = []

    def run(_self: Ground, side: Side, *_args: object, **_kwargs: object) -> dict[str, float]:
        order.append(side.name)
        return {"p50_ms": 1.0}

    with patch.object(Ground, "run", run):
        measure(row, Ground(tmp_path), sides, 2, 1.0)
    assert order == [BEFORE, NOW, NOW, BEFORE]


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal("p50_ms", BEFORE, at_most=0.5), True),
        (Goal("p50_ms", BEFORE, at_most=0.4), False),
        (Goal("p50_ms", at_least=11), False),
        (Goal("p50_ms", "nobody", at_most=1), None),
    ],
)
def test_a_goal_compares_medians(goal: Goal, reached: bool | None) -> None:
    assert judged(goal, _measured({NOW: [9, 10, 90], BEFORE: [20, 20, 1]})).yes is reached


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "results" / "goals.json"
    write({"row": _measured({NOW: [1.23456]})}, file)
    assert read(file)["row"].values(NOW, "p50_ms") == [1.235]


def test_every_figure_has_a_name_and_every_goal_a_figure() -> None:
    for row in ROWS:
        assert set(row.shown) <= NAMES.keys()
        assert all(str(goal) and goal.figure in row.shown for goal in row.goals), row.key


def test_the_page_is_made_of_what_is_kept() -> None:
    assert page.PAGE_FILE.read_text(encoding="utf-8") == page.made(read())


def test_the_plot_has_a_line_for_each_side() -> None:
    measured = Measured(sides={NOW: {"p50_ms@10": [1.0], "p50_ms@30": [2.0]}, BEFORE: {"p50_ms@10": [3.0]}})
    drawn = plot.draw({"memory": measured})
    assert drawn.count("<title>") == 3
    assert "10/s: 1.00, 30/s: 2.00" in drawn


def test_the_peers_are_pinned_with_hashes() -> None:
    pins = (ROOT / "requirements" / "peers.txt").read_text(encoding="utf-8")
    assert "txoutbox==" in pins
    assert "dbos==" in pins
    assert "--hash=sha256:" in pins
    assert "://" not in pins
    assert "dbos" not in str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])
