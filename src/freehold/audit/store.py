"""The audit port: who did what by command, and why. Pattern: imports the foundation and the ports."""

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
    """An action of an operator: `actor` is the operating system's user, `subject` an id, `reason` what they gave."""

    at: datetime
    actor: str
    action: str
    subject: str
    reason: str


class AuditStore(Protocol):
    """Where actions are recorded: the database they changed, in the same transaction."""

    async def add(self, db_tx: DatabaseTransaction, entry: AuditEntry) -> None:
        """Record an action."""

    async def find(self, subject: str | None, limit: int) -> Sequence[AuditEntry]:
        """Actions, newest first."""


AUDIT: Final[Port[AuditStore]] = Port(
    "audit", "the audit trail", AuditStore, "freehold.conformance.audit:AuditStoreConformance"
)
