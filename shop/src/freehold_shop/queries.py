"""Reading a service's database for its API: one statement, outside of any transaction, so that readers never queue.

Statements are SQL with `$1`, `$2` … on both engines. Imports Freehold's runtime and errors, and what is
known of read models.
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
"""How long a read waits for what the caller's consistency token has seen; it answers with what there is then."""


async def read(
    running: RunningService, columns: Sequence[str], rest: str, parameters: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """`SELECT columns rest`, each row by column name. Raises what the database's port does; `Unavailable` too where a
    table is locked, which passes, and where a read model of the service is not made yet: its tables are missing until
    then.
    """
    sql = f"SELECT {', '.join(columns)} {rest}"
    try:
        async with running.stores[SQL].direct() as connection:
            rows = await connection.fetch(sql, parameters)
    except ConcurrencyConflict as error:
        raise Unavailable(f"a read was kept waiting: {error.message}", hint="try again") from error
    except DatabaseError as error:
        if missing := await _not_made(running):
            raise Unavailable(f"the read model '{missing}' is not made yet", hint="try again") from error
        raise
    return [dict(zip(columns, row, strict=True)) for row in rows]


async def _not_made(running: RunningService) -> str:
    """The first read model of the service that nobody can read yet; empty for none."""
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
    """`$1, $2, …` for an IN list; of nothing, an element that equals nothing."""
    return ", ".join(f"${number}" for number in range(first, first + len(values))) or "NULL"
