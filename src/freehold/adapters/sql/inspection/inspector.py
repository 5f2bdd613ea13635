"""Comparing a database with what its migrations made of it, and making good what can be. Imports the database port, the
foundation, and its siblings `catalogue` and `comparison`.

The comparison reads only, so that it is open to a role that may make nothing. Each repair is a transaction of its own,
under the lock on migrations; it looks again once it has the lock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from freehold.adapters.sql.inspection.catalogue import Catalogue, Table
from freehold.adapters.sql.inspection.comparison import Deviation, compare, with_tokens_after
from freehold.clock import Clock
from freehold.database import Defect
from freehold.errors import DatabaseError, FreeholdError, OperationTimeout, Unavailable
from freehold.sql import SqlConnection

__all__ = ["AppliedSteps", "InspectedDatabase", "Inspection"]

_LEASES = "table freehold_lease"


class _Unit(Protocol):
    @property
    def sql(self) -> SqlConnection:
        """The statements of the transaction."""


class InspectedDatabase(Protocol):
    """A database that says what is in it."""

    def begin(self) -> AbstractAsyncContextManager[_Unit]:
        """Open a transaction."""

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection on which each statement commits by itself."""

    async def lock_migrations(self, sql: SqlConnection) -> None:
        """Wait for the lock on migrations, and hold it until the transaction ends."""

    def reason_of(self, error: BaseException) -> str:
        """The engine's own words for why it refused a statement of a migration; empty where they may quote a row."""

    def expected(self, steps: Sequence[tuple[str, Sequence[str]]]) -> Catalogue:
        """What these steps, as labels with their statements, make of an empty database."""

    async def found(self, sql: SqlConnection, expected: Catalogue) -> Catalogue:
        """What there is of it."""

    async def look_closer(self, sql: SqlConnection, expected: Catalogue, found: Catalogue) -> None:
        """Add to `found` what a look into the engine's catalogue does not tell. Not for a transaction: what the engine
        refuses in it is passed over.
        """


class AppliedSteps(Protocol):
    """The record of what was applied."""

    @property
    def meta(self) -> str:
        """The table that is made with the record, by no step."""

    async def applied(self, sql: SqlConnection) -> list[tuple[str, Sequence[str]]]:
        """The steps that were applied, as labels with their statements, in order."""


class Inspection:
    """What of a database is not as the applied steps made it.

    alters_columns  whether ALTER TABLE changes a column that is there, and adds a constraint.
    """

    def __init__(
        self, database: InspectedDatabase, steps: AppliedSteps, clock: Clock | None, *, alters_columns: bool
    ) -> None:
        self._database = database
        self._steps = steps
        self._clock = clock
        self._alters_columns = alters_columns

    async def defects(self, *, closer: bool) -> list[Defect]:
        """In the order in which they are to be mended. `closer` asks for views and for rows too."""
        async with self._database.direct() as sql:
            return [each.defect for each in await self._deviations(sql, closer=closer)]

    async def repair(self) -> list[str]:
        """Make good what nothing is lost by. Raises, once all were tried, the error of the first that could not be."""
        mended: list[str] = []
        failed: dict[str, FreeholdError] = {}
        async with self._database.direct() as sql:
            deviations = [each for each in await self._deviations(sql, closer=True) if each.statements]
        for subject in dict.fromkeys(each.defect.subject for each in deviations):
            try:
                if await self._mend(subject, [each for each in deviations if each.defect.subject == subject]):
                    mended.append(subject)
            except Unavailable:
                raise
            except FreeholdError as error:
                reason = self._database.reason_of(error)
                told = f"{error.message}: {reason}" if reason else error.message
                failed[subject] = DatabaseError(f"{subject} could not be made again: {told}", hint=error.hint)
                failed[subject].__cause__ = error
        if failed:
            raise next(iter(failed.values()))
        return mended

    async def _mend(self, subject: str, seen: Sequence[Deviation]) -> bool:
        """False where another process was first. What took a closer look is mended in any case: twice is no harm."""
        async with self._database.begin() as db_tx:
            await self._database.lock_migrations(db_tx.sql)
            again = await self._deviations(db_tx.sql, closer=False)
            problems = {each.defect.problem for each in seen}
            found = [each for each in again if each.defect.subject == subject and each.defect.problem in problems]
            found += [each for each in seen if each.closer]
            for statement in self._statements(subject, found):
                await db_tx.sql.execute(statement)
        return bool(found)

    def _statements(self, subject: str, found: Sequence[Deviation]) -> list[str]:
        statements = [statement for each in found for statement in each.statements]
        if subject != _LEASES:
            return statements
        seconds = int(time.time() if self._clock is None else self._clock.now().timestamp())
        return [with_tokens_after(statement, seconds) for statement in statements]

    async def _deviations(self, sql: SqlConnection, *, closer: bool) -> list[Deviation]:
        steps = await self._steps.applied(sql)
        expected = self._database.expected(steps)
        if steps:
            expected = Catalogue({self._steps.meta: Table(), **expected.tables}, expected.parts)
        found = await self._database.found(sql, expected)
        if closer:
            await self._database.look_closer(sql, expected, found)
        deviations = compare(expected, found, alters=self._alters_columns)
        return [await _counted(sql, each) if closer else each for each in deviations]


async def _counted(sql: SqlConnection, deviation: Deviation) -> Deviation:
    """A constraint that rows are against is not made again. Where they cannot be counted, making it will tell."""
    if not (deviation.statements and deviation.violations):
        return deviation
    try:
        ((rows,),) = await sql.fetch(deviation.violations)
    except (DatabaseError, OperationTimeout):
        return deviation
    return deviation.violated(int(rows)) if rows else deviation
