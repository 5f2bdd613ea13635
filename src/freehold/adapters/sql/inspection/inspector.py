"""Compares a database with what its migrations made, and repairs it. Imports the database port, the foundation, and its
siblings `catalogue` and `comparison`.

The comparison only reads, so a role without the right to create objects may run it. Each repair is a transaction of its
own, under the lock on migrations. It compares again once it has the lock.
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


class InspectedDatabase(Protocol):
    """A database that can be inspected."""

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection on which each statement commits by itself."""

    def migrating(self) -> AbstractAsyncContextManager[SqlConnection]:
        """Statements that change the schema, while no other process migrates."""

    def reason_of(self, error: BaseException) -> str:
        """The engine's message for a failed statement of a migration; empty where it may quote values of a row."""

    def expected(self, steps: Sequence[tuple[str, Sequence[str]]]) -> Catalogue:
        """The catalogue that these steps (label and statements) make in an empty database."""

    async def found(self, sql: SqlConnection, expected: Catalogue) -> Catalogue:
        """The part of `expected` that is in the database."""

    async def look_closer(self, sql: SqlConnection, expected: Catalogue, found: Catalogue) -> None:
        """Add to `found` what the engine's catalogue does not show. Not inside a transaction: it runs statements that
        may fail, and ignores their errors.
        """


class AppliedSteps(Protocol):
    """The record of the applied steps."""

    @property
    def meta(self) -> str:
        """The table of facts; it is created with the record, not by a step."""

    async def applied(self, sql: SqlConnection) -> list[tuple[str, Sequence[str]]]:
        """The applied steps in order, as labels with their statements."""


class Inspection:
    """Finds and repairs the differences between a database and what its applied steps made.

    alters_columns  whether ALTER TABLE can change an existing column and add a constraint.
    """

    def __init__(
        self, database: InspectedDatabase, steps: AppliedSteps, clock: Clock | None, *, alters_columns: bool
    ) -> None:
        self._database = database
        self._steps = steps
        self._clock = clock
        self._alters_columns = alters_columns

    async def defects(self, *, closer: bool) -> list[Defect]:
        """The defects, in the order of their repair. `closer` checks views, and rows that violate constraints, too."""
        async with self._database.direct() as sql:
            return [each.defect for each in await self._deviations(sql, closer=closer)]

    async def repair(self) -> list[str]:
        """Repair the defects whose repair loses no data; returns their subjects.

        All are tried. Raises the error of the first repair that failed, at the end; `Unavailable` at once.
        """
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
                cause = f"{error.message}: {reason}" if reason else error.message
                failed[subject] = DatabaseError(f"{subject} could not be repaired: {cause}", hint=error.hint)
                failed[subject].__cause__ = error
        if failed:
            raise next(iter(failed.values()))
        return mended

    async def _mend(self, subject: str, seen: Sequence[Deviation]) -> bool:
        """Repair a subject; False where another process has done it. A defect that `look_closer` found is repaired in
        any case: a second repair is harmless.
        """
        async with self._database.migrating() as sql:
            again = await self._deviations(sql, closer=False)
            problems = {each.defect.problem for each in seen}
            found = [each for each in again if each.defect.subject == subject and each.defect.problem in problems]
            found += [each for each in seen if each.closer]
            for statement in self._statements(subject, found):
                await sql.execute(statement)
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
    """The deviation, without its repair where rows violate the constraint. If they cannot be counted, the repair is
    tried, and fails where there are any.
    """
    if not (deviation.statements and deviation.violations):
        return deviation
    try:
        ((rows,),) = await sql.fetch(deviation.violations)
    except (DatabaseError, OperationTimeout):
        return deviation
    return deviation.violated(int(rows)) if rows else deviation
