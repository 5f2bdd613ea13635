"""Canonical texts of SQL expressions, to compare a migration's with the server's. Imports its sibling `tokens`.

PostgreSQL stores expressions parsed, and prints them with casts, brackets and operators of its own. For plain
expressions (columns, literals, comparisons) both forms have the same canonical text; others are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.sql.inspection.tokens import Token, TokenKind, Tokens, split

__all__ = ["canonical", "is_plain_condition", "is_plain_default"]

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?\Z")
_TEXTS: Final = re.compile(r"(?:text|character varying(?:\(\d+\))?)\Z")
_NUMBERS: Final = re.compile(r"(?:smallint|integer|bigint|numeric(?:\(\d+,\d+\))?)\Z")
_LITERALS: Final = frozenset({"true", "false"})
_WORDS: Final = _LITERALS | {"and", "or", "in", "is", "not", "null", "between"}
_SIGNS: Final = frozenset("()<>=,-+*") | {"<=", ">=", "<>"}
_OPERATORS: Final = frozenset("(<>=,-+*") | {"<=", ">=", "<>", "and", "or", "in", "between", ""}
_NOW: Final = frozenset({"current_timestamp", "now ( )"})
_LONG_TYPES: Final = {"character": ("varying",), "bit": ("varying",), "double": ("precision",)}


def canonical(tokens: Sequence[Token]) -> str:
    """The canonical text; the same for a plain expression and for PostgreSQL's form of it."""
    words = [word for word in _merged(_uncast(tokens)) if word not in {"(", ")", "[", "]"}]
    text = f" {' '.join(words)} "
    text = text.replace(" = any array ", " in ").replace(" <> all array ", " not in ")
    return re.sub(r" (\S+) between (\S+) and (\S+)", r" \1 >= \2 and \1 <= \3", text).strip()


def is_plain_condition(tokens: Sequence[Token], types: Mapping[str, str | None]) -> bool:
    """Whether the canonical text of a CHECK can be compared; `types` are those of the table's columns."""
    texts = [token.text for token in tokens]
    for token, behind in zip(tokens, [*texts[1:], ""], strict=True):
        if token.kind is TokenKind.STRING:
            named = [types.get(each.text) or "" for each in tokens if each.text in types]
            if not token.text.startswith("'") or not all(_TEXTS.match(name) for name in named):
                return False
        elif token.text in types:
            if not _is_plain_type(types[token.text]):
                return False
        elif token.text == "not":
            if behind not in {"in", "null"}:
                return False
        elif token.text not in (_SIGNS if token.kind is TokenKind.SIGN else _WORDS) and not _NUMBER.match(token.text):
            return False
    return _lists_are_literal(tokens, types) and _spans_are_simple(texts)


def is_plain_default(tokens: Sequence[Token], of_type: str | None) -> bool:
    """Whether the canonical text of a default can be compared; `of_type` is the column's type."""
    if any(token.text == "::" for token in tokens):
        return False
    text = " ".join(token.text for token in tokens)
    if len(tokens) == 1 and tokens[0].kind is TokenKind.STRING:
        return bool(_TEXTS.match(of_type or "")) and text.startswith("'")
    if _NUMBER.match(text.replace("- ", "-")):
        return bool(_NUMBERS.match(of_type or ""))
    return (text in _LITERALS and of_type == "boolean") or text in _NOW


def _is_plain_type(name: str | None) -> bool:
    return name == "boolean" or bool(_TEXTS.match(name or "") or _NUMBERS.match(name or ""))


def _lists_are_literal(tokens: Sequence[Token], types: Mapping[str, str | None]) -> bool:
    """Whether each IN has two or more literals, and no other commas occur.

    PostgreSQL rewrites a list that contains a column, a list of one value, and a row as comparisons.
    """
    commas = sum(token.text == "," for token in tokens)
    for number, token in enumerate(tokens):
        if token.text != "in" or token.kind is not TokenKind.WORD:
            continue
        rest = Tokens(list(tokens[number + 1 :]))
        values = split(rest.group()) if rest.sees("(") else []
        if len(values) < 2 or any(each.text in types for value in values for each in value):
            return False
        commas -= len(values) - 1
    return not commas


def _spans_are_simple(texts: Sequence[str]) -> bool:
    """Whether all operands of BETWEEN are single words."""
    for number, text in enumerate(texts):
        before = texts[max(0, number - 2) : number]
        if text == "between" and (texts[number + 2 : number + 3] != ["and"] or {")", "+", "-", "*"} & set(before)):
            return False
    return True


def _uncast(tokens: Sequence[Token]) -> list[Token]:
    kept, rest = [], Tokens(list(tokens))
    while rest:
        if not rest.take("::"):
            kept.append(rest.next())
            continue
        name = rest.name()[1]
        rest.take(*_LONG_TYPES.get(name, ("",)))
        if rest.sees("("):
            rest.group()
        for zone in ("with", "without"):
            rest.take(zone, "time", "zone")
        while rest.take("[", "]"):
            pass
    return kept


def _merged(tokens: Sequence[Token]) -> list[str]:
    """The words; signs that belong together are joined, and quotes around numbers, which a cast adds, removed."""
    words: list[str] = []
    for token in tokens:
        text = token.text
        if token.kind is TokenKind.STRING and _NUMBER.match(text[1:-1]):
            text = text[1:-1]
        before, earlier = [*["", ""], *words][-1], [*["", ""], *words][-2]
        if (before == "!" and text == "=") or (before == "-" and earlier in _OPERATORS and _NUMBER.match(text)):
            words[-1] = "<>" if text == "=" else f"-{text}"
        else:
            words.append(text)
    return words
