"""Freehold's own schema on one engine, read from the SQL files of the engine's package. Imports the foundation.

    schema/<port>.sql             the tables of the first release, plain SQL
    schema/functions/<port>.sql   each function once, in its present form
    schema/changes/<number>.sql   changes that later releases make to the tables
    schema/database.sql           the tables that record what was applied
    prerelease/<number>.sql       the steps from a database of before the first release to these tables

A statement ends with `;` at the end of a line, outside of `$$`. A function begins with `CREATE OR REPLACE FUNCTION`.
Statements between it and the next one (a REVOKE) belong to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain
from typing import Final

from freehold.migrations import Migration

__all__ = ["RECORD", "PackagedSchema", "SqlFunction", "packaged_schema"]

RECORD: Final = "database"
"""The file of the tables that record what was applied."""
_FUNCTION: Final = re.compile(r"\s*CREATE OR REPLACE FUNCTION (freehold_\w+)")


@dataclass(frozen=True, slots=True)
class SqlFunction:
    """A function with the statements that create or replace it."""

    name: str
    statements: Sequence[str]

    @property
    def digest(self) -> str:
        """The digest that is recorded; another one means another version of the function."""
        return hashlib.sha256("\x00".join(self.statements).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PackagedSchema:
    """Freehold's own schema on one engine.

    record      statements that create the tables of the record where they are missing.
    tables      the tables of the first release, a step for each port.
    changes     the steps of later releases.
    functions   the functions by port.
    prerelease  the steps of before the first release; the last one changes their tables into those of `tables`.
    table_texts, function_texts  the texts of the files by port; the record's file comes first.
    """

    record: Sequence[str]
    tables: Sequence[Migration]
    changes: Sequence[Migration]
    functions: Mapping[str, Sequence[SqlFunction]]
    prerelease: Sequence[Migration]
    table_texts: Mapping[str, str]
    function_texts: Mapping[str, str]

    def statements(self, dialect: str) -> Iterable[str]:
        """All statements."""
        steps = chain(self.tables, self.changes, self.prerelease)
        functions = chain.from_iterable(self.functions.values())
        return chain(
            self.record,
            chain.from_iterable(step.for_dialect(dialect) for step in steps),
            chain.from_iterable(function.statements for function in functions),
        )


@cache
def packaged_schema(package: str, dialect: str) -> PackagedSchema:
    """Read the files of an engine's package, once in a process."""
    root = files(package)
    tables = _texts(root / "schema")
    functions = _texts(root / "schema" / "functions")
    return PackagedSchema(
        record=_statements(tables[RECORD]),
        tables=_steps({port: text for port, text in tables.items() if port != RECORD}, dialect),
        changes=_steps(_texts(root / "schema" / "changes"), dialect),
        functions={port: _functions(text) for port, text in functions.items()},
        prerelease=_steps(_texts(root / "prerelease"), dialect),
        table_texts={RECORD: tables[RECORD], **tables},
        function_texts=functions,
    )


def _texts(folder: Traversable) -> dict[str, str]:
    """The texts of the `.sql` files of a folder by name, in order of name; empty where there is no folder."""
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")] if folder.is_dir() else []
    return {
        entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
        for entry in sorted(found, key=lambda entry: entry.name)
    }


def _steps(texts: Mapping[str, str], dialect: str) -> list[Migration]:
    return [Migration(name, {dialect: _statements(text)}) for name, text in texts.items()]


def _functions(text: str) -> list[SqlFunction]:
    named: dict[str, list[str]] = {}
    name = ""
    for statement in _statements(text):
        begins = _FUNCTION.match(statement)
        name = begins[1] if begins is not None else name
        named.setdefault(name, []).append(statement)
    return [SqlFunction(name, statements) for name, statements in named.items()]


def _statements(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    statements, statement = [], ""
    for part in ("\n".join(lines) + "\n").split(";\n"):
        statement += part
        if statement.count("$$") % 2:
            statement += ";\n"
        else:
            statements.append(statement.strip())
            statement = ""
    return [statement for statement in statements if statement]
