"""The schema of a service as a whole: what migrations made, and what patterns make besides. Runtime: walks over what
the patterns declare.

`freehold db status`, `doctor` and the start of a service look through this, so that they say the same. What is lost by
nobody's data is made again (`repair`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from freehold.context import ServiceContext
from freehold.database import Database, Defect
from freehold.errors import DatabaseError, FreeholdError, Unavailable
from freehold.pattern import Pattern, Preparation

__all__ = ["check_whole", "defects", "prepare", "repair", "unprepared"]

_log = logging.getLogger("freehold.runtime")
_SERVICE = "service/"
_TOLD_MAX = 3


async def unprepared(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[str]:
    """What is declared, and not made yet or made from another definition: `projection/<name>`, `view/<name>`; in the
    order in which it is to be made.
    """
    return [
        f"{pattern.name}/{name}"
        for pattern, preparation in _preparations(patterns)
        for name in await preparation.missing(context)
    ]


async def prepare(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[str]:
    """Make what is missing; returns what that was, as `unprepared` names it. Of several processes that find the same
    thing missing at once one makes it, and each may name it.

    One that fails does not keep the others; the first error is raised at the end.
    """
    made: list[str] = []
    failed: list[FreeholdError] = []
    for pattern, preparation in _preparations(patterns):
        for name in await preparation.missing(context):
            try:
                await preparation.make(context, name)
            except FreeholdError as error:
                failed.append(error)
            else:
                made.append(f"{pattern.name}/{name}")
    return _outcome(made, failed)


async def defects(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[Defect]:
    """What is not as migrations and patterns made it; reads only. Raises `DatabaseError` where the record of migrations
    is lost.
    """
    found = await context.database.defects()
    if any(each.subject.startswith("table freehold_") and not each.lossless for each in found):
        return found  # what is known of generations and views may be lost itself
    return [
        *found,
        *[defect for _, preparation in _preparations(patterns) for defect in await preparation.defects(context)],
    ]


async def repair(context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> list[str]:
    """Make good those defects by which nothing is lost; returns their subjects. Raises, once all were tried, the first
    error.
    """
    failed: list[FreeholdError] = []
    mended: list[str] = []
    try:
        mended += await context.database.repair()
    except Unavailable:
        raise
    except FreeholdError as error:
        failed.append(error)
    left = await defects(context, patterns)
    if any(each.subject.startswith("table freehold_") for each in left):
        return _outcome(mended, failed)
    for _, preparation in _preparations(patterns):
        mended += await preparation.repair(context)
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
            hint=f"{refused[0].fix}; freehold db status lists all",
        )


def _services_own(defect: Defect) -> bool:
    """What a service's migrations made is its own affair, but for a table that is gone."""
    return defect.made_by.startswith(_SERVICE) and not defect.subject.startswith("table ")


def _preparations(patterns: Sequence[Pattern[Any]]) -> list[tuple[Pattern[Any], Preparation]]:
    return [(pattern, pattern.preparation) for pattern in patterns if pattern.preparation is not None]


def _outcome(mended: list[str], failed: Sequence[FreeholdError]) -> list[str]:
    if failed:
        raise failed[0]
    return mended
