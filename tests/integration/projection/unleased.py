"""A runner of the tests' read model that holds every partition without asking for a lease."""

from __future__ import annotations

from tests.integration.projection.models import ReadModel

from freehold import RunningService
from freehold.projection.parking import Parking
from freehold.projection.runner import GenerationRunner

__all__ = ["unleased"]


async def unleased(running: RunningService, model: ReadModel, head: int) -> GenerationRunner:
    stores = running.stores
    (generation,) = await stores.checkpoints.generations("accounts")
    return GenerationRunner(
        generation,
        model.projection,
        running.post,
        stores.events,
        stores.checkpoints,
        Parking(model.projection, running.post, stores.events, stores.checkpoints, stores.audit),
        held=lambda: range(4),
        head=lambda: head,
    )
