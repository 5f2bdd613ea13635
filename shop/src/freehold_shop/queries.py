"""Queries on a service's database for its API: one statement, outside of any transaction, so that reads never queue.

Statements are SQL with `$1`, `$2` … on every engine. Imports Freehold's runtime, errors and projections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold import ConcurrencyConflict, DatabaseError, Unavailable
from freehold.projection import CHECKPOINTS, GenerationState
from freehold.runtime import RunningService
from freehold.sql import SQL

__all__ = ["FRESH_SECONDS", "places", "read", "read_one"]

FRESH_SECONDS = 5.0
"""How long a read waits for the positions of the caller's consistency token; then it answers with what is there."""


async def read(
    running: RunningService, columns: Sequence[str], rest: str, parameters: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Run `SELECT columns rest`; each row is a mapping by column name, without the name of its table.

    A column whose name an engine reserves needs its table's name before it (`orders.lines`).

    Raises what the database's port raises, and `Unavailable` where a table is locked for the moment, or where a read
    model of the service is not built yet, so that its tables are missing.
    """
    sql = f"SELECT {', '.join(columns)} {rest}"
    try:
        async with running.stores[SQL].direct() as connection:
            rows = await connection.fetch(sql, parameters)
    except ConcurrencyConflict as error:
        raise Unavailable(f"a read was blocked: {error.message}", hint="try again") from error
    except DatabaseError as error:
        if missing := await _not_built(running):
            raise Unavailable(f"the read model '{missing}' is not built yet", hint="try again") from error
        raise
    names = [column.rpartition(".")[2] for column in columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


async def _not_built(running: RunningService) -> str:
    """The first read model of the service without a live generation; empty for none."""
    generations = await running.stores[CHECKPOINTS].generations()
    live = {each.projection for each in generations if each.state is GenerationState.LIVE}
    return next((name for name in running.service.projections if name not in live), "")


async def read_one(
    running: RunningService, columns: Sequence[str], rest: str, parameters: Sequence[object] = ()
) -> Mapping[str, Any] | None:
    """The first row, or None."""
    rows = await read(running, columns, rest, parameters)
    return rows[0] if rows else None


def places(values: Sequence[object], first: int = 1) -> str:
    """`$1, $2, …` for an IN list; `NULL`, which equals nothing, for an empty one."""
    return ", ".join(f"${number}" for number in range(first, first + len(values))) or "NULL"
