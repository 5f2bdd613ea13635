"""The pages use the words of the glossary: one word for one thing, and none of those that it replaces."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path
from typing import Final

import pytest
from tests.docs.blocks import ROOT

# Their text stands elsewhere: with the trials, with the ledger, with the moves of modules.
_ELSEWHERE: Final = {"faults.md", "ledger.md", "a-pattern-owns-its-wiring.md", "the-move-in-steps.md"}
PAGES: Final = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in _ELSEWHERE),
]
_CODE: Final = re.compile(r"^```.*?^```|`[^`]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
_INSTEAD: Final = {
    r"anew": "again, rebuilt",
    r"whoever": "the one who acts: the relay, the operator, the next process",
    r"go(?:es)? on": "continues",
    r"h(?:old|olds|eld) up": "blocks, blocked",
    r"hand(?:s|ed)? out": "deliver",
    r"bur(?:y|ies|ied)": "make a dead letter",
    r"t(?:ake|akes|aken) back": "roll back, cancel, compensate",
    r"g(?:ive|ives|iven) back": "release",
    r"in doubt": "interrupted, outcome unknown",
    r"under way": "in progress, in transit",
    r"(?<!dead )(?<!dead-)letters?": "dead letter",
    r"a person": "an operator",
    r"kills? (?:us|its consumer)": "crashes",
    r"stands? still": "paused, parked",
}
# A page may need the plain sense of a word: the page, and the words that it is read in.
_MEANT: Final = (
    "lower-case letters",
    "in doubt as breaking",
    "### What stands still",
    "stands still until",
    "a crash may take those back",
    "a crash takes back numbers",
    "positions are taken back",
    "takes drawn positions back",
    "nobody can take a file's lock away",
    "while a saga only goes forward",
    "one was handed out",
    "that handed out the driver's object",
    "a person who writes into it by hand",
)
# What docstrings, comments and messages of the code use no more. The rest of the table is for pages.
_NOT_IN_CODE: Final = re.compile(
    r"(?<![-\w])anew\b|\bh(?:old|olds|eld) up\b|\bhand(?:s|ed)? out\b|\bbur(?:y|ies|ied)\b|\bin doubt\b|\bunder way\b"
    r"|\ba person\b|\bkills? (?:us|its consumer)\b",
    re.IGNORECASE,
)
_SOURCES: Final = (ROOT / "src" / "freehold", ROOT / "shop" / "src")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_glossary(path: Path) -> None:
    prose = _CODE.sub(" ", path.read_text(encoding="utf-8"))
    for phrase in _MEANT:
        prose = prose.replace(phrase, " ")
    found = {
        f"{match[0]!r}: rather {instead}"
        for word, instead in _INSTEAD.items()
        for match in re.finditer(rf"[^.\n|]*\b(?:{word})\b[^.\n|]*", prose, re.IGNORECASE)
    }
    assert found == set()


def test_the_texts_of_the_code_use_the_words_of_the_glossary() -> None:
    found = set()
    for path in sorted(path for source in _SOURCES for path in source.rglob("*.py")):
        with path.open(encoding="utf-8") as file:
            texts = [
                token
                for token in tokenize.generate_tokens(file.readline)
                if token.type in {tokenize.STRING, tokenize.COMMENT}
            ]
        place = path.relative_to(ROOT)
        found |= {
            f"{place}:{text.start[0]}: {match[0]!r}" for text in texts for match in _NOT_IN_CODE.finditer(text.string)
        }
    assert found == set()
