"""The objects of a database that are compared with what migrations make. Imports the standard library only.

Each engine computes the catalogue that its migrations make (SQLite runs them in memory, PostgreSQL reads their text)
and reads the one of the database. A value that is not known for sure is None or empty, and is not compared. Objects
that no migration made are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Catalogue", "Column", "Constraint", "Kind", "Part", "Rule", "Table", "quoted"]


class Kind(StrEnum):
    """The kinds of objects other than tables, by their word in CREATE."""

    INDEX = "index"
    FUNCTION = "function"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    TRIGGER = "trigger"
    SEQUENCE = "sequence"


class Rule(StrEnum):
    """The kinds of constraints, by the words that declare them."""

    PRIMARY_KEY = "primary key"
    UNIQUE = "unique"
    CHECK = "check"
    FOREIGN_KEY = "foreign key"
    OTHER = "other"


@dataclass(slots=True)
class Constraint:
    """A constraint of a table.

    columns      the columns that it names; in order for a key.
    definition   a text that can be compared; empty where there is none.
    text         the clause that adds it to a table.
    condition    the condition of a CHECK.
    refers_to    the table and the columns that a foreign key refers to; no columns: those of its primary key.
    name         empty where the engine chooses it.
    validated    whether all rows are known to satisfy it.
    """

    rule: Rule
    columns: tuple[str, ...] = ()
    definition: str = ""
    text: str = ""
    condition: str = ""
    refers_to: tuple[str, tuple[str, ...]] = ("", ())
    name: str = ""
    validated: bool = True


@dataclass(slots=True)
class Column:
    """A column.

    default       whether it has a default or is generated.
    default_text  the default as a text that can be compared.
    default_sql   the default as it was written.
    text          the column's definition as a migration wrote it.
    """

    type: str | None = None
    required: bool | None = None
    default: bool | None = None
    identity: bool | None = None
    default_text: str | None = None
    default_sql: str = ""
    collation: str | None = None
    text: str = ""


@dataclass(slots=True)
class Table:
    """A table.

    key          the columns of its primary key.
    uniques      the columns of each unique constraint.
    constraints  its CHECKs and foreign keys.
    lasting      whether its rows survive a crash of the server.
    options      the text behind its columns.
    step         the migration that made it; `statements` of it make the table.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    key: tuple[str, ...] | None = None
    uniques: set[tuple[str, ...]] = field(default_factory=set)
    constraints: list[Constraint] = field(default_factory=list)
    lasting: bool | None = None
    options: str = ""
    step: str = ""
    statements: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Part:
    """An object that is not a table.

    definitions  texts that can be compared, several for a function with several signatures; empty where there is none.
    statements   make it; `again` replaces one with another definition (empty: DROP, then `statements`).
    key          the columns of a unique index.
    condition    the WHERE of a partial index.
    fault        why the existing object does not work; `mend` are the statements that repair it.
    """

    kind: Kind
    name: str
    table: str = ""
    definitions: set[str] = field(default_factory=set)
    step: str = ""
    statements: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    key: tuple[str, ...] = ()
    condition: str = ""
    fault: str = ""
    mend: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Catalogue:
    """Tables by name, other objects by kind and name. Names in the engine's default schema have no schema. The name of
    a trigger includes its table, because two tables may have triggers of the same name.
    """

    tables: dict[str, Table] = field(default_factory=dict)
    parts: dict[tuple[Kind, str], Part] = field(default_factory=dict)


def quoted(name: str) -> str:
    """A name in quotes, for a statement; with its schema where it has one."""
    return ".".join('"{}"'.format(part.replace('"', '""')) for part in name.split("."))
