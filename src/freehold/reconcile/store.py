"""Where it is kept what comparisons found. Pattern: imports the foundation and the database port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from freehold.ports import Port

__all__ = ["RECONCILIATIONS", "ReconciliationRecord", "ReconciliationStore"]


@dataclass(frozen=True, slots=True)
class ReconciliationRecord:
    """One comparison of a replica with its source, in numbers. `error` is the name of what ended it early, or empty."""

    dataset: str
    finished_at: datetime
    seconds: float
    compared: int
    drifted: int
    repaired: int
    inconclusive: int
    error: str = ""


class ReconciliationStore(Protocol):
    """The store of what comparisons found, in the database of the service that has the replica.

    An implementation keeps:

    1. Each result is added in a transaction of its own.
    2. Results come back as they were given, to every instance, the newest first. A comparison that failed counts as a
       result.
    3. Pruning is bounded by `limit`, and leaves each dataset its newest result, however old that is: it says when the
       replica was last known to be right.
    """

    async def add(self, record: ReconciliationRecord) -> None:
        """Keep a result, in a transaction of its own."""

    async def last(self, dataset: str) -> ReconciliationRecord | None:
        """The newest result of a dataset."""

    async def recent(self, limit: int) -> Sequence[ReconciliationRecord]:
        """The newest results of all, newest first."""

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete results that are older than this; returns how many."""


RECONCILIATIONS: Final[Port[ReconciliationStore]] = Port(
    "reconciliations",
    "comparisons of replicas",
    ReconciliationStore,
    "freehold.conformance.reconciliations:ReconciliationStoreConformance",
)
