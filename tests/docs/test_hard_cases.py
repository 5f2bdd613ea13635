"""The page of hard cases names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_is_named_exists() -> None:
    page = (ROOT / "docs" / "hard-cases.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src/freehold/conformance").glob("*.py")]
    known = {name for path in sources for name in re.findall(r"def (test_\w+)\(", path.read_text())}
    assert len(named) >= 15
    assert named <= known
    for number in range(1, 12):
        assert f"\n| {number}. " in page
