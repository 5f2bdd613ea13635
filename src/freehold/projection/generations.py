"""Generations of a read model: make the first one, begin another one, switch to it, cancel it, drop it; and the leases
on their partitions. Pattern: imports the ports, the leases and its own package.

Each of these is a part of the caller's transaction. A switch is one transaction that

1. locks every checkpoint of the projection, so that none of them moves and no side effect is in progress;
2. applies the last events to the building generation, up to the position of the live one, without side effects, which
   the live generation has had: so the switch need not wait for a moment without writes;
3. retires the live generation, whose runners are overtaken by it, and makes the building one live;
4. replaces the views. Readers see the old rows until the commit and the new ones after it, at the same position or a
   later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final, Protocol

from freehold.crash_points import crash_point
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, ConfigurationError, NotFound
from freehold.eventstore.store import EVENTS, EventStore, RecordedEvent
from freehold.leases.store import LeaseStore
from freehold.ports import Stores
from freehold.projection.declaration import Projection
from freehold.projection.status import filter_of
from freehold.projection.store import (
    CHECKPOINTS,
    PARKED_READ_MAX,
    Checkpoint,
    CheckpointStore,
    Generation,
    GenerationState,
    Move,
)
from freehold.projection.tables import PlacedTables

__all__ = [
    "BESIDE_INLINE",
    "NotCaughtUp",
    "RebuildSource",
    "ReplayInvoker",
    "SwitchResult",
    "begin",
    "begin_first",
    "building_generation",
    "cancel_rebuild",
    "delete_leases",
    "drop",
    "lease_prefix",
    "live_generation",
    "switch",
]

BESIDE_INLINE: Final = (
    "declare another projection, without inline and under another name; it is built from the first event and can be"
    " rebuilt later; read it in place of this one once `freehold projection list` shows that it has caught up; reads"
    " that must see a write at once wait for its token"
)
"""What to do instead of rebuilding an inline projection."""
_LAST_EVENTS_MAX: Final = 2000
"""The most events that a partition may lag at the switch: they are applied while everything is locked."""
_LAST_PAGES_MAX: Final = 10
"""The most reads for that: one read covers a few thousand events, wanted or not."""
_PARKED_SHOWN: Final = 3
_ATTEMPTS_MAX: Final = 10
_LEASE_PREFIX: Final = "projection/"


class NotCaughtUp(ConcurrencyConflict):
    """The building generation cannot become live yet: it lags, or streams of it are parked."""


class ReplayInvoker(Protocol):
    """Calls a projection's handlers for stored events, in order, in a transaction, without side effects."""

    async def __call__(
        self,
        db_tx: DatabaseTransaction,
        projection: Projection,
        tables: PlacedTables,
        generation: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Apply events to the tables of one generation. Raises what a handler raises."""


@dataclass(frozen=True, slots=True)
class RebuildSource:
    """What a read model is built from: the events, the checkpoints, and the invoker of the handlers."""

    stores: Stores
    apply: ReplayInvoker

    @property
    def checkpoints(self) -> CheckpointStore:
        """The checkpoint store."""
        return self.stores[CHECKPOINTS]

    @property
    def events(self) -> EventStore:
        """The event store."""
        return self.stores[EVENTS]

    def tables(self, projection: Projection) -> PlacedTables:
        """The tables of a projection's generations."""
        return PlacedTables(self.stores, projection.tables)


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """The outcome of a switch. `parked` is how many streams of the new generation lack events, `effects_lost` how many
    streams were parked in the old one: the side effects of their later events never happen.
    """

    retired: Generation
    live: Generation
    parked: int
    effects_lost: int


async def begin(
    db_tx: DatabaseTransaction, history: RebuildSource, projection: Projection, *, reason: str
) -> Generation:
    """Begin to build the next generation, in the version that is declared here, from the first event.

    Raises `NotFound` before the first start of the projection, `ConcurrencyConflict` if one is being built already,
    `ConfigurationError` if it is inline, or live in a newer version.
    """
    store, tables = history.checkpoints, history.tables(projection)
    await store.lock(db_tx, projection.name)
    generations = await store.generations(projection.name, db_tx=db_tx)
    live = _live(projection.name, generations)
    if live.partitions == 0 or projection.inline:
        raise ConfigurationError(
            f"projection '{projection.name}' is inline: every append writes to it, so it cannot be rebuilt",
            hint=BESIDE_INLINE,
        )
    if live.version > projection.version:
        raise ConfigurationError(
            f"projection '{projection.name}' is live in version {live.version}, and version {projection.version} here",
            hint="run this where the newer code is deployed",
        )
    building = building_generation(generations)
    if building is not None:
        raise ConcurrencyConflict(
            f"generation {building.number} of projection '{projection.name}' is being built already",
            hint="switch to it, or cancel it",
        )
    number = generations[-1].number + 1
    await tables.create(db_tx, number)
    return await store.create(
        db_tx,
        projection.name,
        number,
        version=projection.version,
        partitions=projection.partitions,
        state=GenerationState.BUILDING,
        reason=reason,
        tables=tables.names,
    )


async def switch(
    db_tx: DatabaseTransaction, history: RebuildSource, projection: Projection, *, force: bool = False
) -> SwitchResult:
    """Make the building generation the live one: readers see it, and side effects come from it.

    `force` allows parked streams in it. Raises `NotCaughtUp` for parked streams without `force`, or if it lags too far
    (never forced: readers would see older rows, and side effects would happen again), `NotFound` if none is being
    built, `ConfigurationError` if it is of another version than is declared here, and what a handler raises.
    """
    store = history.checkpoints
    checkpoints = await store.lock(db_tx, projection.name)
    generations = await store.generations(projection.name, db_tx=db_tx)
    live = _live(projection.name, generations)
    building = building_generation(generations)
    if building is None:
        raise NotFound(
            f"no generation of projection '{projection.name}' is being built", hint="freehold projection rebuild"
        )
    if building.version != projection.version:
        raise ConfigurationError(
            f"generation {building.number} of projection '{projection.name}' is of version {building.version},"
            f" and this is version {projection.version}",
            hint="cancel it, and rebuild",
        )
    parked = await store.parked(projection.name, building.number, limit=PARKED_READ_MAX, db_tx=db_tx)
    if parked and not force:
        shown = ", ".join(f"'{each.stream}'" for each in parked[:_PARKED_SHOWN])
        raise NotCaughtUp(
            f"parked streams of generation {building.number}: {len(parked)}, {shown}",
            hint="retry or skip them, or switch without their events (--force)",
        )
    skipped = frozenset(each.stream for each in parked)
    live_checkpoints = [each for each in checkpoints if each.generation == live.number]
    for each in [each for each in checkpoints if each.generation == building.number]:
        target = _target(each, building, live_checkpoints, live)
        if each.position < target:
            await _apply_last(db_tx, history, projection, each, target, skipped)
    lost = await store.parked(projection.name, live.number, limit=PARKED_READ_MAX, db_tx=db_tx)
    await store.transition(
        db_tx, projection.name, live.number, expected=GenerationState.LIVE, to=GenerationState.RETIRED
    )
    await store.transition(
        db_tx, projection.name, building.number, expected=GenerationState.BUILDING, to=GenerationState.LIVE
    )
    crash_point("projection.before-views-replaced")
    await history.tables(projection).show(db_tx, building.number)
    return SwitchResult(live, building, len(parked), len(lost))


async def cancel_rebuild(db_tx: DatabaseTransaction, store: CheckpointStore, name: str) -> Generation:
    """Retire the building generation; it is dropped as other retired ones. Raises `NotFound` if none is being built."""
    await store.lock(db_tx, name)
    building = building_generation(await store.generations(name, db_tx=db_tx))
    if building is None:
        raise NotFound(f"no generation of projection '{name}' is being built", hint="freehold projection list")
    await store.transition(db_tx, name, building.number, expected=GenerationState.BUILDING, to=GenerationState.RETIRED)
    return building


async def drop(db_tx: DatabaseTransaction, history: RebuildSource, projection: Projection, number: int) -> None:
    """Drop a retired generation with the tables that were made for it.

    Raises `ConcurrencyConflict` for one that is not retired, or while readers still use its tables; `NotFound`.
    """
    store = history.checkpoints
    generations = {each.number: each for each in await store.generations(projection.name, db_tx=db_tx)}
    if number not in generations:
        raise NotFound(f"projection '{projection.name}' has no generation {number}", hint="freehold projection list")
    if generations[number].state is not GenerationState.RETIRED:
        raise ConcurrencyConflict(
            f"generation {number} of projection '{projection.name}' is {generations[number].state.value}",
            hint="only retired ones are dropped",
        )
    await store.forget(db_tx, projection.name, number)
    await history.tables(projection).drop(db_tx, number, generations[number].tables)


def building_generation(generations: Sequence[Generation]) -> Generation | None:
    """The generation that is being built; None if there is none."""
    return next((each for each in generations if each.state is GenerationState.BUILDING), None)


def live_generation(generations: Sequence[Generation]) -> Generation | None:
    """The generation that readers see; None before the first start."""
    return next((each for each in generations if each.state is GenerationState.LIVE), None)


def _live(name: str, generations: Sequence[Generation]) -> Generation:
    live = live_generation(generations)
    if live is not None:
        return live
    raise NotFound(f"projection '{name}' has not run yet", hint="start the service that has it: freehold run")


def _target(each: Checkpoint, building: Generation, others: Sequence[Checkpoint], live: Generation) -> int:
    """The live generation's position in the streams of a partition; it may have another number of partitions."""
    common = gcd(building.partitions, live.partitions)
    positions = {other.position for other in others if other.partition % common == each.partition % common}
    if len(positions) != 1:
        raise NotCaughtUp(
            f"generation {building.number} has {building.partitions} partitions and the live one {live.partitions},"
            " at different positions",
            hint="switch when both have handled all events",
        )
    return positions.pop()


async def _apply_last(
    db_tx: DatabaseTransaction,
    history: RebuildSource,
    projection: Projection,
    seen: Checkpoint,
    target: int,
    parked: frozenset[str],
) -> None:
    last = [each for each in await _between(history.events, projection, seen, target) if each.stream not in parked]
    await history.checkpoints.advance(db_tx, [Move(seen, target, handled=len(last))])
    crash_point("projection.last-advanced")
    await history.apply(db_tx, projection, history.tables(projection), seen.generation, last)


async def _between(
    events: EventStore, projection: Projection, seen: Checkpoint, target: int
) -> Sequence[RecordedEvent]:
    """All events from a checkpoint through `target`, in several reads. Raises `NotCaughtUp` if these are too many."""
    event_filter = filter_of(projection, seen.partition, projection.partitions)
    found: list[RecordedEvent] = []
    position = seen.position
    for _ in range(_LAST_PAGES_MAX):
        page = await events.read_all(position, limit=_LAST_EVENTS_MAX, event_filter=event_filter)
        found += [each for each in page.events if each.position <= target]
        if page.end_position >= target and len(found) <= _LAST_EVENTS_MAX:
            return found
        if page.end_position <= position or len(found) >= _LAST_EVENTS_MAX:
            break
        position = page.end_position
    raise NotCaughtUp(
        f"generation {seen.generation} lags more than {_LAST_EVENTS_MAX} events in partition {seen.partition},"
        " or events before its target can still appear",
        hint="wait for it: freehold projection list",
    )


async def begin_first(projection: Projection, stores: Stores) -> Generation:
    """Make the first generation, live from the beginning; returns the live one if there is one already.

    Raises `ConfigurationError` if an inline projection would begin without earlier events, or if a table of another
    origin has one of its names; `ConcurrencyConflict` if other processes interfered several times.
    """
    events, checkpoints = stores[EVENTS], stores[CHECKPOINTS]
    attempt = 1
    while True:
        found = await checkpoints.generations(projection.name)
        live = live_generation(found)
        if live is not None:
            return live
        position = await events.high_water_mark() if projection.start == "now" else 0
        if projection.inline and projection.start == "earliest":
            await _refuse_earlier_events(projection, events)
        number = max((each.number for each in found), default=0) + 1
        try:
            return await _begin(projection, stores, number, position)
        except ConcurrencyConflict:
            attempt += 1
            if attempt > _ATTEMPTS_MAX:
                raise


async def _begin(projection: Projection, stores: Stores, number: int, position: int) -> Generation:
    tables = PlacedTables(stores, projection.tables)
    if projection.sink is not None:
        await projection.sink.prepare(number)
    async with stores.database.begin() as db_tx:
        made = await stores[CHECKPOINTS].create(
            db_tx,
            projection.name,
            number,
            version=projection.version,
            partitions=0 if projection.inline else projection.partitions,
            state=GenerationState.LIVE,
            position=position,
            reason="first start",
            tables=tables.names,
        )
        await tables.create(db_tx, number)
        await tables.show(db_tx, number)
        crash_point("projection.before-first-commit")
    crash_point("projection.first-made")
    if projection.sink is not None:
        await projection.sink.show(number)
    return made


async def _refuse_earlier_events(projection: Projection, events: EventStore) -> None:
    missed = await events.count(0, await events.high_water_mark(), projection.event_filter, limit=1)
    if missed:
        raise ConfigurationError(
            f"inline projection '{projection.name}' would begin without the events that were appended before it",
            hint='leave inline out, or declare start="now" if it needs no earlier events',
        )


def lease_prefix(projection: str, generation: int | None = None) -> str:
    """What the names of a generation's leases begin with; without one, those of all generations of a projection."""
    return f"{_LEASE_PREFIX}{projection}/" if generation is None else f"{_LEASE_PREFIX}{projection}/{generation}/"


async def delete_leases(leases: LeaseStore, checkpoints: CheckpointStore) -> int:
    """Delete the leases of generations that were dropped; returns how many.

    A process deletes those of a generation that it runs no more; leases left over are of processes that were killed.
    """
    # Leases are read first: a generation exists before its leases do, so that no lease of a new one is deleted.
    names = [each.name for each in await leases.list(_LEASE_PREFIX)]
    existing = tuple(lease_prefix(each.projection, each.number) for each in await checkpoints.generations())
    gone = [name for name in names if not name.startswith(existing)]
    if gone:
        await leases.delete(gone)
    return len(gone)
