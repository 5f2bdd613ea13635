"""The whole schema of a service: what migrations made, and what patterns make besides. Runtime: iterates over the
declarations of patterns.

`freehold db status`, `doctor` and the start of a service use this module, so that their results agree. `repair` makes
lost objects again that held no data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.database import Database, Defect
from freehold.errors import DatabaseError, FreeholdError, Unavailable
from freehold.pattern import Pattern, Preparation

__all__ = ["check_schema", "defects", "prepare", "repair", "unprepared"]

_log = logging.getLogger("freehold.runtime")
_SERVICE = "service/"
_NAMED_MAX = 3


async def unprepared(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[str]:
    """What is declared, and not made yet or made from another definition: `projection/<name>`, `view/<name>`; in the
    order in which `prepare` makes it.
    """
    return [
        f"{pattern.name}/{name}"
        for pattern, preparation in _preparations(patterns)
        for name in await preparation.missing(context)
    ]


async def prepare(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[str]:
    """Make what is missing; returns its names as `unprepared` does. If several processes do this at once, each thing is
    made once, and several of them may return its name.

    An error does not stop the rest; the first one is raised at the end.
    """
    made: list[str] = []
    failed: list[FreeholdError] = []
    for pattern, preparation in _preparations(patterns):
        for name in await preparation.missing(context):
            try:
                crash_point("migration.before-preparation")
                await preparation.make(context, name)
            except FreeholdError as error:
                failed.append(error)
            else:
                crash_point("migration.prepared")
                made.append(f"{pattern.name}/{name}")
    return _outcome(made, failed)


async def defects(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[Defect]:
    """The differences between the database and what migrations and patterns made; reads only. Raises `DatabaseError` if
    the record of migrations is lost.
    """
    found = await context.database.defects()
    if any(each.subject.startswith("table freehold_") and not each.lossless for each in found):
        return found  # the tables that list generations and views may be the lost ones
    return [
        *found,
        *[defect for _, preparation in _preparations(patterns) for defect in await preparation.defects(context)],
    ]


async def repair(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[str]:
    """Repair the defects that can be repaired without loss; returns their subjects. The first error is raised once all
    were tried, `Unavailable` at once.
    """
    failed: list[FreeholdError] = []
    repaired: list[str] = []
    try:
        repaired += await context.database.repair()
    except Unavailable:
        raise
    except FreeholdError as error:
        failed.append(error)
    left = await defects(context, patterns)
    if any(each.subject.startswith("table freehold_") for each in left):
        return _outcome(repaired, failed)
    for _, preparation in _preparations(patterns):
        repaired += await preparation.repair(context)
    return _outcome(repaired, failed)


async def check_schema(name: str, database: Database, *, repairs: bool) -> None:
    """Refuse a schema in which statements would fail; other defects are logged.

    repairs  first repair what can be repaired without loss, as far as the role may.

    Raises `DatabaseError`, `Unavailable`.
    """
    found = await database.defects(closer=False)
    if repairs and any(each.lossless for each in found):
        try:
            for subject in await database.repair():
                _log.warning("%s: %s was missing or changed, and was repaired", name, subject)
        except Unavailable:
            raise
        except FreeholdError as error:
            _log.warning("%s: missing or changed objects could not be repaired: %s", name, error)
        found = await database.defects(closer=False)
    refused = [each for each in found if each.vital and not _is_services_own(each)]
    for each in found:
        if each not in refused:
            _log.warning("%s: %s; the service starts nevertheless", name, each)
    if refused:
        damage = "; ".join(f"{each.subject} {each.problem}" for each in refused[:_NAMED_MAX])
        more = f"; and {len(refused) - _NAMED_MAX} more" if len(refused) > _NAMED_MAX else ""
        raise DatabaseError(
            f"service '{name}' does not start on a damaged schema: {damage}{more}",
            hint=f"{refused[0].fix}; freehold db status lists all",
        )


def _is_services_own(defect: Defect) -> bool:
    """Whether a defect is of the service's own migrations, and not a missing table: the service may start with it."""
    return defect.made_by.startswith(_SERVICE) and not defect.subject.startswith("table ")


def _preparations(patterns: Sequence[Pattern[Any]]) -> list[tuple[Pattern[Any], Preparation]]:
    return [(pattern, pattern.preparation) for pattern in patterns if pattern.preparation is not None]


def _outcome(names: list[str], failed: Sequence[FreeholdError]) -> list[str]:
    if failed:
        raise failed[0]
    return names
