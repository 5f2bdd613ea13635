"""The names of all tests, so that none is lost on the way: `python -m tests.names --write` adds those that are new.

`names.txt` has a test a line, without parameters. A test that is gone, or has another name, has a line behind
`[renamed]`: `old -> new`, or `old: why it is not needed any more`. A new test need not be in it until somebody writes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

__all__ = ["COLLECTED", "FILE", "ROOT", "Names", "lost", "name_of", "parse", "render"]

ROOT: Final = Path(__file__).parents[1]
FILE: Final = ROOT / "tests" / "names.txt"
COLLECTED: Final = pytest.StashKey[frozenset[str]]()
"""Of a run: the names of all tests that were collected, also of those that are left out by a mark."""
_RENAMED: Final = "[renamed]"
_HEAD: Final = "# Written by `python -m tests.names --write`; what is gone is told behind [renamed] by hand."


@dataclass(frozen=True, slots=True)
class Names:
    """The tests that there were, and what became of those that are gone: another name, or a reason."""

    known: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Names:
    """Read the file. Raises `ValueError` for a line behind `[renamed]` that says neither a name nor a reason."""
    before, _, behind = text.partition(f"\n{_RENAMED}\n")
    renamed: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for line in _lines(behind):
        old, arrow, new = (part.strip() for part in line.partition(" -> "))
        if arrow:
            renamed[old] = new
            continue
        old, _, why = (part.strip() for part in line.partition(": "))
        if not why:
            raise ValueError(f"neither `old -> new` nor `old: why`: {line}")
        dropped[old] = why
    return Names(frozenset(_lines(before)), renamed, dropped)


def render(names: Names) -> str:
    """The text of the file."""
    told = [f"{old} -> {new}" for old, new in names.renamed.items()]
    told += [f"{old}: {why}" for old, why in names.dropped.items()]
    behind = ["", _RENAMED, *sorted(told)] if told else []
    return "\n".join([_HEAD, *sorted(names.known), *behind]) + "\n"


def lost(names: Names, found: Collection[str], whole: Collection[str]) -> list[str]:
    """Names that are gone without a word. `whole` are the files all of whose tests are in `found`."""

    def is_gone(name: str) -> bool:
        file = name.partition("::")[0]
        return name not in found if file in whole else not (ROOT / file).exists()

    gone = {name for name in names.known if is_gone(name)}
    told = {old for old, new in names.renamed.items() if not is_gone(new)} | names.dropped.keys()
    return sorted(gone - told) + sorted(f"{old} -> {new}" for old, new in names.renamed.items() if is_gone(new))


def name_of(item: pytest.Item) -> str:
    """A test's name without its parameters."""
    return item.nodeid.partition("[")[0]


def _lines(text: str) -> Iterable[str]:
    return (line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


class _Collector:
    """A plugin that keeps what pytest collected."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the names."""
        self.names = {name_of(item) for item in session.items}


def _collect() -> set[str]:
    collector, told = _Collector(), io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(told):
        code = pytest.main(["--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", "tests"], plugins=[collector])
    if code is not pytest.ExitCode.OK:
        sys.exit(f"pytest could not collect the tests:\n{told.getvalue()}")
    return collector.names


def main() -> None:
    """Add what is new, or say what is lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.names", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the file; without it the file is checked")
    write = parser.parse_args().write
    names = parse(FILE.read_text(encoding="utf-8")) if FILE.exists() else Names(frozenset())
    found = _collect()
    gone = lost(names, found, {name.partition("::")[0] for name in found})
    if gone:
        sys.exit("gone, and no line behind [renamed] in tests/names.txt says what became of it:\n" + "\n".join(gone))
    if write:
        FILE.write_text(render(Names(frozenset(found), names.renamed, names.dropped)), encoding="utf-8")


if __name__ == "__main__":
    main()
