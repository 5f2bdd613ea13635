"""Known bugs are planted, and the check of the invariants finds each of them; without a bug it finds nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.faults.scenario import breaches

from freehold.adapters.sql.saga import SqlSagaStore
from freehold.adapters.sqlite.inbox import SqliteInboxStore
from freehold.adapters.sqlite.outbox import SqliteOutboxStore
from freehold.broker import Batch
from freehold.clock import SystemClock
from freehold.conformance.outbox import outgoing, take_partitions
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, LeaseLost
from freehold.ids import new_id
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.store import IncomingMessage, ReceiveResult, ReceiveStatus
from freehold.leases.store import LEASES
from freehold.outbox.refusal import dead_letter
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import LEASE_PREFIX, OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.saga.store import SAGAS, JournalEntry, SagaRecord, SagaStatus


async def test_the_system_as_it_is_breaks_nothing(tmp_path: Path) -> None:
    assert await breaches(tmp_path) == []


async def test_acknowledging_before_the_commit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(self: ConsumerRunner, batches: Sequence[Batch]) -> None:
        for batch in batches:
            with contextlib.suppress(LeaseLost):
                await batch.ack(len(batch.deliveries))
        await self._handle(batches, [0] * len(batches))

    monkeypatch.setattr(ConsumerRunner, "_process", take)
    assert any(breach.endswith("lost") for breach in await breaches(tmp_path))


async def test_removing_rows_before_the_confirmation_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def round_(self: RelayRunner) -> int:
        leases = self._held()
        rows = (await self._outbox.fetch(leases, 5)).rows if leases else ()
        await self._outbox.remove(leases, rows)
        await self._broker.publish([row.message for row in rows], 5.0)
        return len(rows)

    monkeypatch.setattr(RelayRunner, "_round", round_)
    # Nobody is to die of a message that may be lost.
    assert any(breach.endswith("lost") for breach in await breaches(tmp_path, deadly=()))


async def test_dropping_the_receipts_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive(
        self: SqliteInboxStore, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        return [ReceiveResult(ReceiveStatus.NEW) for _ in arrivals]

    monkeypatch.setattr(SqliteInboxStore, "receive", receive)
    assert any(breach.endswith("doubled") for breach in await breaches(tmp_path))


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = open_stores(f"sqlite:///{tmp_path}/service.db")
    await stores.database.open()
    await stores.database.upgrade()
    yield stores
    await stores.database.close()


async def _changes_of_a_relay_without_its_lease(stores: Stores) -> list[str]:
    """A relay is frozen after it fetched; another one takes over; the first goes on."""
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing("k"), outgoing("k")])
    late = await take_partitions(stores)
    rows = (await stores[OUTBOX].fetch(late, 10)).rows
    for seen in await stores[LEASES].list(LEASE_PREFIX):
        await stores[LEASES].acquire(seen, "another")
    found = []
    if (await stores[OUTBOX].fetch(late, 10)).rows:
        found.append("fetched")
    if await stores[OUTBOX].reschedule(late, rows[0], 60.0, "late"):
        found.append("rescheduled")
    if await dead_letter(stores, late, rows[0], "late", datetime.now(UTC)):
        found.append("dead-lettered")
    if await stores[OUTBOX].remove(late, rows[1:]):
        found.append("removed")
    return found


async def test_a_relay_without_its_lease_changes_nothing(stores: Stores) -> None:
    assert await _changes_of_a_relay_without_its_lease(stores) == []


async def test_skipping_the_check_of_the_token_is_found(stores: Stores) -> None:
    outbox = stores[OUTBOX]
    assert isinstance(outbox, SqliteOutboxStore)
    for name in ("_fetch", "_remove_sql", "_reschedule"):
        planted = getattr(outbox, name).replace(" AND l.token = g.token", "")
        assert planted != getattr(outbox, name)
        setattr(outbox, name, planted)
    assert await _changes_of_a_relay_without_its_lease(stores) == ["fetched", "rescheduled", "dead-lettered", "removed"]


async def _ends_of_a_saga(stores: Stores) -> list[str]:
    """Two engines decide on the same state of an instance: one completes it, one begins to compensate it."""
    record = _record()
    async with stores.database.begin() as db_tx:
        await stores[SAGAS].create(db_tx, record, ())
    seen = []
    for _ in range(2):
        async with stores.database.begin() as db_tx:
            seen.append(await stores[SAGAS].load(db_tx, record.id))
    for status, loaded in zip((SagaStatus.COMPLETED, SagaStatus.COMPENSATED), seen, strict=True):
        entry = JournalEntry(SystemClock().now(), "", status.value, 0, "")
        with contextlib.suppress(ConcurrencyConflict):
            async with stores.database.begin() as db_tx:
                await stores[SAGAS].save(db_tx, replace(loaded, status=status), [entry])
    return [entry.what for entry in await stores[SAGAS].journal(record.id)]


async def test_a_saga_ends_once(stores: Stores) -> None:
    assert await _ends_of_a_saga(stores) == ["completed"]


async def test_saving_without_the_version_is_found(stores: Stores) -> None:
    sagas: Any = stores[SAGAS]
    assert isinstance(sagas, SqlSagaStore)
    planted = sagas._save.replace(" AND version = $7", " AND $7 >= 0")
    assert planted != sagas._save
    sagas._save = planted
    assert await _ends_of_a_saga(stores) == ["completed", "compensated"]


def _record() -> SagaRecord:
    now = SystemClock().now()
    return SagaRecord(
        id=new_id(),
        definition="orders.checkout",
        definition_version=1,
        key="k",
        correlation_id=new_id(),
        status=SagaStatus.RUNNING,
        version=1,
        document=b"{}",
        failure=None,
        due_seconds=None,
        created_at=now,
        updated_at=now,
    )
