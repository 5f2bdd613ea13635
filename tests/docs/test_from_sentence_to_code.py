"""The page from sentence to code: its sentences are promises, its tests prove them, and the names in it exist."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Final

import pytest
from tests.docs.blocks import ROOT

from freehold.conformance.guarantees import GUARANTEES

_PAGE: Final = (ROOT / "docs" / "from-sentence-to-code.md").read_text(encoding="utf-8")
_SECTIONS: Final = {part.partition("\n")[0]: part.partition("\n")[2] for part in _PAGE.split("\n## ")[1:]}


def test_it_follows_five_guarantees() -> None:
    assert len(_SECTIONS) >= 5


@pytest.mark.parametrize("sentence", _SECTIONS)
def test_a_sentence_leads_to_its_test_and_to_code_that_exists(sentence: str) -> None:
    hops = re.findall(r"^\d\. (Test|Port|Code): (.+)$", _SECTIONS[sentence], re.MULTILINE)
    assert [kind for kind, _ in hops] == ["Test", "Port", "Code"]
    (guarantee,) = (each for each in GUARANTEES if each.text == sentence)
    assert hops[0][1].strip("`") in {test.__name__ for test in guarantee.tests}
    for name in re.findall(r"`(freehold[\w.]+)`", hops[1][1] + hops[2][1]):
        assert callable(_find(name)), name


def _find(name: str) -> object:
    parts = name.split(".")
    length = len(parts)
    while not (ROOT / "src" / "/".join(parts[:length])).with_suffix(".py").exists():
        length -= 1
    found: object = import_module(".".join(parts[:length]))
    for part in parts[length:]:
        found = getattr(found, part)
    return found
