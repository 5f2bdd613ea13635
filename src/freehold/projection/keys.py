"""Rebuilding what a read model holds of a single stream. Pattern: imports the foundation, the event store port and its
own package.

Under the lock of the partition's checkpoint the rows of the stream are deleted, and the stream is folded again through
the position that the checkpoint stands at: all in the caller's transaction, so that nobody sees the rows missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from freehold.database import UnitOfWork
from freehold.errors import ConcurrencyConflict, ConfigurationError, DeclarationError, NotFound
from freehold.eventstore.store import EventStore, RecordedEvent, bucket_of, category_of
from freehold.projection.declaration import Projection
from freehold.projection.generations import History
from freehold.projection.store import Checkpoint, CheckpointStore, Generation, GenerationState

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["check_rebuildable", "rebuild_key"]

_PAGE: Final = 1000
_READERS: Final[dict[type[Any], Callable[[str], Any]]] = {
    str: str,
    int: int,
    UUID: UUID,
    Decimal: Decimal,
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
}


async def rebuild_key(unit: UnitOfWork, history: History, projection: Projection, stream: str) -> int:
    """Make the live rows of a stream anew; returns how many events they are made of. A parked stream is released.

    Side effects do not happen again. Raises `DeclarationError` where a table has no key column, `NotFound` for a stream
    that the projection does not follow, `ConcurrencyConflict` where another generation has become live meanwhile, and
    what a handler raises.
    """
    keys = check_rebuildable(projection, stream)
    store = history.checkpoints
    live = next(
        (each for each in await store.generations(projection.name, unit=unit) if each.state is GenerationState.LIVE),
        None,
    )
    if live is None or live.version != projection.version:
        raise ConfigurationError(
            f"projection '{projection.name}' is not live in version {projection.version}, which is declared here",
            hint="rebuild it as a whole, or run this where the live version's code is",
        )
    if live.partitions == 0:
        raise ConfigurationError(f"projection '{projection.name}' is inline: single keys of it cannot be rebuilt")
    seen = await _held(unit, store, live, stream)
    for table, column in projection.key_columns.items():
        clone = next(
            projection.generation_tables.clone(each, live.number) for each in projection.tables if each.name == table
        )
        await unit.native.execute(clone.delete().where(clone.c[column] == keys[table]))
    count = 0
    async for batch in _batches(history.events, projection, stream, seen.position):
        await history.apply(unit, projection, projection.generation_tables, live.number, batch)
        count += len(batch)
    if await store.parked(projection.name, live.number, stream=stream, unit=unit):
        await store.release(unit, seen, stream)
    return count


async def _held(unit: UnitOfWork, store: CheckpointStore, live: Generation, stream: str) -> Checkpoint:
    """Hold the checkpoint of a stream's partition; what was live before may not be any more once it is held."""
    found = await store.lock(unit, live.projection, live.number, bucket_of(stream) % live.partitions)
    if not found or found[0].state is not GenerationState.LIVE:
        raise ConcurrencyConflict(
            f"generation {live.number} of projection '{live.projection}' is not live any more",
            hint="the one that is was built from all events; try again where it is wrong, too",
        )
    return found[0]


def check_rebuildable(projection: Projection, stream: str) -> dict[str, object]:
    """The value of each table's key column for a stream. Raises `DeclarationError`, `NotFound`."""
    missing = [table.name for table in projection.tables if table.name not in projection.key_columns]
    if missing or not projection.tables:
        where = f"table '{missing[0]}'" if missing else "it has no tables"
        raise DeclarationError(
            f"what projection '{projection.name}' holds of one stream cannot be told: {where}",
            hint=f'Projection(..., key_columns={{"{missing[0] if missing else "table"}": "<column>"}})',
        )
    if projection.categories and category_of(stream) not in projection.categories:
        raise NotFound(
            f"projection '{projection.name}' does not follow stream '{stream}'",
            hint=f"its categories: {', '.join(sorted(projection.categories))}",
        )
    return {table.name: _value(projection, table, stream) for table in projection.tables}


def _value(projection: Projection, table: sa.Table, stream: str) -> object:
    if projection.key_of is not None:
        return projection.key_of(stream)
    text = stream.partition("-")[2]
    column = table.c[projection.key_columns[table.name]]
    try:
        return _READERS[column.type.python_type](text)
    except (KeyError, NotImplementedError) as error:
        raise DeclarationError(
            f"column '{column.name}' of table '{table.name}' has a type that no stream's name is read as",
            hint="Projection(..., key_of=lambda stream: ...)",
        ) from error
    except (ValueError, ArithmeticError) as error:
        raise NotFound(f"the name of stream '{stream}' is no value of column '{column.name}'") from error


async def _batches(
    events: EventStore, projection: Projection, stream: str, through: int
) -> AsyncIterator[list[RecordedEvent]]:
    """The events of a stream that the projection handles, through a position."""
    types = projection.types
    version = 0
    while page := await events.read_stream(stream, after=version, limit=_PAGE):
        version = page[-1].version
        batch = [each for each in page if each.position <= through and each.event.type in types]
        for start in range(0, len(batch), projection.batch_limit):
            yield batch[start : start + projection.batch_limit]
        if page[-1].position > through:
            return
