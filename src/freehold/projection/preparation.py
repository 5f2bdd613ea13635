"""What projections and materialized views make in the database besides the migrations: made ahead, and made again where
it is lost. Pattern: imports the ports and its package.

The first generations of projections with their tables and views, and materialized views, are made by `freehold db
upgrade`, so that a role that may make no tables runs the service. What is there already is left as it is; any number of
processes may do this at once. A projection that keeps its read model in a sink makes no tables, and begins by itself.
What is lost by nobody's data is made again; a read model is made again from the events, by a rebuild.
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

_IN_TURN: Final = Retry(attempts=240, delay_seconds=0.05, delay_seconds_max=2.0)
"""How long another process that builds the same view is waited for: some minutes."""


async def unmade_projections(declared: Mapping[str, Projection], stores: Stores) -> list[str]:
    """The projections that have no live generation yet, and make tables for one."""
    with_tables = [each for each in declared.values() if each.sink is None]
    if not with_tables:
        return []
    generations = await stores[CHECKPOINTS].generations()
    live = {each.projection for each in generations if each.state is GenerationState.LIVE}
    return [each.name for each in with_tables if each.name not in live]


async def lost_read_models(declared: Mapping[str, Projection], stores: Stores) -> list[Defect]:
    """Tables of live generations that are gone, and the names that readers use; reads only."""
    return [defect for _, defect in await _lost_readers(declared, stores)]


async def repair_read_models(declared: Mapping[str, Projection], stores: Stores) -> list[str]:
    """Make the names again that readers use, where their tables are there; returns what was made."""
    mended = []
    for generation, defect in await _lost_readers(declared, stores):
        if defect.lossless:
            async with stores.database.begin() as db_tx:
                await PlacedTables(stores, declared[generation.projection].tables).show(db_tx, generation.number)
            mended.append(defect.subject)
    return mended


async def unbuilt_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[str]:
    """The views that are not made yet, or are made from another definition."""
    if not declared:
        return []
    digests = {state.name: state.digest for state in await stores[VIEWS].states()}
    return [view.name for view in declared.values() if digests.get(view.name) != view.digest]


async def build_view(view: MaterializedView, stores: Stores, clock: Clock) -> None:
    """Build a view, unless another process does. While that process refreshes the view, a refresh here conflicts: it is
    tried again, by `clock`. Raises `ConcurrencyConflict` after some minutes.
    """
    attempt = 1
    while not any(state.name == view.name and state.digest == view.digest for state in await stores[VIEWS].states()):
        try:
            await stores[VIEWS].refresh(view)
        except ConcurrencyConflict as error:
            decision = _IN_TURN.decide(attempt, error)
            if not isinstance(decision, RetryAfter):
                raise
            attempt += 1
            await clock.sleep(decision.delay_seconds)


async def lost_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[Defect]:
    """Views that were built and are gone; reads only."""
    fix = "freehold db upgrade builds it again"
    return [
        Defect(f"materialized view {name}", "is missing", "", fix, lossless=True)
        for name in await _lost_views(declared, stores)
    ]


async def repair_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[str]:
    """Build views again that are gone; returns what was built."""
    mended = []
    for name in await _lost_views(declared, stores):
        await stores[VIEWS].drop(name)
        await stores[VIEWS].refresh(declared[name])
        mended.append(f"materialized view {name}")
    return mended


async def _lost_readers(declared: Mapping[str, Projection], stores: Stores) -> list[tuple[Generation, Defect]]:
    """Tables of live generations that are gone, and the names that readers use."""
    projections = {each.name: each for each in declared.values() if each.tables}
    if not projections:
        return []
    live = [
        each
        for each in await stores[CHECKPOINTS].generations()
        if each.projection in projections and each.state is GenerationState.LIVE
    ]
    names = [name for each in live for pair in _tables(stores, projections[each.projection], each) for name in pair]
    there = await stores.database.relations(names)
    return [
        (generation, defect)
        for generation in live
        for defect in _readers(_tables(stores, projections[generation.projection], generation), generation, there)
    ]


def _tables(stores: Stores, projection: Projection, generation: Generation) -> list[tuple[str, str]]:
    """Names of the tables of a generation, with the names that readers use."""
    made = PlacedTables(stores, projection.tables)
    return [
        (str(made.physical(table, generation.number).fullname), str(table.fullname))
        for table in projection.tables
        if str(table.fullname) in generation.tables
    ]


def _readers(pairs: Sequence[tuple[str, str]], generation: Generation, there: Iterable[str]) -> list[Defect]:
    name = generation.projection
    lost = [table for table, _ in pairs if table not in there]
    again = f"freehold projection rebuild {name} makes it again from the events"
    found = [Defect(f"table {table} of projection {name}", "is missing", "", again) for table in lost]
    hidden = [view for _, view in pairs if view not in there]
    mended = "freehold db upgrade makes it again" if not lost else again
    found += [
        Defect(f"view {view} of projection {name}", "is missing", "", mended, lossless=not lost) for view in hidden
    ]
    return found


async def _lost_views(declared: Mapping[str, MaterializedView], stores: Stores) -> list[str]:
    if not declared:
        return []
    built = {each.name for each in await stores[VIEWS].states() if each.digest}
    names = sorted(built & set(declared))
    there = await stores.database.relations(names)
    return [name for name in names if name not in there]
