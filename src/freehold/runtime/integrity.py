"""Whether a service's schema is whole: its migrations' part, and what projections and views made. Runtime: imports the
patterns.

`freehold db status`, `doctor` and the start of a service look through this, so that they say the same. What is lost by
nobody's data is made again (`repair`); a read model is made again from the events, by a rebuild.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from freehold.database import Database, Defect
from freehold.errors import DatabaseError, FreeholdError, Unavailable
from freehold.ports import Stores
from freehold.projection.declaration import Projection
from freehold.projection.store import CHECKPOINTS, Generation, GenerationState
from freehold.projection.tables import PlacedTables
from freehold.projection.view_store import VIEWS
from freehold.service import Service

__all__ = ["check_whole", "defects", "repair"]

_log = logging.getLogger("freehold.runtime")
_SERVICE = "service/"
_TOLD_MAX = 3


async def defects(service: Service, stores: Stores) -> list[Defect]:
    """What is not as migrations, projections and materialised views made it; reads only. Raises `DatabaseError` where
    the record of migrations is lost.
    """
    found = await stores.database.defects()
    if any(each.subject.startswith("table freehold_") and not each.lossless for each in found):
        return found  # what is known of generations and views may be lost itself
    return [
        *found,
        *(defect for _, defect in await _lost_readers(service, stores)),
        *await _lost_views(service, stores),
    ]


async def repair(service: Service, stores: Stores) -> list[str]:
    """Make good those defects by which nothing is lost; returns their subjects. Raises, once all were tried, the first
    error.
    """
    failed: list[FreeholdError] = []
    mended: list[str] = []
    try:
        mended += await stores.database.repair()
    except Unavailable:
        raise
    except FreeholdError as error:
        failed.append(error)
    left = await defects(service, stores)
    if any(each.subject.startswith("table freehold_") for each in left):
        return _outcome(mended, failed)
    for generation, defect in await _lost_readers(service, stores):
        if defect.lossless:
            async with stores.database.begin() as db_tx:
                declared = service.projections[generation.projection].tables
                await PlacedTables(stores, declared).show(db_tx, generation.number)
            mended.append(defect.subject)
    for defect in await _lost_views(service, stores):
        view = service.materialized_views[defect.subject.rpartition(" ")[2]]
        await stores[VIEWS].drop(view.name)
        await stores[VIEWS].refresh(view)
        mended.append(defect.subject)
    return _outcome(mended, failed)


async def check_whole(name: str, database: Database, *, mend: bool) -> None:
    """Refuse to work on a schema in which statements would fail; what else is wrong with it is told in the log.

    mend  make good first what nothing is lost by, as far as the role may. Raises `DatabaseError`, `Unavailable`.
    """
    found = await database.defects(closer=False)
    if mend and any(each.lossless for each in found):
        try:
            for subject in await database.repair():
                _log.warning("%s: %s was missing or changed, and is made again", name, subject)
        except Unavailable:
            raise
        except FreeholdError as error:
            _log.warning("%s: what is missing or changed was not made again: %s; it is looked at again", name, error)
        found = await database.defects(closer=False)
    refused = [each for each in found if each.vital and not _services_own(each)]
    for each in found:
        if each not in refused:
            _log.warning("%s: %s; the service starts all the same", name, each)
    if refused:
        told = "; ".join(f"{each.subject} {each.problem}" for each in refused[:_TOLD_MAX])
        more = f"; and {len(refused) - _TOLD_MAX} more" if len(refused) > _TOLD_MAX else ""
        raise DatabaseError(
            f"service '{name}' does not start on a damaged schema: {told}{more}",
            hint=f"{refused[0].remedy}; freehold db status lists all",
        )


def _services_own(defect: Defect) -> bool:
    """What a service's migrations made is its own affair, but for a table that is gone."""
    return defect.made_by.startswith(_SERVICE) and not defect.subject.startswith("table ")


async def _lost_readers(service: Service, stores: Stores) -> list[tuple[Generation, Defect]]:
    """Tables of live generations that are gone, and the names that readers use."""
    projections = {each.name: each for each in service.projections.values() if each.tables}
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


async def _lost_views(service: Service, stores: Stores) -> list[Defect]:
    if not service.materialized_views:
        return []
    built = {each.name for each in await stores[VIEWS].states() if each.digest}
    names = sorted(built & set(service.materialized_views))
    there = await stores.database.relations(names)
    remedy = "freehold db upgrade builds it again"
    return [
        Defect(f"materialised view {name}", "is missing", "", remedy, lossless=True)
        for name in names
        if name not in there
    ]


def _outcome(mended: list[str], failed: Sequence[FreeholdError]) -> list[str]:
    if failed:
        raise failed[0]
    return mended
