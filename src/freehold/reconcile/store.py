"""The reconciliation port: the results of comparisons. Pattern: imports the foundation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from freehold.ports import Port

__all__ = ["RECONCILIATIONS", "ReconciliationRecord", "ReconciliationStore"]


@dataclass(frozen=True, slots=True)
class ReconciliationRecord:
    """The result of one comparison, in numbers. `error` is the name of the error that ended it; empty without one."""

    dataset: str
    finished_at: datetime
    seconds: float
    compared: int
    drifted: int
    repaired: int
    inconclusive: int
    error: str = ""


class ReconciliationStore(Protocol):
    """The store of the results of comparisons, in the database of the service that has the replica.

    An implementation keeps:

    1. Each result is added in a transaction of its own.
    2. Results are returned as they were added, to every instance, the newest first. A comparison that failed has a
       result too.
    3. Pruning is bounded by `limit`, and never deletes the newest result of a dataset, however old it is: it shows when
       the replica was compared last.
    """

    async def add(self, record: ReconciliationRecord) -> None:
        """Store a result, in a transaction of its own."""

    async def last(self, dataset: str) -> ReconciliationRecord | None:
        """The newest result of a dataset; None without one."""

    async def recent(self, limit: int) -> Sequence[ReconciliationRecord]:
        """The newest results of all datasets, the newest first."""

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete at most `limit` results that are older than this; returns how many."""


RECONCILIATIONS: Final[Port[ReconciliationStore]] = Port(
    "reconciliations",
    "comparisons of replicas",
    ReconciliationStore,
    "freehold.conformance.reconciliations:ReconciliationStoreConformance",
)
