"""Makes the loops of a service's projections. Runtime: the composition root of the patterns."""

from __future__ import annotations

from collections.abc import Callable

from freehold.audit.store import AUDIT
from freehold.eventstore.store import EVENTS
from freehold.leases.store import LEASES
from freehold.lifecycle import Runner
from freehold.ports import Stores
from freehold.projection.service_runner import ProjectionCoordinator, ProjectionStores
from freehold.projection.store import CHECKPOINTS
from freehold.runtime.upkeep import rebuild_loops, view_loops
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transactions

__all__ = ["projection_loops"]


def projection_loops(
    service: Service,
    settings: Settings,
    stores: Stores,
    transactions: Transactions,
    owner: str,
    on_progress: Callable[[], None],
) -> list[Runner]:
    """The loop that follows the events for all projections, the one that brings them to the versions declared here, and
    the one that refreshes views; each where there is something to do for it.
    """
    views = view_loops(service, transactions.context, stores, settings, owner)
    if not any(not each.inline for each in service.projections.values()):
        return views
    follower = ProjectionCoordinator(
        tuple(service.projections.values()),
        transactions,
        ProjectionStores(stores[EVENTS], stores[CHECKPOINTS], stores[LEASES], stores[AUDIT]),
        owner=owner,
        lease_seconds=settings.lease_seconds,
        poll_seconds=settings.poll_seconds,
        batch_timeout_seconds=settings.handler_timeout_seconds,
        on_progress=on_progress,
    )
    return [follower, *rebuild_loops(service, transactions, stores, settings, follower.look_again), *views]
