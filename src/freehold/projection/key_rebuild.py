"""Rebuilding the rows of a single key: of a stream, and of others that belong to it. Pattern: imports the foundation,
the ports and its own package.

The streams are found before anything is locked. Then, in the caller's transaction, the checkpoints of their partitions
are locked, the rows of the streams are deleted, and the events of each stream through its checkpoint are applied again.
So no reader misses the rows.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from freehold.crash_points import crash_point
from freehold.database import DatabaseTransaction
from freehold.errors import CodecError, ConcurrencyConflict, ConfigurationError, DeclarationError, NotFound
from freehold.eventstore.store import EventStore, RecordedEvent, bucket_of, category_of
from freehold.messages.upcast import read_event
from freehold.projection.declaration import DecodedEvent, Projection, stored_types
from freehold.projection.generations import RebuildSource, live_generation
from freehold.projection.read_model_store import DeclaredTable
from freehold.projection.store import PARKED_READ_MAX, Checkpoint, CheckpointStore, Generation, GenerationState
from freehold.projection.tables import PlacedTables
from freehold.sql import SQL, SqlConnection

__all__ = ["check_rebuildable", "rebuild_key", "streams_of_key"]

_PAGE: Final = 1000


async def streams_of_key(history: RebuildSource, projection: Projection, stream: str) -> tuple[str, ...]:
    """A stream and those that `key_streams` finds for it, in order of their names; without a lock.

    A stream that belongs to it only from now on may be missing: its rows are written by the runner. Raises
    `DeclarationError` and `NotFound` as `rebuild_key`, and what `key_streams` raises.
    """
    if not check_rebuildable(history.tables(projection), projection, stream):
        raise DeclarationError(
            f"no table of projection '{projection.name}' has rows of stream '{stream}' alone",
            hint="name the stream that it belongs to, or declare its category's column in key_columns",
        )
    if projection.key_streams is None:
        return (stream,)
    async with history.stores[SQL].direct() as sql:
        others = await projection.key_streams(stream, _Lookup(sql, history.events, projection))
    return tuple(sorted({stream, *others}))


async def rebuild_key(db_tx: DatabaseTransaction, history: RebuildSource, projection: Projection, *streams: str) -> int:
    """Rebuild the live rows of streams; returns how many events were applied. Parked streams are released.

    The events are applied in order of position, as the first time, without side effects. Raises `DeclarationError` if a
    table has no key column, `NotFound` for a stream that the projection does not follow, `ConfigurationError` if the
    live generation is inline or of another version, `ConcurrencyConflict` if another generation has become live
    meanwhile, and what a handler raises.
    """
    keys = {stream: check_rebuildable(history.tables(projection), projection, stream) for stream in streams}
    store = history.checkpoints
    live = live_generation(await store.generations(projection.name, db_tx=db_tx))
    if live is None or live.version != projection.version:
        raise ConfigurationError(
            f"projection '{projection.name}' is not live in version {projection.version}, which is declared here",
            hint="rebuild it as a whole, or run this where the code of the live version is deployed",
        )
    if live.partitions == 0:
        raise ConfigurationError(f"projection '{projection.name}' is inline: single keys of it cannot be rebuilt")
    seen = await _held(db_tx, store, live, {_partition(live, stream) for stream in streams})
    await _delete(db_tx, history.tables(projection), projection, live, keys.values())
    crash_point("projection.key-deleted")
    count = 0
    readers = [_events(db_tx, history.events, projection, each, seen[_partition(live, each)].position) for each in keys]
    async for batch in _batches(_in_order(readers), projection.batch_limit):
        await history.apply(db_tx, projection, history.tables(projection), live.number, batch)
        count += len(batch)
    for parked in await store.parked(projection.name, live.number, limit=PARKED_READ_MAX, db_tx=db_tx):
        if parked.stream in keys:
            seen[parked.partition] = await store.release(db_tx, seen[parked.partition], parked.stream)
    crash_point("projection.key-rebuilt")
    return count


def _partition(live: Generation, stream: str) -> int:
    return bucket_of(stream) % live.partitions


async def _held(
    db_tx: DatabaseTransaction, store: CheckpointStore, live: Generation, partitions: Collection[int]
) -> dict[int, Checkpoint]:
    """Lock the checkpoints of some partitions. Raises `ConcurrencyConflict` if the generation is not live any more."""
    only = min(partitions) if len(partitions) == 1 else None
    found = await store.lock(db_tx, live.projection, live.number, only)
    held = {each.partition: each for each in found if each.state is GenerationState.LIVE}
    if not held.keys() >= set(partitions):
        raise ConcurrencyConflict(
            f"generation {live.number} of projection '{live.projection}' is not live any more",
            hint="the new live generation was built from all events; try again if it is wrong, too",
        )
    return held


async def _delete(
    db_tx: DatabaseTransaction,
    tables: PlacedTables,
    projection: Projection,
    live: Generation,
    keys: Collection[Mapping[str, tuple[str, object]]],
) -> None:
    for table in projection.tables:
        by_column: dict[str, list[object]] = {}
        for column, value in (each[table.name] for each in keys if table.name in each):
            by_column.setdefault(column, []).append(value)
        for column, values in by_column.items():
            await tables.delete_rows(db_tx, live.number, table, column, values)


def check_rebuildable(tables: PlacedTables, projection: Projection, stream: str) -> dict[str, tuple[str, object]]:
    """Return column and value, by table, of the rows of a stream. Raises `DeclarationError`, `NotFound`."""
    missing = [table.name for table in projection.tables if table.name not in projection.key_columns]
    if missing or not projection.tables:
        where = f"table '{missing[0]}' has no key column" if missing else "it has no tables"
        raise DeclarationError(
            f"projection '{projection.name}' does not declare which rows belong to a stream: {where}",
            hint=f'Projection(..., key_columns={{"{missing[0] if missing else "table"}": "<column>"}})',
        )
    if projection.categories and category_of(stream) not in projection.categories:
        raise NotFound(
            f"projection '{projection.name}' does not follow stream '{stream}'",
            hint=f"its categories: {', '.join(sorted(projection.categories))}",
        )
    found = {table: _column(projection, table.name, stream) for table in projection.tables}
    return {
        table.name: (column, _value(tables, projection, table, column, stream))
        for table, column in found.items()
        if column is not None
    }


def _column(projection: Projection, table: str, stream: str) -> str | None:
    named = projection.key_columns[table]
    return named if isinstance(named, str) else named.get(category_of(stream))


def _value(tables: PlacedTables, projection: Projection, table: DeclaredTable, column: str, stream: str) -> object:
    if projection.key_of is not None:
        return projection.key_of(stream)
    try:
        return tables.key_value(table, column, stream.partition("-")[2])
    except ValueError as error:
        raise NotFound(f"the name of stream '{stream}' has no value of column '{column}'") from error


async def _events(
    db_tx: DatabaseTransaction, events: EventStore, projection: Projection, stream: str, through: int
) -> AsyncIterator[RecordedEvent]:
    """The events of a stream that the projection handles, through a position."""
    types = projection.types
    version = 0
    while page := await events.read_stream(stream, after=version, limit=_PAGE, db_tx=db_tx):
        for each in page:
            if each.position > through:
                return
            if each.event.type in types:
                yield each
        version = page[-1].version
        if len(page) < _PAGE:
            return


async def _in_order(readers: Sequence[AsyncIterator[RecordedEvent]]) -> AsyncIterator[RecordedEvent]:
    """The events of several streams in order of position."""
    heads = [
        (event.position, number, event) for number, each in enumerate(readers) if (event := await anext(each, None))
    ]
    heapq.heapify(heads)
    while heads:
        _, number, event = heads[0]
        yield event
        following = await anext(readers[number], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.position, number, following))


async def _batches(events: AsyncIterator[RecordedEvent], limit: int) -> AsyncIterator[list[RecordedEvent]]:
    batch: list[RecordedEvent] = []
    async for each in events:
        batch.append(each)
        if len(batch) == limit:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Lookup:
    """The `KeyLookup` of one projection."""

    sql: SqlConnection
    store: EventStore
    projection: Projection

    async def events(self, *classes: type[Any]) -> AsyncIterator[DecodedEvent]:
        """Read events page by page, through the high-water mark of the beginning."""
        event_filter = replace(self.projection.event_filter, types=stored_types(classes))
        end = await self.store.high_water_mark()
        after = 0
        while after < end:
            page = await self.store.read_all(after, limit=_PAGE, event_filter=event_filter)
            for recorded in page.events:
                for event in _decoded(recorded):
                    if isinstance(event, classes):
                        yield event, recorded
            if page.end_position <= after:
                return
            after = page.end_position


def _decoded(recorded: RecordedEvent) -> Sequence[object]:
    event = recorded.event
    try:
        return read_event(event.type, event.schema_version, event.data)
    except CodecError:
        return ()
