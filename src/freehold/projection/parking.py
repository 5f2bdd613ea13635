"""Parked streams, as people and the runner take them up again: trying one, going on without its poison event. Imports
the ports, the transaction and its package.
"""

from __future__ import annotations

from freehold.audit.store import AuditEntry, AuditStore
from freehold.errors import NotFound
from freehold.eventstore.store import EventStore
from freehold.projection.declaration import Projection
from freehold.projection.failures import describe
from freehold.projection.store import CheckpointStore, ParkedKey
from freehold.projection.taking import TakenUp, Taking
from freehold.transaction import Post

__all__ = ["Parking", "TakenUp", "describe"]


class Parking:
    """The parked streams of a projection, for its runner and for people. Writes to the audit what a person did.

    An event that takes longer than `event_timeout_seconds`, or a statement of it longer than the database's limit,
    keeps its stream parked: trying again must not hold up all others.
    """

    def __init__(
        self,
        projection: Projection,
        post: Post,
        events: EventStore,
        checkpoints: CheckpointStore,
        audit: AuditStore,
        *,
        event_timeout_seconds: float = 30.0,
    ) -> None:
        self._projection = projection
        self._clock = post.clock
        self._checkpoints = checkpoints
        self._taking = Taking(projection, post, events, checkpoints, audit, event_timeout_seconds)

    async def resume(self, generation: int, stream: str, *, actor: str, reason: str) -> TakenUp:
        """Try a stream again now, for a person. Raises `NotFound` where it is not parked, `Unavailable`,
        `ConcurrencyConflict`; a handler that fails keeps it parked.
        """
        return await self._by_hand("projection resume", generation, stream, actor=actor, reason=reason, skip=False)

    async def skip(self, generation: int, stream: str, *, actor: str, reason: str) -> TakenUp:
        """Pass over the event that a stream is parked at, and go on behind it. What the event said is then missing from
        this generation. Raises as `resume` does.
        """
        return await self._by_hand("projection skip", generation, stream, actor=actor, reason=reason, skip=True)

    async def retry(self, parked: ParkedKey) -> TakenUp:
        """Try a stream again because it is due."""
        return await self._taking.take_up(parked, skip=False, entry=None)

    async def _by_hand(
        self, action: str, generation: int, stream: str, *, actor: str, reason: str, skip: bool
    ) -> TakenUp:
        name = self._projection.name
        found = await self._checkpoints.parked(name, generation, stream=stream)
        if not found:
            raise NotFound(
                f"stream '{stream}' is not parked in generation {generation} of projection '{name}'",
                hint="list what is parked: it may have gone on by itself",
            )
        position = found[0].position
        subject = f"{name}/{generation}/{stream}@{position}"
        entry = AuditEntry(at=self._clock.now(), actor=actor, action=action, subject=subject, reason=reason)
        return await self._taking.take_up(found[0], skip=skip, entry=entry)
