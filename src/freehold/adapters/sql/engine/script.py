"""Freehold's schema as one SQL script, for users who apply it themselves. Imports the errors and its siblings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from freehold import __version__
from freehold.adapters.sql.engine.packaged import RECORD, PackagedSchema
from freehold.errors import NotFound

__all__ = ["port_script", "whole_script"]

Step = tuple[str, str, str, Sequence[str]]
"""Owner, name, digest, statements."""


def port_script(packaged: PackagedSchema, port: str) -> str:
    """The tables of a port, then its functions. Raises `NotFound` for an unknown port."""
    if port not in packaged.table_texts or port == RECORD:
        known = sorted(packaged.table_texts.keys() - {RECORD})
        raise NotFound(f"there is no port '{port}' with tables", hint=", ".join(known))
    return packaged.table_texts[port] + packaged.function_texts.get(port, "")


def whole_script(
    packaged: PackagedSchema, steps: Sequence[Step], facts: Mapping[str, str], now: str, place: Sequence[str]
) -> str:
    """All that an upgrade does in an empty database, and what it records, in one transaction.

    steps  Freehold's own, then the service's.
    facts  the rows of `freehold_meta`.
    now    an expression for the current time.
    place  statements that create the schema for the tables.
    """
    own = {step.name for step in packaged.tables}
    parts = [f"-- Freehold {__version__}: what `freehold db upgrade` does in an empty database.\nBEGIN;\n"]
    parts += [f"{statement};\n" for statement in place]
    parts += [f"\n-- {port}\n{text}" for port, text in packaged.table_texts.items()]
    parts += [_titled(owner, name, statements) for owner, name, _, statements in steps
              if owner == "freehold" and name not in own]  # fmt: skip
    parts += [f"\n-- functions: {port}\n{text}" for port, text in packaged.function_texts.items()]
    parts += [_titled(owner, name, statements) for owner, name, _, statements in steps if owner != "freehold"]
    parts.append("\n-- what is recorded\n")
    parts += _recorded(packaged, steps, facts, now)
    parts.append("COMMIT;\n")
    return "".join(parts)


def _titled(owner: str, name: str, statements: Iterable[str]) -> str:
    return f"\n-- {owner}/{name}\n" + "".join(f"{statement};\n" for statement in statements)


def _recorded(packaged: PackagedSchema, steps: Sequence[Step], facts: Mapping[str, str], now: str) -> Iterator[str]:
    for owner, name, digest, _ in steps:
        given = f"{_literal(owner)}, {_literal(name)}, {_literal(digest)}, {now}"
        yield f"INSERT INTO freehold_migration (owner, name, digest, applied_at) VALUES ({given});\n"
    for functions in packaged.functions.values():
        for function in functions:
            given = f"{_literal(function.name)}, {_literal(function.digest)}"
            yield f"INSERT INTO freehold_object (name, digest) VALUES ({given});\n"
    for fact, value in facts.items():
        yield f"INSERT INTO freehold_meta (name, value) VALUES ({_literal(fact)}, {_literal(value)});\n"


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))
