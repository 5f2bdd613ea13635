"""Making ahead what run time would otherwise make when it first needs it. Runtime: imports the patterns.

The first generations of projections with their tables and views, and materialised views, are made by `freehold db
upgrade`, so that a role that may make no tables runs the service. What is there already is left as it is; any number of
processes may do this at once. A projection that keeps its read model in a sink makes no tables, and begins by itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

from freehold.errors import ConcurrencyConflict, FreeholdError
from freehold.policy import Retry, RetryAfter
from freehold.ports import Stores
from freehold.projection.declaration import Projection
from freehold.projection.generations import begin_first
from freehold.projection.store import CHECKPOINTS, GenerationState
from freehold.projection.view_store import VIEWS, MaterializedView
from freehold.service import Service

__all__ = ["prepare", "unprepared"]

_IN_TURN: Final = Retry(attempts=240, delay_seconds=0.05, delay_seconds_max=2.0)
"""How long another process that builds the same view is waited for: some minutes."""


async def prepare(service: Service, stores: Stores) -> list[str]:
    """Make what is missing; returns what that was: `projection/<name>`, `view/<name>`. Of several processes that find
    the same thing missing at once one makes it, and each may name it.

    One that fails does not keep the others; the first error is raised at the end.
    """
    missing = await unprepared(service, stores)
    made: list[str] = []
    failed: list[FreeholdError] = []
    for label in missing:
        kind, _, name = label.partition("/")
        try:
            if kind == "projection":
                await begin_first(service.projections[name], stores)
            else:
                await _build(service.materialized_views[name], stores)
        except FreeholdError as error:
            failed.append(error)
        else:
            made.append(label)
    if failed:
        raise failed[0]
    return made


async def unprepared(service: Service, stores: Stores) -> list[str]:
    """What is declared, and not made yet or made from another definition; in the order in which it is to be made."""
    projections = [each for each in service.projections.values() if _makes_tables(each)]
    found: list[str] = []
    if projections:
        generations = await stores[CHECKPOINTS].generations()
        live = {each.projection for each in generations if each.state is GenerationState.LIVE}
        found += [f"projection/{each.name}" for each in projections if each.name not in live]
    if service.materialized_views:
        digests = {state.name: state.digest for state in await stores[VIEWS].states()}
        found += [
            f"view/{view.name}" for view in service.materialized_views.values() if digests.get(view.name) != view.digest
        ]
    return found


def _makes_tables(projection: Projection) -> bool:
    return projection.sink is None


async def _build(view: MaterializedView, stores: Stores) -> None:
    """Build a view, unless another process does meanwhile."""
    attempt = 1
    while not any(state.name == view.name and state.digest == view.digest for state in await stores[VIEWS].states()):
        try:
            await stores[VIEWS].refresh(view)
        except ConcurrencyConflict as error:
            decision = _IN_TURN.decide(attempt, error)
            if not isinstance(decision, RetryAfter):
                raise
            attempt += 1
            await asyncio.sleep(decision.delay_seconds)
