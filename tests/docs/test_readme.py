"""The README's example is the one that people copy first: 30 lines, complete, and it runs again and again."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.blocks import ROOT, Page, run_page

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_has_thirty_lines() -> None:
    assert 25 <= len(BLOCKS[0].rstrip().splitlines()) <= 32


def test_each_example_is_complete_and_can_be_repeated(tmp_path: Path) -> None:
    for number, block in enumerate(BLOCKS):
        directory = tmp_path / str(number)
        directory.mkdir()
        for _ in range(2):
            done = run_page(Page(block, ""), directory)
            assert done.returncode == 0, done.stderr
