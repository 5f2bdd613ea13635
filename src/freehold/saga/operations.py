"""Operators' decisions on sagas: retry, skip a step, compensate, terminate. Pattern: imports the ports, the audit's
store, the transaction and its package.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from freehold.audit.store import AUDIT, AuditEntry
from freehold.context import ServiceContext
from freehold.saga.engine import SagaEngine
from freehold.saga.exchange import OperatorDecided
from freehold.saga.hooks import Hook, hook_at
from freehold.saga.pattern import PATTERN
from freehold.saga.store import SAGAS, SagaRecord
from freehold.transaction import Transactions

__all__ = ["SagaOperations"]


class SagaOperations:
    """Actions on the sagas of one service. The service runs, or only its database is open."""

    def __init__(self, context: ServiceContext) -> None:
        self._context: Final = context
        self._transactions = context.find(Transactions) or Transactions(context)
        engine = context.find(SagaEngine)
        if engine is None:
            engine = SagaEngine(context.of(PATTERN), context.stores[SAGAS], context)
            context.offer(SagaEngine, engine)
        self._engine = engine

    async def decide(self, saga_id: UUID, decided: OperatorDecided, *, actor: str) -> bool:
        """Apply a decision, and start what follows from it, in one transaction with the audit row. False where a hook
        of the saga failed in it: the decision is stored then, and the service retries the rest.

        Raises `NotFound`, `DecisionRefused` where the decision is not possible for the instance, `ConcurrencyConflict`,
        `Unavailable`.
        """
        now = self._context.clock.now()
        entry = AuditEntry(now, actor, f"saga.{decided.action.value}", str(saga_id), decided.reason)
        audit = self._context.stores[AUDIT]
        try:
            async with self._transactions.begin() as tx:
                await self._engine.decide(tx, saga_id, decided)
                await audit.add(tx.db_tx, entry)
        except Exception as error:
            if hook_at(error).hook is Hook.COMMIT:
                raise
            async with self._transactions.begin() as tx:
                await self._engine.on_failure(tx, saga_id, error, decided)
                await audit.add(tx.db_tx, entry)
            return False
        return True

    async def load(self, saga_id: UUID) -> SagaRecord:
        """Return one instance. Raises `NotFound`."""
        async with self._context.database.begin() as db_tx:
            return await self._context.stores[SAGAS].load(db_tx, saga_id)
