"""Finds, in the text of a call, the statements that begin or end transactions and savepoints. Imports the standard
library only.

The text may contain several statements, comments, quoted strings with semicolons, and bodies of triggers and functions,
whose BEGIN and END do not belong to a transaction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

__all__ = ["Control", "Verb", "controls"]

_CACHED_CHARACTERS_MAX: Final = 4096

_TOKEN: Final = re.compile(
    r"""
    (?P<skip>\s+|--[^\n]*|/\*)
  | (?P<end>;)
  | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
  | (?P<string>'(?:[^']|'')*(?:'|\Z))
  | (?P<dollar>\$(?:[A-Za-z_\x80-\uffff][\w]*)?\$)
  | (?P<quoted>"(?:[^"]|"")*(?:"|\Z)|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z))
  | (?P<word>[^\W\d][\w$]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SUSPECT: Final = re.compile(r"\b(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|PREPARE|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_ENDS: Final = frozenset({"BEGIN", "COMMIT", "END", "ABORT"})
_BODIES: Final = frozenset({"TRIGGER", "FUNCTION", "PROCEDURE"})
_COMPOUND: Final = ["BEGIN", "NOT", "ATOMIC"]
"""What a compound statement of MariaDB begins with; it begins no transaction."""


class Verb(StrEnum):
    """The effect of a statement on transactions."""

    ENDS = "ends"
    SAVEPOINT = "savepoint"
    ROLLBACK_TO = "rollback to"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Control:
    """A statement that affects transactions: its first words, for messages, and the savepoint that it names."""

    verb: Verb
    words: str
    savepoint: str = ""


def controls(sql: str) -> tuple[Control, ...]:
    """The statements in a text that affect transactions, in order; most texts have none."""
    return _cached(sql) if len(sql) <= _CACHED_CHARACTERS_MAX else _found(sql)


@lru_cache(maxsize=2048)
def _cached(sql: str) -> tuple[Control, ...]:
    return _found(sql)


def _found(sql: str) -> tuple[Control, ...]:
    if _SUSPECT.search(sql) is None:
        return ()
    return tuple(found for words in _statements(sql) if (found := _control(words)) is not None)


def _statements(sql: str) -> list[list[str]]:
    """The words of each statement. Quoted names keep their quotes, all other words are in upper case."""
    statements: list[list[str]] = []
    words: list[str] = []
    depth, place, length = 0, 0, len(sql)
    while place < length:
        match = _TOKEN.match(sql, place)
        if match is None:  # pragma: no cover - the last alternative matches anything
            break
        place = match.end()
        kind, text = match.lastgroup, match.group()
        if text == "/*":
            place = _after_comment(sql, place)
        elif kind == "dollar":
            closing = sql.find(text, place)
            place = length if closing < 0 else closing + len(text)
            words.append("'")
        elif kind == "end" and depth == 0:
            statements.append(words)
            words = []
        elif kind != "skip":
            word = text if kind == "quoted" else text.upper()
            if _has_body(words):
                depth = max(0, depth + (word in {"BEGIN", "CASE"}) - (word == "END"))
            words.append(word)
            if words == _COMPOUND:
                depth = 1
    statements.append(words)
    return statements


def _has_body(words: list[str]) -> bool:
    return words[:3] == _COMPOUND or (bool(words) and words[0] == "CREATE" and not _BODIES.isdisjoint(words[1:6]))


def _after_comment(sql: str, place: int) -> int:
    """The position after a comment. Comments nest, as on PostgreSQL; SQLite's do not nest.

    So a comment with `/*` inside ends earlier on SQLite than here: only a text made to deceive the guard contains one.
    """
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(sql, place):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(sql)


def _control(words: list[str]) -> Control | None:
    first, second = (*words, "", "")[:2]
    match first:
        case "ROLLBACK":
            rest = words[2:] if second in {"WORK", "TRANSACTION"} else words[1:]
            if rest[:1] != ["TO"]:
                return Control(Verb.ENDS, first)
            return Control(Verb.ROLLBACK_TO, "ROLLBACK TO", _name(rest[1:]))
        case "SAVEPOINT":
            return Control(Verb.SAVEPOINT, first, _name(words))
        case "RELEASE":
            return Control(Verb.RELEASE, first, _name(words[1:]))
        case "START" | "PREPARE" if second == "TRANSACTION":
            return Control(Verb.ENDS, f"{first} {second}")
        case _:
            return Control(Verb.ENDS, first) if first in _ENDS and words[:3] != _COMPOUND else None


def _name(words: list[str]) -> str:
    """The savepoint's name in `words`, which may begin with the word SAVEPOINT."""
    rest = words[1:] if words[:1] == ["SAVEPOINT"] else words
    return savepoint_name(rest[0]) if rest else ""


def savepoint_name(text: str) -> str:
    """A savepoint's name in the form that is compared: a quoted one without quotes, another one in lower case."""
    return text[1:-1] if text[:1] in {'"', "`", "["} else text.lower()
