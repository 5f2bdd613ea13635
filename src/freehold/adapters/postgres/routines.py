"""Parses the text of functions and triggers, of a migration or of the server. Imports the SQL base."""

from __future__ import annotations

from typing import Final

from freehold.adapters.sql.inspection.tokens import NotUnderstood, TokenKind, Tokens, split

__all__ = ["routine_definition", "routine_of", "trigger_of"]

_EVENTS: Final = ("insert", "update", "delete", "truncate")


def routine_definition(body: str, *, definer: bool, strict: bool, volatility: str) -> str:
    """A function as a text that can be compared; `volatility` is `i`, `s` or `v`."""
    return f"{volatility}{' definer' * definer}{' strict' * strict} {body}"


def routine_of(tokens: Tokens) -> set[str]:
    """The function's definition, from the tokens behind its parameters; empty for a body without dollar quotes."""
    bodies = [token.text for token in tokens.rest if token.kind is TokenKind.DOLLAR]
    if len(bodies) != 1:
        return set()
    words = " ".join(token.text for token in tokens.rest if token.kind is TokenKind.WORD)
    around = f" {words} "
    volatility = "i" if " immutable " in around else "s" if " stable " in around else "v"
    strict = " strict " in around or " returns null on null input " in around
    definer = " security definer " in around
    return {routine_definition(bodies[0], definer=definer, strict=strict, volatility=volatility)}


def trigger_of(tokens: Tokens) -> tuple[tuple[str, str], str]:
    """The trigger's table, and its definition, from the tokens behind its name. Of a condition the definition says only
    that there is one. Raises `NotUnderstood`.
    """
    timing = tokens.next().text
    tokens.take("of")
    events = []
    while not tokens.take("on"):
        tokens.take("or")
        event = tokens.next().text
        if event not in _EVENTS:
            raise NotUnderstood
        if tokens.take("of"):
            columns = []
            while not (tokens.sees("on") or tokens.sees("or")):
                columns.append(tokens.next().text)
            event += f" of {''.join(sorted(columns))}"
        events.append(event)
    table = tokens.name()
    row = condition = False
    while not tokens.take("execute"):
        if tokens.take("for"):
            tokens.take("each")
            row = tokens.take("row")
        elif tokens.take("when"):
            tokens.group()
            condition = True
        else:
            tokens.next()
    tokens.next()
    called = tokens.name()[1]
    arguments = len([part for part in split(tokens.group()) if part])
    words = [timing, *sorted(events), "row" * row, "when" * condition, called, str(arguments)]
    return table, " ".join(word for word in words if word)
