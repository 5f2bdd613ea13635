"""No test is lost: each that there was is there, or `tests/names.txt` says what became of it."""

from __future__ import annotations

import pytest
from tests.names import COLLECTED, FILE, Names, lost, parse, render

_HERE = "tests/unit/test_names.py"


def test_no_test_is_lost(request: pytest.FixtureRequest) -> None:
    """Of the files that this run has collected as a whole, and of those that are not there any more."""
    found = request.config.stash[COLLECTED]
    parts = {argument.partition("::")[0] for argument in request.config.args if "::" in argument}
    whole = {name.partition("::")[0] for name in found} - parts
    gone = lost(parse(FILE.read_text(encoding="utf-8")), found, whole)
    assert not gone, f"say behind [renamed] in tests/names.txt what became of: {', '.join(gone)}"


def test_a_name_that_is_gone_needs_a_new_one_or_a_reason() -> None:
    old, other, here = f"{_HERE}::test_old", "tests/unit/no_such_file.py::test_it", f"{_HERE}::test_here"
    known = frozenset({old, other, here})
    assert lost(Names(known), {here}, {_HERE}) == [other, old]
    assert lost(Names(known, {old: here}, {other: "why"}), {here}, {_HERE}) == []
    assert lost(Names(known, {old: f"{_HERE}::test_typo"}, {other: "why"}), {here}, {_HERE}) == [
        old,
        f"{old} -> {_HERE}::test_typo",
    ]
    assert lost(Names(known, {}, {other: "why"}), set(), set()) == []


def test_the_file_is_read_as_it_is_written() -> None:
    names = Names(frozenset({"a::b", "c::d"}), {"e::f": "a::b"}, {"g::h": "covered by a::b: twice"})
    assert parse(render(names)) == names
    with pytest.raises(ValueError, match="neither"):
        parse("a::b\n[renamed]\nc::d\n")
