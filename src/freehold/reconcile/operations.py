"""Makes the reconciler of a replica: its table, its source behind the other service's API, the wait for a barrier.
Pattern: imports the stores of audit and progress, the settings, the transaction and its package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from freehold.audit.store import AUDIT, AuditEntry
from freehold.clock import Clock
from freehold.consistency.signer import split_secrets
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

__all__ = ["LocalSource", "has_reached", "make_reconciler", "peer_source"]

_BARRIER_SECONDS = 30.0
_LOOK_SECONDS_MAX = 0.5


class LocalSource(TableReader):
    """A source in a database that is open in this process. The relay of its own service publishes the barriers."""

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
    """Make the reconciler of a replica. With `repair_for`, the actor and the reason of the audit entries, it repairs
    drift as well. Raises `ConfigurationError` if the dataset has other fields at its source.
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

    async def reached(barrier: ConsistencyToken) -> bool:
        return await has_reached(service, stores, barrier, clock, _BARRIER_SECONDS)

    return Reconciler(
        replica.dataset,
        source,
        TableReader(stores[DATASETS], replica),
        reached,
        clock,
        repair=ReplicaRepair(stores.database, stores[DATASETS], replica, record) if repair_for else None,
    )


def peer_source(replica: Replica, settings: Settings) -> DatasetSource:
    """The source of a replica behind its service's API. Raises `ConfigurationError` without its URL or a secret."""
    owner = replica.dataset.service
    url = settings.peers.get(owner)
    if url is None:
        raise ConfigurationError(
            f"the URL of the API of '{owner}' is unknown", hint=f'[peers] {owner} = "http://…" in freehold.toml'
        )
    secrets = split_secrets(settings.token_secret)
    if not secrets:
        raise ConfigurationError("comparing with another service needs a token_secret", hint="use one for all services")
    return HttpSource(replica.dataset, url, secrets[0])


async def has_reached(
    service: str, stores: Stores, barrier: ConsistencyToken, clock: Clock, limit_seconds: float
) -> bool:
    """Wait until a service has handled everything through a barrier. False if it has not within the limit, or if its
    database does not respond.
    """
    end = clock.monotonic() + limit_seconds
    look_seconds = 0.01
    while True:
        try:
            async with asyncio.timeout(max(_LOOK_SECONDS_MAX, end - clock.monotonic())):
                rows = await stores[PROGRESS].progress(service, tuple(barrier.positions))
        except TimeoutError:
            return False
        found = {each.lane: each for each in rows}
        if all(lane in found and found[lane].covers(position) for lane, position in barrier.positions.items()):
            return True
        left = end - clock.monotonic()
        if left <= 0:
            return False
        await clock.sleep(min(look_seconds, left))
        look_seconds = min(2 * look_seconds, _LOOK_SECONDS_MAX)
