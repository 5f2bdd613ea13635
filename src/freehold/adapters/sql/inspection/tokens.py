"""Splits an SQL statement of PostgreSQL into tokens. Imports the standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["NotUnderstood", "Token", "TokenKind", "Tokens", "scan", "split"]

_TOKEN: Final = re.compile(
    r"""
    (?P<skip>\s+|--[^\n]*|/\*.*?\*/)
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
  | (?P<dollar>\$(?P<tag>[A-Za-z_]\w*|)\$(?P<body>.*?)\$(?P=tag)\$)
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<word>[^\W\d][\w$]*)
  | (?P<sign>::|<>|<=|>=|\d+(?:\.\d+)?|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class TokenKind(StrEnum):
    """The kinds of tokens: a keyword or name, a quoted name, a string, a dollar-quoted body, a sign."""

    WORD = "word"
    QUOTED = "quoted"
    STRING = "string"
    DOLLAR = "dollar"
    SIGN = "sign"


@dataclass(frozen=True, slots=True)
class Token:
    """A token. Words are in lower case; quoted names and bodies have no quotes."""

    kind: TokenKind
    text: str
    begin: int
    end: int


class NotUnderstood(Exception):
    """A statement has a form that this parser does not know."""


def scan(sql: str) -> list[Token]:
    """The tokens of a statement, without white space and comments."""
    tokens = []
    for match in _TOKEN.finditer(sql):
        kind = str(match.lastgroup)
        if kind == "skip":
            continue
        if match["dollar"] is not None:
            kind = "dollar"
        text = match[kind]
        if kind == "word":
            text = text.lower()
        elif kind == "quoted":
            text = text[1:-1].replace('""', '"')
        elif kind == "dollar":
            text = match["body"]
        tokens.append(Token(TokenKind(kind), text, match.start(), match.end()))
    return tokens


class Tokens:
    """A reader of tokens. Raises `NotUnderstood` where a required token is missing."""

    def __init__(self, tokens: list[Token]) -> None:
        self.rest = list(tokens)

    def __bool__(self) -> bool:
        return bool(self.rest)

    def next(self) -> Token:
        """Remove and return the next token."""
        if not self.rest:
            raise NotUnderstood
        return self.rest.pop(0)

    def sees(self, *words: str) -> bool:
        """Whether these words or signs come next."""
        plain = (TokenKind.WORD, TokenKind.SIGN)
        ahead = self.rest[: len(words)]
        return len(ahead) == len(words) and all(
            token.kind in plain and token.text == word for token, word in zip(ahead, words, strict=True)
        )

    def take(self, *words: str) -> bool:
        """Remove these words where they come next; returns whether they did."""
        if not self.sees(*words):
            return False
        del self.rest[: len(words)]
        return True

    def name(self) -> tuple[str, str]:
        """Remove and return a name: its schema (or an empty text) and itself."""
        schema, name = "", self._identifier()
        if self.take("."):
            schema, name = name, self._identifier()
        return schema, name

    def group(self) -> list[Token]:
        """Remove the brackets that come next, and return the tokens between them."""
        if not self.take("("):
            raise NotUnderstood
        inside: list[Token] = []
        depth = 1
        while True:
            token = self.next()
            if token.kind is TokenKind.SIGN:
                depth += (token.text == "(") - (token.text == ")")
            if not depth:
                return inside
            inside.append(token)

    def _identifier(self) -> str:
        token = self.next()
        if token.kind not in {TokenKind.WORD, TokenKind.QUOTED}:
            raise NotUnderstood
        return token.text


def split(tokens: list[Token]) -> list[list[Token]]:
    """The parts between commas, except commas inside brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind is TokenKind.SIGN:
            depth += (token.text in "([") - (token.text in ")]")
            if token.text == "," and not depth:
                parts.append([])
                continue
        parts[-1].append(token)
    return parts
