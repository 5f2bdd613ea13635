"""Makes the loops of a service's projections. Runtime: the composition root of the patterns."""

from __future__ import annotations

from collections.abc import Callable

from freehold.binding import Stores
from freehold.lifecycle import Runner
from freehold.projection.following import ProjectionsRunner, ProjectionStores
from freehold.runtime.upkeep import rebuild_loops, view_loops
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Post

__all__ = ["projection_loops"]


def projection_loops(
    service: Service, settings: Settings, stores: Stores, post: Post, owner: str, on_progress: Callable[[], None]
) -> list[Runner]:
    """The loop that follows the events for all projections, the one that brings them to the versions declared here, and
    the one that refreshes views; each where there is something to do for it.
    """
    views = view_loops(service, post, stores, settings, owner)
    if not any(not each.inline for each in service.projections.values()):
        return views
    follower = ProjectionsRunner(
        tuple(service.projections.values()),
        post,
        ProjectionStores(stores.events, stores.checkpoints, stores.leases, stores.audit),
        owner=owner,
        lease_seconds=settings.lease_seconds,
        poll_seconds=settings.poll_seconds,
        batch_timeout_seconds=settings.handler_timeout_seconds,
        on_progress=on_progress,
    )
    return [follower, *rebuild_loops(service, post, stores, settings, follower.look_again), *views]
