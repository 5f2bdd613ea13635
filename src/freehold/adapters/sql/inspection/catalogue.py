"""What is in a database, as far as it is compared with what migrations make. Imports the standard library only.

Each engine says what its migrations make (SQLite by running them in memory, PostgreSQL by reading their text) and what
is there. Whatever is not known for sure is None or empty, and is not compared; what is there and was made by no
migration is nobody's concern.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Catalogue", "Column", "Constraint", "Kind", "Part", "Rule", "Table", "quoted"]


class Kind(StrEnum):
    """What is made beside tables, by the word that makes it."""

    INDEX = "index"
    FUNCTION = "function"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    TRIGGER = "trigger"
    SEQUENCE = "sequence"


class Rule(StrEnum):
    """What a table demands of its rows, by the words that declare it."""

    PRIMARY_KEY = "primary key"
    UNIQUE = "unique"
    CHECK = "check"
    FOREIGN_KEY = "foreign key"
    OTHER = "other"


@dataclass(slots=True)
class Constraint:
    """A constraint of a table.

    columns      those it names, in order for a key.
    definition   text that can be compared; empty where it cannot be.
    text         the words that add it to a table.
    condition    what a row must fulfil: of a CHECK only.
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
    """A column; `text` is how a migration wrote it, `default` includes what generates a value, `default_text` can be
    compared, `default_sql` is as it was written.
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
    """A table. `key` are the columns of its primary key, `uniques` those of each unique constraint, `constraints` its
    CHECKs and foreign keys; `lasting` whether its rows outlive a crash; `options` what stands behind its columns.
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
    """What is no table. `definitions` are texts that can be compared, several for a function with several signatures;
    empty where they cannot be. `again` makes it again where it is another; `key` are the columns of a unique index,
    `condition` which rows it is of. `fault` says why what is there does not work, and `mend` what makes it work.
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
    """Tables by name, all else by kind and name. The names of an engine's default place come without a schema; that of
    a trigger comes with its table, by which triggers of one name differ.
    """

    tables: dict[str, Table] = field(default_factory=dict)
    parts: dict[tuple[Kind, str], Part] = field(default_factory=dict)


def quoted(name: str) -> str:
    """A name, with its schema where it has one, as it stands in a statement whatever letters it has."""
    return ".".join('"{}"'.format(part.replace('"', '""')) for part in name.split("."))
