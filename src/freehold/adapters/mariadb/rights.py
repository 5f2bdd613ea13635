"""The rights of a user in a service's database: statements that grant what run time needs, and a check of them.

Imports the ports. Run time reads and writes rows. It creates, changes and drops objects only to rebuild a read model.
A right is tried: the server checks the rights that a statement needs when it is asked to explain it, and so finds those
of roles too, which `information_schema` does not show.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.database import CheckResult
from freehold.errors import ConfigurationError, DatabaseError, PermissionDenied

__all__ = ["examine_rights", "grants"]

_READ_ONLY: Final = frozenset({"freehold_migration", "freehold_meta", "freehold_object"})
"""Tables that only upgrades write."""
_NAME_CHARACTERS_MAX: Final = 80
_SHOWN_MAX: Final = 5
_TRIED: Final = {
    "SELECT": "EXPLAIN SELECT 1 FROM `{table}`",
    "INSERT": "EXPLAIN INSERT INTO `{table}` SELECT * FROM `{table}` WHERE 1 = 0",
    "UPDATE": "EXPLAIN UPDATE `{table}` SET `{column}` = `{column}` WHERE 1 = 0",
    "DELETE": "EXPLAIN DELETE FROM `{table}` WHERE 1 = 0",
}
_MADE: Final = r"""
SELECT TABLE_NAME, MIN(COLUMN_NAME) FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND (TABLE_NAME LIKE 'freehold\_%' OR TABLE_NAME RLIKE '__[gr][1-9][0-9]*$')
GROUP BY TABLE_NAME ORDER BY TABLE_NAME"""
_MAY_CREATE: Final = """
SELECT DATABASE(), CURRENT_USER(), EXISTS (
    SELECT 1 FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'CREATE'
) OR EXISTS (
    SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES WHERE PRIVILEGE_TYPE = 'CREATE' AND DATABASE() LIKE TABLE_SCHEMA
)"""
_TABLE_MISSING: Final = 1146


async def grants(sql: SqlConnection, role: str, schema: str | None) -> list[str]:
    """The GRANT statements for a user, `name` or `name@host`. They permit reads and writes of rows in all tables of the
    database, also in those of later upgrades, and no CREATE. Raises `ConfigurationError` for an invalid name.
    """
    name, _, host = role.partition("@")
    if not name or len(role) > _NAME_CHARACTERS_MAX or not role.isprintable() or any(each in role for each in "'\\`"):
        raise ConfigurationError(f"'{role}' cannot be the name of a user", hint="name, or name@host")
    database = schema or (await sql.fetch("SELECT DATABASE()"))[0][0]
    # In a GRANT `_` and `%` stand for any letters, so that other databases would be covered too.
    place = re.sub(r"([\\_%])", r"\\\1", str(database)).replace("`", "``")
    return [f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{place}`.* TO '{name}'@'{host or '%'}'"]


async def examine_rights(sql: SqlConnection, own: Iterable[str]) -> list[CheckResult]:
    """Check the rights of this connection's user: those that run time needs on the tables of Freehold, `own` among
    them, and the right to create tables.
    """
    columns = {str(table): str(column) for table, column in await sql.fetch(_MADE)}
    missing, made = [], False
    # A table on which a user has no right at all is not shown to them.
    for table in sorted({*own, *columns}):
        for right in _wanted(table):
            column = columns.get(table, "")
            if right == "UPDATE" and not column:
                continue  # its columns are not shown, and the other rights are missing as well
            denied = await _is_denied(sql, _TRIED[right].format(table=table, column=column))
            made = made or denied is not None
            missing += [f"{right} on {table}"] if denied else []
    database, user, may_create = (await sql.fetch(_MAY_CREATE))[0]
    fix = f"as the owner of the tables: freehold db grants --role {shlex.quote(_as_role(str(user)))}"
    return [
        CheckResult("rights", ok=not missing, detail=_summary(missing), fix=fix if missing else ""),
        _making(str(database), may_create=bool(may_create), made=made),
    ]


def _wanted(table: str) -> Iterator[str]:
    yield "SELECT"
    if table not in _READ_ONLY:
        yield from ("INSERT", "UPDATE", "DELETE")


async def _is_denied(sql: SqlConnection, statement: str) -> bool | None:
    """Whether the right for a statement is missing; None where its table is."""
    try:
        await sql.fetch(statement)
    except PermissionDenied:
        return True
    except DatabaseError as error:
        if f"({_TABLE_MISSING})" in error.message:
            return None
        raise
    return False


def _summary(missing: list[str]) -> str:
    if not missing:
        return "has all rights that run time needs"
    more = f", and {len(missing) - _SHOWN_MAX} more" if len(missing) > _SHOWN_MAX else ""
    return f"missing: {', '.join(missing[:_SHOWN_MAX])}{more}"


def _as_role(user: str) -> str:
    """A user as `grants` takes it: the host is left out where it is any."""
    return user.removesuffix("@%")


def _making(database: str, *, may_create: bool, made: bool) -> CheckResult:
    """The check of the right to create tables; a missing one is no defect once the tables exist."""
    if may_create:
        return CheckResult("making tables", ok=True, detail=f"permitted in database {database}")
    return CheckResult(
        "making tables",
        ok=made,
        detail=f"not permitted in database {database}: upgrades and rebuilds need another user",
        fix="" if made else "run freehold db upgrade as a user that has all rights on the database",
    )
