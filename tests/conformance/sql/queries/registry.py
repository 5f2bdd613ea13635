"""The table of queries by name, and the stores that they run on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Final

from freehold.leases.store import LEASES
from freehold.outbox.store import OUTBOX, lease_name
from freehold.ports import Stores
from freehold.projection.store import CHECKPOINTS, GenerationState

CONSUMER: Final = "shop"
TOPIC: Final = "orders.commands"
NOW: Final = datetime.now(UTC)
fresh = count(10_000_000)

Query = Callable[["Seeded"], Awaitable[object]]
QUERIES: Final[dict[str, Query]] = {}


@dataclass(slots=True)
class Seeded:
    """Stores beside `rows` rows in every table that grows; `leases` are held on all partitions of the outbox."""

    stores: Stores
    rows: int
    leases: dict[int, int] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Take the leases, and make what is there once: a live generation, and a replay."""
        stores, partitions = self.stores, self.stores[OUTBOX].partitions
        await stores[LEASES].ensure([lease_name(partition) for partition in range(partitions)])
        for partition in range(partitions):
            (seen,) = [
                each for each in await stores[LEASES].list(lease_name(partition)) if each.name == lease_name(partition)
            ]
            taken = await stores[LEASES].acquire(seen, "me")
            assert taken is not None
            self.leases[partition] = taken.token
        async with stores.database.begin() as db_tx:
            await stores[CHECKPOINTS].create(
                db_tx, "live", 1, version=1, partitions=4, state=GenerationState.LIVE, tables=["t"]
            )


def query(function: Query) -> Query:
    QUERIES[function.__name__] = function
    return function
