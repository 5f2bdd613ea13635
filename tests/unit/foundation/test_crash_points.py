"""Each crash point is registered and passed at one place; without a variable a point does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import freehold
from freehold.crash_points import CRASH_AT, CRASH_POINTS, CRASH_RECORD

_SOURCES = sorted(Path(freehold.__file__).parent.rglob("*.py"))
_THREE_TIMES = """
from freehold.crash_points import crash_point
for _ in range(3):
    crash_point("outbox.published")
print("lives")
"""


def _called() -> Counter[str]:
    found: Counter[str] = Counter()
    for path in _SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crash_point":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: a point's name is written out"
                found[str(name.value)] += 1
    return found


def _run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _THREE_TIMES], env=environment, capture_output=True, text=True, check=False
    )


def test_each_registered_point_is_passed_at_one_place_and_no_other_is() -> None:
    called = _called()
    assert called.keys() == CRASH_POINTS
    assert [name for name, places in called.items() if places > 1] == []
    assert len(CRASH_POINTS) > 100


def test_an_armed_process_kills_itself_at_the_occurrence_that_is_named(tmp_path: Path) -> None:
    record = tmp_path / "passed"
    assert _run().stdout == "lives\n"
    killed = _run(**{CRASH_AT: "outbox.published#2", CRASH_RECORD: str(record)})
    assert (killed.returncode, killed.stdout) == (-9, "")
    assert record.read_text() == "outbox.published\n" * 2
    assert _run(**{CRASH_AT: "outbox.published#4"}).stdout == "lives\n"
    assert _run(**{CRASH_AT: "*#3"}).returncode == -9


def test_a_point_that_does_not_exist_cannot_be_armed() -> None:
    refused = _run(**{CRASH_AT: "outbox.publshed#1"})
    assert refused.returncode == 1
    assert "there is no crash point 'outbox.publshed'" in refused.stderr
