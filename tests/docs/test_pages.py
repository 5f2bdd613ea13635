"""Every Python block of the docs and the README runs as it stands, and prints what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.blocks import ROOT, read_page, run_page

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNING = [path for path in PAGES if read_page(path).program.strip()]


@pytest.mark.parametrize("path", RUNNING, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_runs_as_it_stands(path: Path, tmp_path: Path) -> None:
    page = read_page(path)
    done = run_page(page, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if page.prints:
        assert done.stdout == page.prints


def test_blocks_that_fail_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        'text\n\n```python\nx = 1\n```\n\n```python title="not run: x"\n1 / 0\n```\n\n```python\nx / 0\n```\n'
    )
    done = run_page(read_page(path), tmp_path)
    assert (done.returncode, "line 12" in done.stderr) == (1, True)
