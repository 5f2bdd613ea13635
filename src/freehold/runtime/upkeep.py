"""Makes the loops beside the projections' own: generations begun and switched, views refreshed. Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from freehold.context import ServiceContext
from freehold.eventstore.store import EVENTS
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import LEASES
from freehold.lifecycle import Runner
from freehold.ports import Stores
from freehold.projection.apply_modes import SuppressedInvoker
from freehold.projection.generations import RebuildSource
from freehold.projection.rebuild_runner import RebuildRunner
from freehold.projection.store import CHECKPOINTS
from freehold.projection.view_runner import ViewRunner
from freehold.projection.view_store import VIEWS
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transactions

__all__ = ["RETIRED_RETENTION_SECONDS", "rebuild_loops", "view_loops"]

RETIRED_RETENTION_SECONDS: Final = 3600.0
"""How long a generation that was switched away from keeps its tables: for readers that have not ended, and for people
who want to compare."""


def rebuild_loops(
    service: Service,
    transactions: Transactions,
    stores: Stores,
    settings: Settings,
    on_change: Callable[[], None] = lambda: None,
) -> list[Runner]:
    """The loop that brings projections to the versions declared here. `on_change` wakes who fills generations."""
    if all(each.inline for each in service.projections.values()):
        return []
    return [
        RebuildRunner(
            service.name,
            stores.database,
            RebuildSource(stores[CHECKPOINTS], stores[EVENTS], SuppressedInvoker(transactions)),
            stores[LEASES],
            list(service.projections.values()),
            retention_seconds=RETIRED_RETENTION_SECONDS,
            poll_seconds=settings.poll_seconds,
            on_change=on_change,
            clock=transactions.context.clock,
        )
    ]


def view_loops(
    service: Service, context: ServiceContext, stores: Stores, settings: Settings, owner: str
) -> list[Runner]:
    """The loop that refreshes materialised views, with the keeper of its leases; none where none is declared."""
    views = list(service.materialized_views.values())
    if not views:
        return []
    names = {f"view/{view.name}": view.name for view in views}
    runner = ViewRunner(
        service.name, stores[VIEWS], views, lambda: [names[name] for name in keeper.tokens], clock=context.clock
    )
    keeper = LeaseManager(
        stores[LEASES], "view/", tuple(names), owner, settings.lease_seconds, context.clock, on_change=runner.wake
    )
    return [keeper, runner]
