"""Applies migrations and records them in the database; one process at a time. Imports the database port, the
foundation, and its siblings.

Steps: Freehold's come first, then the service's. Each is applied in a transaction of its own, together with its row in
`freehold_migration`, under a lock that the transaction holds until its end. Of two processes one applies the step, and
the other finds the row. A step that was changed after it had been applied is refused.

Functions: `freehold_object` records their digests. A function with another digest is replaced; one that this release
does not have is dropped. `freehold_meta` records the release that applied functions last. During a rolling upgrade a
process of an older release may still run or start: it does not touch the functions of a newer release.

A database of before the first release records other steps. The missing ones of these are applied, then one more. It
renames what is stored, and replaces the record by the one of a database that the first release has made.

Facts: `freehold_meta` records the number of partitions, the schema, and the service that owns the database. A fact is
written once, under the same lock, before the first step is applied. When two services start on one database at the
same time, the second finds the first one's name before any of its own steps is applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, Protocol

from freehold import __version__
from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.engine.failed_step import failed_step
from freehold.adapters.sql.engine.packaged import PackagedSchema
from freehold.adapters.sql.engine.script import whole_script
from freehold.crash_points import crash_point
from freehold.database import check_owner
from freehold.errors import ConfigurationError, DatabaseError, FreeholdError
from freehold.migrations import Migration

__all__ = ["Ledger", "MigratedDatabase"]

_OWN, _SERVICE = "freehold", "service"
_PARTITIONS, _OWNER, _SCHEMA, _FUNCTIONS = "partitions", "service", "schema", "functions"
_LEDGER, _META, _OBJECTS = "freehold_migration", "freehold_meta", "freehold_object"
_DROPPED: Final = "functions/dropped"
_AMONG_THE_FIRST = ("freehold_outbox", "freehold_inbox", "freehold_event")


class MigratedDatabase(SqlDatabase, Protocol):
    """A database that migrations can be applied to."""

    def migrating(self) -> AbstractAsyncContextManager[SqlConnection]:
        """Statements that change the schema, while no other process migrates: in one transaction, or each by itself
        where the engine commits at each of them.
        """

    async def make_place(self, sql: SqlConnection) -> None:
        """Create the schema for the tables where it is missing; nothing on an engine without schemas."""

    def reason_of(self, error: BaseException) -> str:
        """The engine's message for a failed statement of a migration; empty where it may quote values of a row."""

    async def signatures(self, sql: SqlConnection, functions: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The signatures of these functions in the schema of the tables, by name, as DROP FUNCTION takes them."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of an upgrade.

    functions  the digests of the functions that it makes, by name; an empty one for a function that it drops.
    becomes    the steps that are recorded instead of all of Freehold's own, once this one is applied.
    """

    owner: str
    name: str
    digest: str
    statements: Sequence[str]
    functions: Mapping[str, str] = field(default_factory=dict)
    becomes: Sequence[_Step] = ()

    @property
    def label(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class _Record:
    """The record of a database: digests of steps by owner and name, digests of functions by name, and the release that
    applied functions last.
    """

    steps: Mapping[tuple[str, str], str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    release: str = ""


class Ledger:
    """The migrations of a database: which were applied, which are missing; applies them."""

    meta: Final = _META

    def __init__(
        self, database: MigratedDatabase, dialect: Dialect, own: PackagedSchema, service: Sequence[Migration]
    ) -> None:
        self._database = database
        self._dialect = dialect
        self._packaged = own
        self._tables = [self._step(_OWN, each) for each in own.tables]
        self._changes = self._planned(_OWN, own.changes)
        self._prerelease = self._planned(_OWN, own.prerelease)
        if self._prerelease:
            self._prerelease[-1] = replace(self._prerelease[-1], becomes=self._tables)
        self._service = self._planned(_SERVICE, service)

    async def pending(self) -> list[str]:
        """The labels (`owner/name`) of the missing steps."""
        async with self._database.direct() as sql:
            record = await self._record(sql)
        return [step.label for step in self._missing(record)]

    async def applied(self, sql: SqlConnection) -> list[tuple[str, Sequence[str]]]:
        """The applied steps in order, as labels with their statements."""
        record = await self._record(sql)
        steps = [step for step in self._steps(record) if (step.owner, step.name) in record.steps]
        made = [
            (f"{_OWN}/functions/{port}", function.statements)
            for port, functions in self._packaged.functions.items()
            for function in functions
            if record.functions.get(function.name) == function.digest
        ]
        own = [(step.label, step.statements) for step in steps if step.owner == _OWN]
        return [*own, *made, *((step.label, step.statements) for step in steps if step.owner != _OWN)]

    def script(self, partitions: int, service: str, place: Sequence[str]) -> str:
        """The SQL that an upgrade runs in an empty database; `place` creates the schema for the tables."""
        steps = [
            (step.owner, step.name, step.digest, step.statements)
            for step in (*self._tables, *self._changes, *self._service)
        ]
        facts = self._new_facts(partitions, service)
        if self._packaged.functions:
            facts[_FUNCTIONS] = __version__
        return whole_script(self._packaged, steps, facts, self._dialect.present_sql, place)

    async def partitions(self) -> int | None:
        """The recorded number of partitions; None before the first upgrade."""
        stored = (await self._facts()).get(_PARTITIONS)
        return None if stored is None else int(stored)

    async def owner(self) -> str | None:
        """The recorded service that owns the database."""
        return (await self._facts()).get(_OWNER)

    async def mark(self, sql: SqlConnection, service: str, instead_of: str) -> None:
        """Record another service as the owner. Raises `ConfigurationError` where it is not `instead_of`."""
        changed = await sql.execute(
            "UPDATE freehold_meta SET value = $1 WHERE name = $2 AND value = $3", (service, _OWNER, instead_of)
        )
        if changed != 1:
            raise ConfigurationError(
                f"the database is not recorded as owned by '{instead_of}'",
                hint="freehold doctor shows which service owns it",
            )

    async def upgrade(self, partitions: int, service: str | None = None) -> list[str]:
        """Apply the missing steps; returns the labels of those that this call applied."""
        facts = await self._facts()
        if not facts:
            await self._check_facts()
        if service is not None:
            check_owner(self._database.features, facts.get(_OWNER), service)
        if _PARTITIONS in facts and (service is None or _OWNER in facts) and not await self.pending():
            return []
        async with self._database.migrating() as sql:
            await self._database.make_place(sql)
            await self._prepare(sql)
            await self._write_down(sql, partitions, service)
            crash_point("migration.before-record-commit")
            missing = self._missing(await self._record(sql))
        crash_point("migration.record-made")
        applied: list[str] = []
        for step in missing:
            if await self._apply(step, len(applied)):
                applied.append(step.label)
        return applied

    async def _apply(self, step: _Step, before: int) -> bool:
        """Apply a step; False where another process has applied it. `before` steps were applied before it.

        Raises the engine's error with a message that names the step and the statement (`failed_step`).
        """
        number = 0
        try:
            async with self._database.migrating() as sql:
                if step.label not in [each.label for each in self._missing(await self._record(sql))]:
                    return False
                before_it = await self._database.signatures(sql, list(step.functions)) if step.functions else {}
                for statement in step.statements:
                    number += 1
                    crash_point("migration.before-statement")
                    await sql.execute(statement)
                number = 0
                await self._drop_others(sql, step, before_it)
                crash_point("migration.before-note")
                await self._note(sql, step)
                crash_point("migration.before-commit")
        except ConfigurationError:
            raise
        except Exception as error:
            known = error if isinstance(error, FreeholdError) else DatabaseError(type(error).__name__)
            reason = self._database.reason_of(error)
            raise failed_step(
                step.label,
                step.statements,
                number,
                known,
                reason=reason,
                before=before,
                alone=not self._database.features.transactional_ddl,
            ) from error
        crash_point("migration.applied")
        return True

    async def _drop_others(self, sql: SqlConnection, step: _Step, before: Mapping[str, Sequence[str]]) -> None:
        """Drop the functions that the step drops, and old signatures of those that now have other parameters."""
        now = await self._database.signatures(sql, list(before)) if before else {}
        for name, signatures in before.items():
            if not step.functions[name] or set(now[name]) - set(signatures):
                for signature in signatures:
                    await sql.execute(f"DROP FUNCTION {signature}")

    async def _note(self, sql: SqlConnection, step: _Step) -> None:
        if step.functions:
            for name, digest in step.functions.items():
                await sql.execute("DELETE FROM freehold_object WHERE name = $1", (name,))
                if digest:
                    await sql.execute("INSERT INTO freehold_object (name, digest) VALUES ($1, $2)", (name, digest))
            await sql.execute("DELETE FROM freehold_meta WHERE name = $1", (_FUNCTIONS,))
            await sql.execute("INSERT INTO freehold_meta (name, value) VALUES ($1, $2)", (_FUNCTIONS, __version__))
            return
        if step.becomes:
            await sql.execute("DELETE FROM freehold_migration WHERE owner = $1", (_OWN,))
        for each in step.becomes or (step,):
            await sql.execute(
                "INSERT INTO freehold_migration (owner, name, digest, applied_at)"
                f" VALUES ($1, $2, $3, {self._dialect.now_sql(4)})",
                (each.owner, each.name, each.digest, self._dialect.now()),
            )

    async def _prepare(self, sql: SqlConnection) -> None:
        """Create the tables of the record where they are missing. Where they exist, no right to create is needed."""
        await self._check_meta(sql)
        if await self._exists(sql, _LEDGER) and await self._exists(sql, _OBJECTS) and await self._exists(sql, _META):
            return
        await self._check_new(sql)
        for statement in self._packaged.record:
            await sql.execute(statement)

    async def _write_down(self, sql: SqlConnection, partitions: int, service: str | None) -> None:
        """Record the facts that are missing; recorded ones stay. Raises `ConfigurationError` for another service's.

        The lock on migrations is held, so no other process writes meanwhile.
        """
        written = await self._read_facts(sql)
        for name, value in self._new_facts(partitions, service).items():
            if name not in written:
                await sql.execute("INSERT INTO freehold_meta (name, value) VALUES ($1, $2)", (name, value))
        if service is not None:
            check_owner(self._database.features, written.get(_OWNER), service)

    def _new_facts(self, partitions: int, service: str | None) -> dict[str, str]:
        facts = {_PARTITIONS: str(partitions), _OWNER: service, _SCHEMA: self._dialect.schema}
        return {name: value for name, value in facts.items() if value}

    async def _facts(self) -> Mapping[str, str]:
        """The recorded facts; empty before the first upgrade."""
        async with self._database.direct() as sql:
            return await self._read_facts(sql) if await self._exists(sql, "freehold_meta") else {}

    async def _check_facts(self) -> None:
        async with self._database.direct() as sql:
            await self._check_meta(sql)

    async def _check_meta(self, sql: SqlConnection) -> None:
        """Where each statement commits by itself, a record without a step is one whose making was interrupted."""
        if not await self._exists(sql, _LEDGER) or await self._exists(sql, _META):
            return
        if self._database.features.transactional_ddl or await sql.fetch("SELECT 1 FROM freehold_migration LIMIT 1"):
            raise lost_meta()

    async def _read_facts(self, sql: SqlConnection) -> Mapping[str, str]:
        facts = {str(row[0]): str(row[1]) for row in await sql.fetch("SELECT name, value FROM freehold_meta")}
        made = facts.get(_SCHEMA, "")
        if _PARTITIONS in facts and made != self._dialect.schema:
            # Lock numbers depend on the schema: with two numberings on the same tables the locks would exclude nobody.
            raise ConfigurationError(
                f"Freehold's tables in this database were made"
                f" {f'in the schema {made!r}' if made else 'without a schema'}, and the URL"
                f" has {f'schema={self._dialect.schema}' if self._dialect.schema else 'no schema'}",
                hint=f"add ?schema={made} to the database URL" if made else "leave ?schema= out of the database URL",
            )
        return facts

    async def _record(self, sql: SqlConnection) -> _Record:
        if not await self._exists(sql, _LEDGER):
            await self._check_new(sql)
            return _Record()
        rows = await sql.fetch("SELECT owner, name, digest FROM freehold_migration")
        steps = {(owner, name): digest for owner, name, digest in rows}
        if not self._packaged.functions or not await self._exists(sql, _OBJECTS):
            return _Record(steps)
        functions = {str(row[0]): str(row[1]) for row in await sql.fetch("SELECT name, digest FROM freehold_object")}
        if not functions or not await self._exists(sql, _META):
            return _Record(steps, functions)
        release = await sql.fetch("SELECT value FROM freehold_meta WHERE name = $1", (_FUNCTIONS,))
        return _Record(steps, functions, release[0][0] if release else "")

    async def _check_new(self, sql: SqlConnection) -> None:
        """Raise `DatabaseError` for a database that has lost its record: its steps would be applied a second time."""
        for table in (_META, *_AMONG_THE_FIRST):
            # Look for the record again: another process may have created it since, in one transaction with the table.
            if await self._exists(sql, table) and not await self._exists(sql, _LEDGER):
                raise DatabaseError(
                    f"table {_LEDGER} is missing, and {table} exists: which migrations were applied is not known",
                    hint=f"restore {_LEDGER} from a backup, then run freehold db upgrade",
                )

    async def _exists(self, sql: SqlConnection, table: str) -> bool:
        return bool((await sql.fetch(self._dialect.table_exists_sql, (table,)))[0][0])

    def _steps(self, record: _Record) -> list[_Step]:
        """All steps from the beginning to the newest tables, by the way that this database has taken."""
        before = any((step.owner, step.name) in record.steps for step in self._prerelease)
        own = self._prerelease if before else self._tables
        return [*own, *self._changes, *self._service]

    def _missing(self, record: _Record) -> list[_Step]:
        missing = []
        for step in self._steps(record):
            digest = record.steps.get((step.owner, step.name))
            if digest is None:
                missing.append(step)
            elif digest != step.digest:
                raise ConfigurationError(
                    f"the migration {step.label} was changed after it had been applied",
                    hint="restore its text, and put the change into a new migration",
                )
        own = [step for step in missing if step.owner == _OWN]
        return [*own, *self._functions(record), *(step for step in missing if step.owner != _OWN)]

    def _functions(self, record: _Record) -> Iterator[_Step]:
        """The steps that bring the functions to this release; none where a newer release has applied its own."""
        if _order(record.release) > _order(__version__):
            return
        dropped = dict.fromkeys(sorted(record.functions), "")
        for port, functions in self._packaged.functions.items():
            other = [each for each in functions if record.functions.get(each.name) != each.digest]
            statements = [statement for each in other for statement in each.statements]
            if other:
                yield _Step(_OWN, f"functions/{port}", "", statements, {each.name: each.digest for each in other})
            for each in functions:
                dropped.pop(each.name, None)
        if dropped:
            yield _Step(_OWN, _DROPPED, "", (), dropped)

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
    """The error for a database that lost its facts. With a wrong number of partitions some rows would never be sent."""
    return DatabaseError(
        f"table {_META} is missing: the number of partitions of the outbox and the owner of the database are not known",
        hint=f"restore {_META} from a backup",
    )


def _order(release: str) -> tuple[int, ...]:
    """The sort key of a release: `0.9.1` comes before `0.10.0`."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])
