"""Parked streams, as people and the runner take them up again: trying one, going on without its poison event. Imports
the ports, the transaction and its package.
"""

from __future__ import annotations

from freehold.audit.store import AuditEntry, AuditStore
from freehold.errors import NotFound
from freehold.eventstore.store import EventStore
from freehold.projection.declaration import Projection
from freehold.projection.parking_policy import describe
from freehold.projection.store import CheckpointStore, ParkedKey
from freehold.projection.taking import ParkedStreamRetrier, RetryResult
from freehold.transaction import Transactions

__all__ = ["Parking", "RetryResult", "describe"]


class Parking:
    """The parked streams of a projection, for its runner and for people. Writes to the audit what a person did.

    An event that takes longer than `event_timeout_seconds`, or a statement of it longer than the database's limit,
    keeps its stream parked: trying again must not hold up all others.
    """

    def __init__(
        self,
        projection: Projection,
        transactions: Transactions,
        events: EventStore,
        checkpoints: CheckpointStore,
        audit: AuditStore,
        *,
        event_timeout_seconds: float = 30.0,
    ) -> None:
        self._projection = projection
        self._clock = transactions.context.clock
        self._checkpoints = checkpoints
        self._taking = ParkedStreamRetrier(projection, transactions, events, checkpoints, audit, event_timeout_seconds)

    async def resume(self, generation: int, stream: str, *, actor: str, reason: str) -> RetryResult:
        """Try a stream again now, for a person. Raises `NotFound` where it is not parked, `Unavailable`,
        `ConcurrencyConflict`; a handler that fails keeps it parked.
        """
        return await self._by_hand("projection resume", generation, stream, actor=actor, reason=reason, skip=False)

    async def skip(self, generation: int, stream: str, *, actor: str, reason: str) -> RetryResult:
        """Pass over the event that a stream is parked at, and go on behind it. What the event said is then missing from
        this generation. Raises as `resume` does.
        """
        return await self._by_hand("projection skip", generation, stream, actor=actor, reason=reason, skip=True)

    @property
    def owes(self) -> str:
        """Attempts that are to be taken back, and could not be yet."""
        return self._taking.owes

    async def take_back(self) -> None:
        """Take back attempts that proved nothing. Raises `Unavailable`."""
        await self._taking.take_back()

    async def retry(self, parked: ParkedKey) -> RetryResult:
        """Try a stream again because it is due."""
        return await self._taking.take_up(parked, skip=False, entry=None)

    async def _by_hand(
        self, action: str, generation: int, stream: str, *, actor: str, reason: str, skip: bool
    ) -> RetryResult:
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
