"""Inserts that meet an existing row, on each engine.

PostgreSQL and SQLite have `ON CONFLICT`; MariaDB has `ON DUPLICATE KEY UPDATE`, and refuses a plain INSERT of a key
that exists. Its `INSERT IGNORE` is not used: it also cuts a text that is too long. The statements have `$1`, `$2` … for
their columns, in this order, and are for `tx.sql`. Imports SQLAlchemy and Freehold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Table, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold import DatabaseError
from freehold.transaction import Transaction

__all__ = ["DIALECTS", "insert_missing", "insert_once", "insert_sql", "upsert_sql"]

DIALECTS: Final = ("sqlite", "postgresql", "mariadb")
_MARIADB: Final = "mariadb"
_DUPLICATE: Final = 1062
_ROW: Final = re.compile(r"\b(new|old)\.(\w+)")


def insert_sql(dialect: str, table: str, columns: Sequence[str]) -> str:
    """An INSERT of one row. Columns are quoted, since some engine reserves the name, as MariaDB does `lines`."""
    quote = "`" if dialect == _MARIADB else '"'
    names = ", ".join(f"{quote}{column}{quote}" for column in columns)
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - names of our own tables


def upsert_sql(
    dialect: str, table: str, columns: Sequence[str], key: str, changes: Mapping[str, str], *, where: str = ""
) -> str:
    """An INSERT of one row that changes the existing one instead, where there is one with the same key.

    changes  an expression for each column that changes; without any the existing row stays as it is. In these and in
             `where`, `new.column` is the value of the row to insert, `old.column` that of the existing row.
    where    a condition on the existing row, which stays as it is where that is false. A column that it reads comes
             last in `changes`: MariaDB assigns one after the other, and each sees what was assigned before it.
    """
    if dialect == _MARIADB:
        changes = changes or {columns[0]: f"old.{columns[0]}"}
        given = {column: f"IF({where}, {each}, old.{column})" if where else each for column, each in changes.items()}
        changed = ", ".join(f"`{column}` = {_named(each, 'VALUES(`{}`)', '`{}`')}" for column, each in given.items())
        return f"{insert_sql(dialect, table, columns)}\nON DUPLICATE KEY UPDATE {changed}"
    if not changes:
        return f"{insert_sql(dialect, table, columns)}\nON CONFLICT DO NOTHING"
    names = ('excluded."{}"', 'known."{}"')
    changed = ", ".join(f'"{column}" = {_named(each, *names)}' for column, each in changes.items())
    condition = f"\nWHERE {_named(where, *names)}" if where else ""
    return (
        f"{insert_sql(dialect, f'{table} AS known', columns)}\nON CONFLICT ({key}) DO UPDATE SET {changed}{condition}"
    )


def _named(expression: str, new: str, old: str) -> str:
    return _ROW.sub(lambda found: (new if found[1] == "new" else old).format(found[2]), expression)


async def insert_once(tx: Transaction, statement: str, values: Sequence[object]) -> bool:
    """Run an INSERT of one row; false: a row with its key exists, and stays. Waits for a concurrent insert of the key.

    Raises what `tx.sql` raises.
    """
    if tx.connection.dialect.name != _MARIADB:
        return bool(await tx.sql.execute(f"{statement}\nON CONFLICT DO NOTHING", values))
    try:
        return bool(await tx.sql.execute(statement, values))
    except DatabaseError as error:
        if _number(error.__cause__) == _DUPLICATE:
            return False
        raise


async def insert_missing(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert the rows whose key does not exist yet; returns these keys. The key is one column of texts.

    Waits for a concurrent insert of such a key.
    """
    (key,) = table.primary_key
    dialect = connection.dialect.name
    if dialect != _MARIADB:
        added = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
        inserted = await connection.execute(added.on_conflict_do_nothing().returning(key), list(rows))
        return set(inserted.scalars())
    missing = {str(row[key.name]): row for row in rows}
    while missing:
        try:
            await connection.execute(insert(table), list(missing.values()))
        except IntegrityError as error:
            # All or none were inserted. Each statement reads what has been committed until then.
            known = set((await connection.execute(select(key).where(key.in_(missing)))).scalars())
            if not known or _number(error.orig) != _DUPLICATE:
                raise
            missing = {name: row for name, row in missing.items() if name not in known}
        else:
            break
    return set(missing)


def _number(error: BaseException | None) -> object:
    """The number of an error of MariaDB; None where there is none."""
    return error.args[0] if error is not None and error.args else None
