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
    """Kept in the database of the service that has the replica."""

    async def add(self, record: ReconciliationRecord) -> None:
        """Keep a result, in a transaction of its own."""

    async def last(self, dataset: str) -> ReconciliationRecord | None:
        """The newest result of a dataset."""

    async def recent(self, limit: int) -> Sequence[ReconciliationRecord]:
        """The newest results of all, newest first."""

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old results, but for the newest of each dataset; returns how many."""


RECONCILIATIONS: Final[Port[ReconciliationStore]] = Port(
    "reconciliations",
    "comparisons of replicas",
    ReconciliationStore,
    "freehold.conformance.reconciliations:ReconciliationStoreConformance",
)
