"""Making the first generation: its checkpoints, its tables, and the names that readers use.

Pattern: imports the ports and its package.
"""

from __future__ import annotations

from typing import Final

from freehold.database import Database
from freehold.errors import ConcurrencyConflict, ConfigurationError
from freehold.eventstore.store import EventStore
from freehold.projection.batch import wanted_by
from freehold.projection.declaration import Projection
from freehold.projection.store import CheckpointStore, Generation, GenerationState

__all__ = ["begin_first"]

_ATTEMPTS_MAX: Final = 10


async def begin_first(
    projection: Projection, database: Database, events: EventStore, checkpoints: CheckpointStore
) -> Generation:
    """Make the first generation, live from the beginning; returns the live one where somebody has made it before.

    Raises `ConfigurationError` where an inline projection would begin with a part of the history missing, or a table is
    in the way; `ConcurrencyConflict` where others were in the way again and again.
    """
    attempt = 1
    while True:
        found = await checkpoints.generations(projection.name)
        for generation in found:
            if generation.state is GenerationState.LIVE:
                return generation
        position = await events.head() if projection.start == "now" else 0
        if projection.inline and projection.start == "earliest":
            await _refuse_missed(projection, events)
        number = max((each.number for each in found), default=0) + 1
        try:
            return await _begin(projection, database, checkpoints, number, position)
        except ConcurrencyConflict:
            attempt += 1
            if attempt > _ATTEMPTS_MAX:
                raise


async def _begin(
    projection: Projection, database: Database, checkpoints: CheckpointStore, number: int, position: int
) -> Generation:
    if projection.sink is not None:
        await projection.sink.prepare(number)
    async with database.begin() as unit:
        made = await checkpoints.create(
            unit,
            projection.name,
            number,
            version=projection.version,
            partitions=0 if projection.inline else projection.partitions,
            state=GenerationState.LIVE,
            position=position,
            reason="first start",
            tables=projection.generation_tables.names,
        )
        await projection.generation_tables.create(unit, number)
        await projection.generation_tables.show(unit, number)
    if projection.sink is not None:
        await projection.sink.show(number)
    return made


async def _refuse_missed(projection: Projection, events: EventStore) -> None:
    missed = await events.count(0, await events.head(), wanted_by(projection), limit=1)
    if missed:
        raise ConfigurationError(
            f"inline projection '{projection.name}' would begin without the events that were appended before it",
            hint='leave inline out, or say start="now" where what was before does not matter',
        )
