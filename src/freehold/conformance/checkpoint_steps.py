"""Common steps of the suites of the checkpoint port: make generations, move checkpoints, park streams."""

from __future__ import annotations

from typing import Final

from freehold.errors import ConcurrencyConflict
from freehold.ids import new_id
from freehold.ports import Stores
from freehold.projection.store import CHECKPOINTS, Checkpoint, Generation, GenerationState, Move, ParkedStreamUpdate

__all__ = [
    "BUILDING",
    "LIVE",
    "RETIRED",
    "advanced",
    "key_of",
    "made",
    "not_started",
    "parked_at",
    "refused",
    "seen_at",
    "started_at",
]

BUILDING: Final = GenerationState.BUILDING
LIVE: Final = GenerationState.LIVE
RETIRED: Final = GenerationState.RETIRED


async def made(
    stores: Stores, number: int = 1, state: GenerationState = LIVE, *, partitions: int = 2, name: str = "summary"
) -> Generation:
    """Make a generation."""
    async with stores.database.begin() as db_tx:
        return await stores[CHECKPOINTS].create(db_tx, name, number, version=7, partitions=partitions, state=state)


async def seen_at(stores: Stores, partition: int = 0, generation: int = 1, name: str = "summary") -> Checkpoint:
    """Read a checkpoint."""
    return (await stores[CHECKPOINTS].checkpoints(name, generation))[partition]


async def advanced(stores: Stores, *moves: Move) -> list[Checkpoint]:
    """Advance checkpoints in a transaction of their own."""
    async with stores.database.begin() as db_tx:
        return list(await stores[CHECKPOINTS].advance(db_tx, moves))


async def parked_at(stores: Stores, seen: Checkpoint, parked: ParkedStreamUpdate) -> Checkpoint:
    """Park a stream in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        return await stores[CHECKPOINTS].park(db_tx, seen, parked)


async def refused(stores: Stores, *moves: Move) -> None:
    """Assert that the checkpoints cannot be advanced."""
    try:
        await advanced(stores, *moves)
    except ConcurrencyConflict as error:
        assert error.hint
    else:
        raise AssertionError("the checkpoint moved")


def key_of(stream: str = "order-1", *, position: int = 5, retry_seconds: float | None = 10.0) -> ParkedStreamUpdate:
    """A stream to park."""
    return ParkedStreamUpdate(
        stream, position, 3, new_id(), "orders.placed", "ValueError", "in placed, line 7\x00", 1, retry_seconds
    )


async def started_at(stores: Stores, seen: Checkpoint, *, isolated_position: int = 0, attempts: int = 0) -> Checkpoint:
    """Write the crash marker of a runner that starts there."""
    async with stores.database.begin() as db_tx:
        return await stores[CHECKPOINTS].begin(
            db_tx, seen, isolated_position=isolated_position, isolated_attempts=attempts
        )


async def not_started(stores: Stores, seen: Checkpoint) -> None:
    """Assert that the crash marker cannot be written."""
    try:
        await started_at(stores, seen, isolated_position=99, attempts=1)
    except ConcurrencyConflict as error:
        assert error.hint
    else:
        raise AssertionError("the crash marker was written")
