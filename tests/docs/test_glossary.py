"""The glossary is true of the code: each name in it exists, and each term is explained once."""

from __future__ import annotations

import re
from typing import Final

from tests.docs.blocks import ROOT

_PAGE: Final = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
_ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in _PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| --- ", "| term "))
]
_COMMANDS: Final = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


def test_each_term_has_one_row() -> None:
    terms = [row[0] for row in _ROWS]
    assert len(terms) > 80
    assert sorted(terms) == sorted(set(terms))


def test_each_name_is_in_the_code() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    names = [name for row in _ROWS for name in re.findall(r"`([^`]+)`", row[2])]
    assert len(names) > 60
    for name in names:
        if name.startswith("freehold "):
            assert all(part in _COMMANDS for part in name.split(" --")), name
        else:
            assert re.search(rf"\b{re.escape(name.rstrip('='))}\b", sources), name
