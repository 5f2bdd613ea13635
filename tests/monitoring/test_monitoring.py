"""The alert rules, their runbooks and the dashboard: each rule fires and stays silent, each metric in them exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from freehold.runtime.patterns import PATTERNS
from freehold.telemetry import declared_families
from freehold_shop.servers import ServerUnavailable, find_promtool

_ROOT: Final = Path(__file__).parents[2]
_FILES: Final = _ROOT / "docs" / "assets" / "monitoring"
_ALERTS: Final = (_FILES / "alerts.yml").read_text(encoding="utf-8")
_TESTS: Final = Path(__file__).with_name("alerts_test.yml")
_DASHBOARD: Final = json.loads((_FILES / "dashboard.json").read_text(encoding="utf-8"))
_METRIC: Final = re.compile(r"\b(?:freehold|database)_[a-z_]+\b")
_DECLARED: Final = {family.name for families in declared_families(PATTERNS).values() for family in families}


def _metrics(expression: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in _METRIC.findall(expression)}


def _alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", _ALERTS)


@pytest.mark.servers
def test_every_rule_fires_on_what_it_is_for_and_on_nothing_else(tmp_path: Path) -> None:
    try:
        promtool = find_promtool()
    except ServerUnavailable as error:
        pytest.skip(f"left out: {error}")
    for path in (_FILES / "alerts.yml", _TESTS):
        shutil.copy(path, tmp_path)
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([str(promtool), *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test_that_fires_and_one_that_is_silent() -> None:
    tests = _TESTS.read_text(encoding="utf-8")
    for name in _alerts():
        assert len(re.findall(rf"alertname: {name}\n        exp_alerts:\n", tests)) == 1, name
        assert len(re.findall(rf"alertname: {name}\n        exp_alerts: \[\]\n", tests)) == 1, name


def test_every_alert_has_its_runbook() -> None:
    page = (_ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert headings == _alerts()
    assert re.findall(r'runbook: "runbooks\.md#(\w+)"', _ALERTS) == [name.lower() for name in headings]


def test_every_rule_uses_metrics_that_exist_and_is_quoted_in_its_runbook() -> None:
    page = (_ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    expressions = re.findall(r"expr: (.+)", _ALERTS)
    assert len(expressions) == len(_alerts())
    for expression in expressions:
        assert _metrics(expression)
        assert _metrics(expression) <= _DECLARED
        assert f"`{expression}`" in page


def test_every_panel_of_the_dashboard_asks_for_metrics_that_exist() -> None:
    panels = _DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    for panel in panels:
        for target in panel["targets"]:
            assert _metrics(target["expr"]), panel["title"]
            assert _metrics(target["expr"]) <= _DECLARED, panel["title"]


def test_rules_and_panels_take_one_of_the_values_that_several_processes_show() -> None:
    read = {family.name for family in declared_families(PATTERNS)["database"]}
    panels = [target["expr"] for panel in _DASHBOARD["panels"] for target in panel["targets"]]
    for expression in [*re.findall(r"expr: (.+)", _ALERTS), *panels]:
        if _metrics(expression) & read:
            assert expression.startswith(("max by (", "min by (")), expression
