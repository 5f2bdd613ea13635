"""The preparation of a database for projections and materialized views: makes their tables and views, repairs views.
Pattern: imports the ports and its package.

`freehold db upgrade` makes the first generations of projections with their tables and views, and materialized views, so
that the service itself needs no right to create tables. Existing ones stay as they are; any number of processes may do
this at once. A projection with a sink has no tables, and starts without it. A lost view is made again, because that
loses no data; the lost table of a read model needs a rebuild from the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from freehold.clock import Clock
from freehold.database import Defect
from freehold.errors import ConcurrencyConflict
from freehold.policy import Retry, RetryAfter
from freehold.ports import Stores
from freehold.projection.declaration import Projection
from freehold.projection.store import CHECKPOINTS, Generation, GenerationState
from freehold.projection.tables import PlacedTables
from freehold.projection.view_store import VIEWS, MaterializedView

__all__ = [
    "build_view",
    "lost_read_models",
    "lost_views",
    "repair_read_models",
    "repair_views",
    "unbuilt_views",
    "unmade_projections",
]

_WAIT: Final = Retry(attempts=240, delay_seconds=0.05, delay_seconds_max=2.0)
"""Waits some minutes for another process that builds the same view."""


async def unmade_projections(declared: Mapping[str, Projection], stores: Stores) -> list[str]:
    """The projections with tables that have no live generation yet."""
    with_tables = [each for each in declared.values() if each.sink is None]
    if not with_tables:
        return []
    generations = await stores[CHECKPOINTS].generations()
    live = {each.projection for each in generations if each.state is GenerationState.LIVE}
    return [each.name for each in with_tables if each.name not in live]


async def lost_read_models(declared: Mapping[str, Projection], stores: Stores) -> list[Defect]:
    """The missing tables and views of live generations. Reads only."""
    return [defect for _, defect in await _lost_relations(declared, stores)]


async def repair_read_models(declared: Mapping[str, Projection], stores: Stores) -> list[str]:
    """Make missing views again, if their tables exist; returns what was made."""
    repaired = []
    for generation, defect in await _lost_relations(declared, stores):
        if defect.lossless:
            async with stores.database.begin() as db_tx:
                await PlacedTables(stores, declared[generation.projection].tables).show(db_tx, generation.number)
            repaired.append(defect.subject)
    return repaired


async def unbuilt_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[str]:
    """The materialized views that are not built yet, or were built from another definition."""
    if not declared:
        return []
    digests = {state.name: state.digest for state in await stores[VIEWS].states()}
    return [view.name for view in declared.values() if digests.get(view.name) != view.digest]


async def build_view(view: MaterializedView, stores: Stores, clock: Clock) -> None:
    """Build a materialized view, unless another process builds it meanwhile: it is waited for, by `clock`. Raises
    `ConcurrencyConflict` if that process refreshes it for more than some minutes.
    """
    attempt = 1
    while not any(state.name == view.name and state.digest == view.digest for state in await stores[VIEWS].states()):
        try:
            await stores[VIEWS].refresh(view)
        except ConcurrencyConflict as error:
            decision = _WAIT.decide(attempt, error)
            if not isinstance(decision, RetryAfter):
                raise
            attempt += 1
            await clock.sleep(decision.delay_seconds)


async def lost_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[Defect]:
    """The materialized views that were built and are missing. Reads only."""
    fix = "freehold db upgrade builds it again"
    return [
        Defect(f"materialized view {name}", "is missing", "", fix, lossless=True)
        for name in await _lost_views(declared, stores)
    ]


async def repair_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[str]:
    """Build missing materialized views again; returns what was built."""
    repaired = []
    for name in await _lost_views(declared, stores):
        await stores[VIEWS].drop(name)
        await stores[VIEWS].refresh(declared[name])
        repaired.append(f"materialized view {name}")
    return repaired


async def _lost_relations(declared: Mapping[str, Projection], stores: Stores) -> list[tuple[Generation, Defect]]:
    """The missing tables and views of live generations, with the generation."""
    projections = {each.name: each for each in declared.values() if each.tables}
    if not projections:
        return []
    live = [
        each
        for each in await stores[CHECKPOINTS].generations()
        if each.projection in projections and each.state is GenerationState.LIVE
    ]
    names = [name for each in live for pair in _tables(stores, projections[each.projection], each) for name in pair]
    existing = await stores.database.relations(names)
    return [
        (generation, defect)
        for generation in live
        for defect in _defects(_tables(stores, projections[generation.projection], generation), generation, existing)
    ]


def _tables(stores: Stores, projection: Projection, generation: Generation) -> list[tuple[str, str]]:
    """Names of the physical tables of a generation, with the plain names that readers use."""
    tables = PlacedTables(stores, projection.tables)
    return [
        (str(tables.physical(table, generation.number).fullname), str(table.fullname))
        for table in projection.tables
        if str(table.fullname) in generation.tables
    ]


def _defects(pairs: Sequence[tuple[str, str]], generation: Generation, existing: Iterable[str]) -> list[Defect]:
    name = generation.projection
    lost = [table for table, _ in pairs if table not in existing]
    again = f"freehold projection rebuild {name} makes it again from the events"
    found = [Defect(f"table {table} of projection {name}", "is missing", "", again) for table in lost]
    hidden = [view for _, view in pairs if view not in existing]
    fix = "freehold db upgrade makes it again" if not lost else again
    found += [Defect(f"view {view} of projection {name}", "is missing", "", fix, lossless=not lost) for view in hidden]
    return found


async def _lost_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[str]:
    if not declared:
        return []
    built = {each.name for each in await stores[VIEWS].states() if each.digest}
    names = sorted(built & set(declared))
    existing = await stores.database.relations(names)
    return [name for name in names if name not in existing]
