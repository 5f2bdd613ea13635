"""Makes the loops beside the projections' own: generations begun and switched, views refreshed. Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from freehold.binding import Stores
from freehold.leases.keeper import LeaseKeeper
from freehold.lifecycle import Runner
from freehold.projection.gated import GatedApply
from freehold.projection.generations import History
from freehold.projection.rebuild import RebuildRunner
from freehold.projection.refreshing import ViewRunner
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Post

__all__ = ["RETIRED_RETENTION_SECONDS", "rebuild_loops", "view_loops"]

RETIRED_RETENTION_SECONDS: Final = 3600.0
"""How long a generation that was switched away from keeps its tables: for readers that have not ended, and for people
who want to compare."""


def rebuild_loops(
    service: Service, post: Post, stores: Stores, settings: Settings, on_change: Callable[[], None] = lambda: None
) -> list[Runner]:
    """The loop that brings projections to the versions declared here. `on_change` wakes who fills generations."""
    if all(each.inline for each in service.projections.values()):
        return []
    return [
        RebuildRunner(
            service.name,
            stores.database,
            History(stores.checkpoints, stores.events, GatedApply(post)),
            stores.leases,
            list(service.projections.values()),
            retention_seconds=RETIRED_RETENTION_SECONDS,
            poll_seconds=settings.poll_seconds,
            on_change=on_change,
            clock=post.clock,
        )
    ]


def view_loops(service: Service, post: Post, stores: Stores, settings: Settings, owner: str) -> list[Runner]:
    """The loop that refreshes materialised views, with the keeper of its leases; none where none is declared."""
    views = list(service.materialized_views.values())
    if not views:
        return []
    names = {f"view/{view.name}": view.name for view in views}
    runner = ViewRunner(
        service.name, stores.views, views, lambda: [names[name] for name in keeper.tokens], clock=post.clock
    )
    keeper = LeaseKeeper(
        stores.leases, "view/", tuple(names), owner, settings.lease_seconds, post.clock, on_change=runner.wake
    )
    return [keeper, runner]
