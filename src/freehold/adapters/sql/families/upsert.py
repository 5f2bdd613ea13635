"""Statements that insert a row, and otherwise keep or change the existing one. Imports the engine's `connection` and
`dialect`, and the errors.

Where another transaction has inserted the same key and is still open, they wait until it has ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.errors import DatabaseError

__all__ = ["insert_absent", "insert_one", "insert_or_update", "inserted"]

_ROW: Final = re.compile(r"\b(new|old)\.(\w+)")
_INSERTED: Final = re.compile(r"\s*INSERT INTO (\w+) \((\w+)")


def insert_absent(dialect: Dialect, insert: str) -> str:
    """An INSERT of the rows whose keys do not exist yet.

    insert  the INSERT with its VALUES or SELECT. A SELECT needs a condition, at least `WHERE true`: without one SQLite
            reads the ON of `ON CONFLICT` as that of a join.
    """
    if dialect.upserts_on_conflict:
        return f"{insert}\nON CONFLICT DO NOTHING"
    found = _INSERTED.match(insert)
    if found is None:
        raise ValueError(f"not an INSERT with its columns: {insert}")
    table, column = found.groups()
    return f"{insert}\nON DUPLICATE KEY UPDATE {column} = {table}.{column}"


def insert_one(dialect: Dialect, insert: str) -> str:
    """An INSERT of one row, for `inserted`, which returns whether the key did not exist yet."""
    return insert_absent(dialect, insert) if dialect.upserts_on_conflict else insert


async def inserted(sql: SqlConnection, dialect: Dialect, statement: str, parameters: Sequence[object]) -> bool:
    """Run a statement of `insert_one`. False: the row exists."""
    try:
        return bool(await sql.execute(statement, parameters))
    except DatabaseError as error:
        if dialect.is_duplicate(error):
            return False
        raise


def insert_or_update(
    dialect: Dialect, table: str, insert: str, key: str, changes: Mapping[str, str], *, where: str = ""
) -> str:
    """An INSERT that changes the existing row instead, where there is one with the same key.

    key      the key's columns.
    changes  an expression for each column that changes. In these and in `where`, `new.column` is the value of the row
             to insert, `old.column` that of the existing row.
    where    a condition on the existing row; where it is false the row stays as it is.
    """
    if not dialect.upserts_on_conflict:
        changed = _duplicate(table, key.partition(",")[0].strip(), changes, where)
        return f"{insert}\nON DUPLICATE KEY UPDATE {changed}"
    names = {"new": "excluded.{}", "old": f"{table}.{{}}"}
    assignments = ", ".join(f"{column} = {_named(names, changed)}" for column, changed in changes.items())
    condition = f"\nWHERE {_named(names, where)}" if where else ""
    return f"{insert}\nON CONFLICT ({key}) DO UPDATE SET {assignments}{condition}"


def _duplicate(table: str, key: str, changes: Mapping[str, str], where: str) -> str:
    """MariaDB assigns from left to right, and each sees what was assigned before it: the condition is looked at once,
    in an assignment that changes nothing.
    """
    names = {"new": "VALUES({})", "old": f"{table}.{{}}"}
    changed = {column: _named(names, expression) for column, expression in changes.items()}
    if not where:
        return ", ".join(f"{column} = {expression}" for column, expression in changed.items())
    first = f"{key} = IF((@freehold_changes := ({_named(names, where)})) IS NULL, {table}.{key}, {table}.{key})"
    rest = [f"{column} = IF(@freehold_changes, {each}, {table}.{column})" for column, each in changed.items()]
    return ", ".join([first, *rest])


def _named(names: Mapping[str, str], expression: str) -> str:
    return _ROW.sub(lambda found: names[found[1]].format(found[2]), expression)
