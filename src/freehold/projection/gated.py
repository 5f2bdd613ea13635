"""Calling a projection's handlers without their side effects: for the last events of a switch, single keys, replays.

Pattern: imports the foundation, the transaction and its own package.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from freehold.database import UnitOfWork
from freehold.eventstore.store import RecordedEvent
from freehold.projection.batch import Applier
from freehold.projection.declaration import Projection
from freehold.projection.generations import Apply
from freehold.transaction import Post, Transaction

if TYPE_CHECKING:
    from freehold.projection.tables import GenerationTables

__all__ = ["GatedApply"]


class GatedApply(Apply):
    """Applies stored events to any set of a projection's tables; nothing is published, sent or scheduled."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def __call__(
        self,
        unit: UnitOfWork,
        projection: Projection,
        tables: GenerationTables,
        generation: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Decode, upcast, and call the handlers that want what came of it, in order."""
        if not events:
            return
        into = copy.copy(projection)
        into.generation_tables = tables
        applier = Applier(into, self._post.service, generation)
        if projection.sink is not None:
            await applier.sink(events)
            return
        await applier.apply_decoded(Transaction(self._post, unit), applier.decode(events), live=False)
