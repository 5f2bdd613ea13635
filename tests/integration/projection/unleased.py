"""A runner of the tests' read model that holds every partition without asking for a lease."""

from __future__ import annotations

from tests.integration.projection.models import ReadModel

from freehold import RunningService
from freehold.audit.store import AUDIT
from freehold.eventstore.store import EVENTS
from freehold.projection.generation_runner import GenerationRunner
from freehold.projection.parked_stream import ParkedStreamRetrier
from freehold.projection.store import CHECKPOINTS

__all__ = ["unleased"]


async def unleased(running: RunningService, model: ReadModel, head: int) -> GenerationRunner:
    stores = running.stores
    (generation,) = await stores[CHECKPOINTS].generations("accounts")
    return GenerationRunner(
        generation,
        model.projection,
        running.transactions,
        stores[EVENTS],
        stores[CHECKPOINTS],
        ParkedStreamRetrier(model.projection, running.transactions, stores[EVENTS], stores[CHECKPOINTS], stores[AUDIT]),
        held=lambda: range(4),
        head=lambda: head,
    )
