"""The factory of a running service's transactions. Imports the foundation, the ports and its package."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.database import DatabaseTransaction
from freehold.messages import Envelope
from freehold.transaction.ambient import current_token
from freehold.transaction.staging_area import AfterAppend, StagingArea
from freehold.transaction.transaction import Transaction

__all__ = ["Transactions"]


@dataclass(slots=True)
class Transactions:
    """Opens the transactions of a service, and joins those of the application. One for each running service.

    `after_append` is called in each transaction with the events that it appends. It must be set before the first
    transaction is opened.
    """

    context: ServiceContext
    after_append: AfterAppend | None = None

    @asynccontextmanager
    async def begin(
        self, cause: Envelope | None = None, *, correlation_id: UUID | None = None
    ) -> AsyncIterator[Transaction]:
        """Open a transaction: it commits at the end with everything staged, and is rolled back after an exception."""
        async with self.context.database.begin() as db_tx:
            transaction = _seen_by_caller(self.within(db_tx, cause, correlation_id=correlation_id))
            crash_point("transaction.begun")
            yield transaction
            crash_point("transaction.before-write")
            if db_tx.life.doomed is None:
                await transaction.staging.write(last=True)
        crash_point("transaction.committed")
        transaction.staging.notify()

    def enlist(self, native: object, cause: Envelope | None = None) -> Transaction:
        """Join the application's own transaction. The caller calls `write` before the commit, and `staging.notify`
        after it, if possible. The result is for this one transaction: after a rollback, what was staged is void.
        """
        return _seen_by_caller(self.within(self.context.database.enlist(native), cause))

    def within(
        self, db_tx: DatabaseTransaction, cause: Envelope | None = None, *, correlation_id: UUID | None = None
    ) -> Transaction:
        """Return a transaction on an open database transaction. The caller also calls `write` and `staging.notify`."""
        return Transaction(
            StagingArea(self.context, db_tx, cause, correlation_id=correlation_id, after_append=self.after_append)
        )


def _seen_by_caller(transaction: Transaction) -> Transaction:
    if current_token.get():
        transaction.staging.observe(current_token.get())
    return transaction
