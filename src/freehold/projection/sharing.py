"""What the leases on a generation's partitions are called, and forgetting those of generations that are gone.

Pattern: imports the leases and its package.
"""

from __future__ import annotations

from typing import Final

from freehold.leases.store import LeaseStore
from freehold.projection.store import CheckpointStore

__all__ = ["forget_leases", "lease_prefix"]

_PREFIX: Final = "projection/"


def lease_prefix(projection: str, generation: int | None = None) -> str:
    """What the names of a generation's leases begin with; of all of a projection's without one."""
    return f"{_PREFIX}{projection}/" if generation is None else f"{_PREFIX}{projection}/{generation}/"


async def forget_leases(leases: LeaseStore, checkpoints: CheckpointStore) -> int:
    """Delete the leases of generations that are dropped; returns how many.

    A process that stops gives up its own. What is left is of one that was killed, so whoever runs projections looks
    when generations have come or gone. The leases are looked at first: a generation is there before its leases are.
    """
    names = [each.name for each in await leases.list(_PREFIX)]
    there = tuple(lease_prefix(each.projection, each.number) for each in await checkpoints.generations())
    gone = [name for name in names if not name.startswith(there)]
    if gone:
        await leases.forget(gone)
    return len(gone)
