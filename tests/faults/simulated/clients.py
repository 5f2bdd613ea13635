"""What clients of simulated services do, and what all scenarios look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from freehold import Retry, RunningService, Transaction
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DeadLetterFilter
from freehold.errors import Unavailable
from freehold.saga import SAGAS, SagaStatus
from freehold.testing import World

__all__ = [
    "PATIENT",
    "RARE_POLLS",
    "no_dead_letters",
    "persistent",
    "persistent_within",
    "rows",
    "saga_status",
]

T = TypeVar("T")
PATIENT: Final = Retry(attempts=14, delay_seconds=0.1)
"""Handlers that fail for some seconds leave no dead letter."""
RARE_POLLS: Final[Mapping[str, Any]] = {"poll_seconds": 5.0}
"""Loops that poll rarely: what moves the work is that they are woken, and a run takes half the time."""
_AGAIN_SECONDS: Final = 0.5


async def persistent(world: World, service: str, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """Do work that may be done twice, as often as its outcome is not known."""
    return await persistent_within(world, service, lambda running: running.transact(work))


async def persistent_within(world: World, service: str, work: Callable[[RunningService], Awaitable[T]]) -> T:
    """As `persistent`, with the running service."""
    while True:
        try:
            return await world.within(service, work)
        except Unavailable:
            world.sometimes("a client does not know the outcome")
            await world.sleep(_AGAIN_SECONDS)


async def no_dead_letters(world: World, *services: str) -> None:
    """No message waits for a person."""
    for service in services:
        letters = await DeadLetterActions(world.running(service).context).find(DeadLetterFilter())
        assert not letters, f"{service} has dead letters: {[(each.type, each.reason, each.detail) for each in letters]}"


async def rows(world: World, service: str) -> dict[Any, Any]:
    """All rows of a service."""
    async with world.running(service).transaction() as tx:
        return dict(tx.connection)


async def saga_status(world: World, service: str, saga_id: UUID) -> SagaStatus:
    """The status of a saga."""
    running = world.running(service)
    async with running.stores.database.begin() as db_tx:
        return (await running.stores[SAGAS].load(db_tx, saga_id)).status
