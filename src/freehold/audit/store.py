"""The audit port: the actions of operators, with actor and reason. Pattern: imports the foundation and the ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["AUDIT", "AuditEntry", "AuditStore"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An action of an operator. `actor` is the operating system's user, `subject` an id, `reason` the given reason."""

    at: datetime
    actor: str
    action: str
    subject: str
    reason: str


class AuditStore(Protocol):
    """The store of operators' actions, in the database that they changed.

    An implementation keeps:

    1. An entry belongs to the transaction of its action, which is passed in. An action that was rolled back has none.
    2. An entry stays as it was written, and every process finds it; no call of this port changes or deletes one.
    3. The newest entry comes first; of entries with equal times, the one that was written last.
    4. A result is bounded by `limit`. With a subject it contains the entries of this subject only.
    """

    async def add(self, db_tx: DatabaseTransaction, entry: AuditEntry) -> None:
        """Record an action."""

    async def find(self, subject: str | None, limit: int) -> Sequence[AuditEntry]:
        """Return actions, newest first. `subject` None: of all subjects."""


AUDIT: Final[Port[AuditStore]] = Port(
    "audit", "the audit trail", AuditStore, "freehold.conformance.audit:AuditStoreConformance"
)
