"""Two ways to apply events: inline, in the transaction that appends them; and without side effects, for the last events
of a switch, for single keys and for replays. Pattern: imports the transaction and its package.

Inline projections have no lag, and their errors roll the append back. Use them only for a few cheap tables that
decisions read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from freehold.database import DatabaseTransaction
from freehold.errors import ConfigurationError
from freehold.eventstore.store import EventFilter, RecordedEvent
from freehold.ports import Stores
from freehold.projection.batch import HandlerInvoker
from freehold.projection.declaration import Projection
from freehold.projection.generations import BESIDE_INLINE, ReplayInvoker, begin_first
from freehold.projection.tables import PlacedTables
from freehold.transaction import StagingArea, Transaction, Transactions

__all__ = ["InlineProjections", "SuppressedInvoker"]


class InlineProjections:
    """Applies appended events to the inline projections of a service; called by the transaction (`AfterAppend`)."""

    def __init__(self, projections: Collection[Projection], service: str) -> None:
        self._projections = tuple(each for each in projections if each.inline)
        self._service = service
        self._invokers: list[tuple[HandlerInvoker, EventFilter]] = []

    def __bool__(self) -> bool:
        return bool(self._projections)

    async def begin(self, stores: Stores) -> None:
        """Make the tables, and start. To be called before anything is appended in this process.

        Raises `ConfigurationError` if the tables are of another version: an inline projection cannot be rebuilt.
        """
        self._invokers = []
        for projection in self._projections:
            generation = await begin_first(projection, stores)
            if generation.version != projection.version or generation.partitions:
                raise ConfigurationError(
                    f"projection '{projection.name}' is inline in version {projection.version} here, and its tables"
                    f" are of version {generation.version}{', not inline' if generation.partitions else ''}",
                    hint=f"deploy the former version; then {BESIDE_INLINE}",
                )
            tables = PlacedTables(stores, projection.tables)
            invoker = HandlerInvoker(projection, self._service, generation.number, tables)
            self._invokers.append((invoker, projection.event_filter))

    async def __call__(self, staging: StagingArea, events: Sequence[RecordedEvent]) -> None:
        """Apply appended events. Raises what a handler raises; the transaction must then be rolled back."""
        if len(self._invokers) != len(self._projections):
            raise ConfigurationError(
                f"the inline projections of '{self._service}' have not started", hint="start the service first"
            )
        for invoker, event_filter in self._invokers:
            wanted = [event for event in events if event_filter.wants(event)]
            if wanted:
                await invoker.apply_decoded(Transaction(staging), invoker.decode(wanted), live=True)


class SuppressedInvoker(ReplayInvoker):
    """Applies stored events to any set of a projection's tables; nothing is published, sent or scheduled."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def __call__(
        self,
        db_tx: DatabaseTransaction,
        projection: Projection,
        tables: PlacedTables,
        generation: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Decode and upcast events, and call their handlers, in order."""
        if not events:
            return
        invoker = HandlerInvoker(projection, self._transactions.context.service, generation, tables)
        if projection.sink is not None:
            await invoker.sink(events)
            return
        await invoker.apply_decoded(self._transactions.within(db_tx), invoker.decode(events), live=False)
