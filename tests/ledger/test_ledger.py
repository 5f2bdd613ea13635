"""Nothing gets dearer unseen: what each step costs on each engine is what the baseline says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.ledger.baseline import Baseline, Change, changes, history, parse, read, render, unexplained
from tests.ledger.count import counted
from tests.ledger.counters import on_mariadb, on_postgres, on_sqlite
from tests.ledger.flows import FLOWS
from tests.ledger.idle import IDLE
from tests.ledger.page import PAGE, page

_HOW = 'record it: python -m tests.ledger --write, with --why "FEATURE: WHAT IT COSTS AND GIVES" for what grows'
_GROWN = '[[growth]]\nflow = "f"\nengine = "e"\ncounter = "c"\nwas = {was}\nnow = {now}\nwhy = "{why}"\n'


async def test_each_step_costs_on_sqlite_what_the_baseline_says(tmp_path: Path) -> None:
    _check("sqlite", await counted(on_sqlite(tmp_path), tmp_path))


@pytest.mark.servers
async def test_each_step_costs_on_postgres_what_the_baseline_says(postgres_url: str, tmp_path: Path) -> None:
    _check("postgresql", await counted(on_postgres(postgres_url), tmp_path))


@pytest.mark.servers
async def test_each_step_costs_on_mariadb_what_the_baseline_says(mariadb_url: str, tmp_path: Path) -> None:
    _check("mariadb", await counted(on_mariadb(mariadb_url), tmp_path))


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read()), "python -m tests.ledger --write"


def test_every_flow_has_a_line_and_every_line_a_flow() -> None:
    assert list(read().costs) == [*(flow.name for flow in FLOWS), IDLE]


def test_no_counter_has_grown_without_a_line_since_the_first_baseline() -> None:
    after = read()
    for commit, before in history():
        grown = unexplained(before, after)
        assert not grown, f"grown since {commit} without a [[growth]] that says why: {', '.join(map(str, grown))}"
        after = before


@pytest.mark.parametrize(("was", "now", "why"), [(4, 5, ""), (5, 5, "a feature"), (5, 4, "a feature")])
def test_a_growth_that_says_nothing_is_refused(was: int, now: int, why: str) -> None:
    with pytest.raises(ValueError, match="needs"):
        parse(_GROWN.format(was=was, now=now, why=why))


def test_what_grew_is_found_where_no_line_says_why() -> None:
    before = Baseline({"f": {"e": {"c": 4}}})
    after = Baseline({"f": {"e": {"c": 6}}})
    assert unexplained(before, after) == [Change("f", "e", "c", 4, 6)]
    told = parse('["f"]\ne = { c = 6 }\n' + _GROWN.format(was=4, now=5, why="x") + _GROWN.format(was=5, now=6, why="y"))
    assert unexplained(before, told) == []
    assert unexplained(told, Baseline({"f": {"e": {"c": 7}}}, told.growths)) == [Change("f", "e", "c", 6, 7)]
    assert unexplained(after, before) == []


def test_what_is_written_is_what_is_read() -> None:
    text = render(read())
    assert parse(text) == read()
    assert render(parse(text)) == text


def _check(engine: str, found: Mapping[str, Mapping[str, int]]) -> None:
    said = {flow: {engine: engines[engine]} for flow, engines in read().costs.items() if engine in engines}
    differ = changes(said, {flow: {engine: counters} for flow, counters in found.items()})
    assert not differ, "\n".join([*map(str, differ), _HOW])
