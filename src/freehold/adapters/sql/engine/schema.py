"""Applying migrations: a ledger in the database, exclusive against other processes. Imports the database port, the
foundation, and its siblings.

Freehold's own steps come first, then the service's. Each is applied in a transaction of its own together with its row
in `freehold_migration`, under a lock that the transaction holds to its end: of two processes one applies, the other
finds the row. A step that was applied and has changed since is refused.

`freehold_meta` says what the database was made with, and whose it is. A name is written there once, in the transaction
that makes the tables or in one like it, under the same lock: of two services that come at once the second finds the
first, before a step of it is applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Final, Protocol

from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.engine.failed_step import failed_step
from freehold.database import check_owner
from freehold.errors import ConfigurationError, DatabaseError, FreeholdError
from freehold.migrations import Migration

__all__ = ["Ledger", "MigratedDatabase", "packaged_migrations"]

_OWN, _SERVICE = "freehold", "service"
_PARTITIONS, _OWNER, _SCHEMA = "partitions", "service", "schema"
_LEDGER, _META = "freehold_migration", "freehold_meta"
_AMONG_THE_FIRST = ("freehold_outbox", "freehold_inbox", "freehold_event")


class MigratedDatabase(SqlDatabase, Protocol):
    """A database that can keep other processes from migrating."""

    async def lock_migrations(self, sql: SqlConnection) -> None:
        """Wait for the lock on migrations, and hold it until the transaction ends."""

    async def make_place(self, sql: SqlConnection) -> None:
        """Make what the tables lie in, where that is missing: a schema."""

    def reason_of(self, error: BaseException) -> str:
        """The engine's own words for why it refused a statement of a migration; empty where they may quote a row."""


@dataclass(frozen=True, slots=True)
class _Step:
    owner: str
    name: str
    digest: str
    statements: Sequence[str]

    @property
    def label(self) -> str:
        return f"{self.owner}/{self.name}"


def packaged_migrations(package: str, dialect: str) -> list[Migration]:
    """Read the `.sql` files of a package, in order of name. A statement ends with `;` at the end of a line, outside of
    `$$`.
    """
    found = [entry for entry in files(package).iterdir() if entry.name.endswith(".sql")]
    return [
        Migration(entry.name.removesuffix(".sql"), {dialect: _statements(entry.read_text(encoding="utf-8"))})
        for entry in sorted(found, key=lambda entry: entry.name)
    ]


class Ledger:
    """What was applied to a database, and what is missing."""

    meta: Final = _META

    def __init__(
        self, database: MigratedDatabase, dialect: Dialect, own: Sequence[Migration], service: Sequence[Migration]
    ) -> None:
        self._database = database
        self._dialect = dialect
        self._steps = [*self._planned(_OWN, own), *self._planned(_SERVICE, service)]

    async def pending(self) -> list[str]:
        """Labels (`owner/name`) of the steps that are missing."""
        async with self._database.direct() as sql:
            applied = await self._applied(sql)
        return [step.label for step in self._missing(applied)]

    async def applied(self, sql: SqlConnection) -> list[tuple[str, Sequence[str]]]:
        """The steps that were applied, as labels with their statements, in order."""
        applied = await self._applied(sql)
        return [(step.label, step.statements) for step in self._steps if (step.owner, step.name) in applied]

    async def partitions(self) -> int | None:
        """How many partitions were written down, None before the first upgrade."""
        stored = (await self._facts()).get(_PARTITIONS)
        return None if stored is None else int(stored)

    async def owner(self) -> str | None:
        """The service that was written down."""
        return (await self._facts()).get(_OWNER)

    async def mark(self, sql: SqlConnection, service: str, instead_of: str) -> None:
        """Write down another service."""
        changed = await sql.execute(
            "UPDATE freehold_meta SET value = $1 WHERE name = $2 AND value = $3", (service, _OWNER, instead_of)
        )
        if changed != 1:
            raise ConfigurationError(
                f"the database is not marked as that of '{instead_of}'", hint="see whose it is with freehold doctor"
            )

    async def upgrade(self, partitions: int, service: str | None = None) -> list[str]:
        """Apply what is missing; returns the labels of what this call applied."""
        facts = await self._facts()
        if not facts:
            await self._check_facts()
        if service is not None:
            check_owner(self._database.features, facts.get(_OWNER), service)
        if _PARTITIONS in facts and (service is None or _OWNER in facts) and not await self.pending():
            return []
        async with self._database.begin() as unit:
            await self._database.lock_migrations(unit.sql)
            await self._database.make_place(unit.sql)
            await self._prepare(unit.sql)
            await self._write_down(unit.sql, partitions, service)
            missing = self._missing(await self._applied(unit.sql))
        applied: list[str] = []
        for step in missing:
            if await self._apply(step, len(applied)):
                applied.append(step.label)
        return applied

    async def _apply(self, step: _Step, before: int) -> bool:
        """Raises what the engine raises, in words that name step and statement; `before` were applied before it."""
        number = 0
        try:
            async with self._database.begin() as unit:
                await self._database.lock_migrations(unit.sql)
                if not self._missing(await self._applied(unit.sql), step):
                    return False
                for statement in step.statements:
                    number += 1
                    await unit.sql.execute(statement)
                number = 0
                await unit.sql.execute(
                    "INSERT INTO freehold_migration (owner, name, digest, applied_at)"
                    f" VALUES ($1, $2, $3, {self._dialect.now_sql(4)})",
                    (step.owner, step.name, step.digest, self._dialect.now()),
                )
        except ConfigurationError:
            raise
        except Exception as error:
            known = error if isinstance(error, FreeholdError) else DatabaseError(type(error).__name__)
            reason = self._database.reason_of(error)
            raise failed_step(step.label, step.statements, number, known, reason=reason, before=before) from error
        return True

    async def _prepare(self, sql: SqlConnection) -> None:
        """Make the ledger's own tables where they are missing: a role that may make none is asked for none then."""
        ledger, meta = await self._exists(sql, _LEDGER), await self._exists(sql, _META)
        if ledger and meta:
            return
        if ledger:
            raise lost_meta()
        await self._check_new(sql)
        time = self._dialect.time_type
        await sql.execute(
            "CREATE TABLE IF NOT EXISTS freehold_migration (owner text NOT NULL, name text NOT NULL,"
            f" digest text NOT NULL, applied_at {time} NOT NULL, PRIMARY KEY (owner, name))"
        )
        await sql.execute(
            "CREATE TABLE IF NOT EXISTS freehold_meta (name text NOT NULL PRIMARY KEY, value text NOT NULL)"
        )

    async def _write_down(self, sql: SqlConnection, partitions: int, service: str | None) -> None:
        """What was written down before stays. Raises `ConfigurationError` where that is another service.

        Nobody else writes meanwhile: the lock on migrations is held.
        """
        facts = {_PARTITIONS: str(partitions), _OWNER: service, _SCHEMA: self._dialect.schema or None}
        written = await self._read_facts(sql)
        for name, value in facts.items():
            if value is not None and name not in written:
                await sql.execute("INSERT INTO freehold_meta (name, value) VALUES ($1, $2)", (name, value))
        if service is not None:
            check_owner(self._database.features, written.get(_OWNER), service)

    async def _facts(self) -> Mapping[str, str]:
        """What is written down; nothing before the first upgrade."""
        async with self._database.direct() as sql:
            return await self._read_facts(sql) if await self._exists(sql, "freehold_meta") else {}

    async def _check_facts(self) -> None:
        async with self._database.direct() as sql:
            if await self._exists(sql, _LEDGER) and not await self._exists(sql, _META):
                raise lost_meta()

    async def _read_facts(self, sql: SqlConnection) -> Mapping[str, str]:
        facts = {str(row[0]): str(row[1]) for row in await sql.fetch("SELECT name, value FROM freehold_meta")}
        made = facts.get(_SCHEMA, "")
        if _PARTITIONS in facts and made != self._dialect.schema:
            # Locks are numbered by the schema: with other numbers on the same tables nobody would wait for anybody.
            raise ConfigurationError(
                f"Freehold's tables here were made {f'in the schema {made!r}' if made else 'without a schema'}, and the"
                f" URL says {f'schema={self._dialect.schema}' if self._dialect.schema else 'no schema'}",
                hint=f"add ?schema={made} to the database URL" if made else "leave ?schema= out of the database URL",
            )
        return facts

    async def _applied(self, sql: SqlConnection) -> Mapping[tuple[str, str], str]:
        if not await self._exists(sql, _LEDGER):
            await self._check_new(sql)
            return {}
        rows = await sql.fetch("SELECT owner, name, digest FROM freehold_migration")
        return {(owner, name): digest for owner, name, digest in rows}

    async def _check_new(self, sql: SqlConnection) -> None:
        """Refuse a database that has lost its record: what would be applied again is there already."""
        for table in (_META, *_AMONG_THE_FIRST):
            # Another process may have made all of them since: the record comes in the same transaction as the first.
            if await self._exists(sql, table) and not await self._exists(sql, _LEDGER):
                raise DatabaseError(
                    f"table {_LEDGER} is missing, and {table} is there: which migrations were applied is not known",
                    hint=f"restore {_LEDGER} from a backup, then run freehold db upgrade",
                )

    async def _exists(self, sql: SqlConnection, table: str) -> bool:
        return bool((await sql.fetch(self._dialect.table_exists_sql, (table,)))[0][0])

    def _missing(self, applied: Mapping[tuple[str, str], str], only: _Step | None = None) -> list[_Step]:
        missing = []
        for step in self._steps if only is None else [only]:
            digest = applied.get((step.owner, step.name))
            if digest is None:
                missing.append(step)
            elif digest != step.digest:
                raise ConfigurationError(
                    f"the migration {step.label} was changed after it had been applied",
                    hint="restore it as it was, and put the change into a new migration",
                )
        return missing

    def _planned(self, owner: str, migrations: Sequence[Migration]) -> list[_Step]:
        steps = [self._step(owner, migration) for migration in sorted(migrations, key=lambda each: each.name)]
        for earlier, later in pairwise(steps):
            if earlier.name == later.name:
                raise ConfigurationError(
                    f"two migrations are named {later.label}", hint="give one of them a new number"
                )
        return steps

    def _step(self, owner: str, migration: Migration) -> _Step:
        name = self._dialect.name
        try:
            return _Step(owner, migration.name, migration.digest(name), tuple(migration.for_dialect(name)))
        except KeyError as error:
            raise ConfigurationError(
                f"the migration {owner}/{migration.name} has no statements for {name}",
                hint=f'add them under "{name}", or under "" for every engine',
            ) from error


def lost_meta() -> DatabaseError:
    """The error of a database whose facts are lost: with another number of partitions, rows would wait for ever."""
    return DatabaseError(
        f"table {_META} is missing: how many partitions the outbox has, and whose the database is, is not known",
        hint=f"restore {_META} from a backup",
    )


def _statements(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    statements, begun = [], ""
    for part in ("\n".join(lines) + "\n").split(";\n"):
        begun += part
        if begun.count("$$") % 2:
            begun += ";\n"
        else:
            statements.append(begun.strip())
            begun = ""
    return [statement for statement in statements if statement]
