"""Puts the comparison of a replica together: its table, its source behind the other service's API, the wait for what is
in progress. Pattern: imports the stores of audit and progress, the settings, the transaction and its package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from freehold.audit.store import AUDIT, AuditEntry
from freehold.clock import Clock
from freehold.consistency.store import PROGRESS
from freehold.consistency.token import ConsistencyToken
from freehold.database import DatabaseTransaction
from freehold.errors import ConfigurationError
from freehold.ports import Stores
from freehold.reconcile.dataset import DatasetTable, Replica
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.peer import HttpSource
from freehold.reconcile.reconciler import Reconciler
from freehold.reconcile.repair import ReplicaRepair
from freehold.reconcile.side import DatasetSource, TableReader, publish_barrier
from freehold.settings import Settings
from freehold.transaction import Transactions

__all__ = ["LocalSource", "make_reconciler", "peer_source", "settled"]

_SETTLE_SECONDS = 30.0
_LOOK_SECONDS_MAX = 0.5


class LocalSource(TableReader):
    """A dataset in a database that is open here. Its service's own relay sends the barriers."""

    def __init__(self, transactions: Transactions, table: DatasetTable) -> None:
        super().__init__(transactions.context.stores[DATASETS], table)
        self._transactions = transactions

    async def publish_barrier(self) -> ConsistencyToken:
        """Publish a barrier."""
        return await publish_barrier(self._transactions)


def make_reconciler(
    service: str,
    stores: Stores,
    replica: Replica,
    source: DatasetSource,
    clock: Clock,
    *,
    repair_for: tuple[str, str] | None,
) -> Reconciler:
    """Make what compares a replica of a service with its source; repairs it where somebody wants it, for a reason, both
    of which are recorded. Raises `ConfigurationError` where the source's dataset has other fields than the replica's.
    """
    if isinstance(source, TableReader) and source.dataset != replica.dataset:
        raise ConfigurationError(
            f"'{replica.dataset.name}' has other fields at its source", hint="declare both with the same Dataset"
        )

    async def record(db_tx: DatabaseTransaction, keys: Sequence[str]) -> None:
        actor, reason = repair_for or ("", "")
        repaired = f"{reason} ({len(keys)} rows repaired)"
        entry = AuditEntry(clock.now(), actor, "reconcile.repair", replica.dataset.name, repaired)
        await stores[AUDIT].add(db_tx, entry)

    async def come_to(token: ConsistencyToken) -> bool:
        return await settled(service, stores, token, clock, _SETTLE_SECONDS)

    return Reconciler(
        replica.dataset,
        source,
        TableReader(stores[DATASETS], replica),
        come_to,
        clock,
        repair=ReplicaRepair(stores.database, stores[DATASETS], replica, record) if repair_for else None,
    )


def peer_source(replica: Replica, settings: Settings) -> DatasetSource:
    """The source of a replica behind its service's API. Raises `ConfigurationError` where nothing says where that
    is.
    """
    owner = replica.dataset.service
    url = settings.peers.get(owner)
    if url is None:
        raise ConfigurationError(
            f"where the API of '{owner}' is, is not known", hint=f'[peers] {owner} = "http://…" in freehold.toml'
        )
    secret = next((each.strip() for each in settings.token_secret.split(",") if each.strip()), "")
    if not secret:
        raise ConfigurationError("comparing with another service needs a token_secret", hint="the same for all")
    return HttpSource(replica.dataset, url, secret)


async def settled(service: str, stores: Stores, token: ConsistencyToken, clock: Clock, limit_seconds: float) -> bool:
    """Wait until a service has handled everything of a token's lanes; False where it has not within the limit, or where
    its database does not say.
    """
    end = clock.monotonic() + limit_seconds
    look_seconds = 0.01
    while True:
        try:
            async with asyncio.timeout(max(_LOOK_SECONDS_MAX, end - clock.monotonic())):
                rows = await stores[PROGRESS].progress(service, tuple(token.positions))
        except TimeoutError:
            return False
        found = {each.lane: each for each in rows}
        if all(lane in found and found[lane].covers(position) for lane, position in token.positions.items()):
            return True
        left = end - clock.monotonic()
        if left <= 0:
            return False
        await clock.sleep(min(look_seconds, left))
        look_seconds = min(2 * look_seconds, _LOOK_SECONDS_MAX)
