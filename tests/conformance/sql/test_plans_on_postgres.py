"""A backlog that came after the plans were made: what is due is found as quickly as in a table that was always full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest
from tests.conformance.sql.recorder import EXPLAINED, Recorder, recording

from freehold.database import DatabaseOptions
from freehold.inbox.store import INBOX, IncomingMessage, ReceiveStatus
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.saga.store import SAGAS
from freehold.schedule.schedule_runner import send_due
from freehold.schedule.store import SCHEDULE

pytestmark = pytest.mark.servers
_TABLES = ("freehold_deferred", "freehold_schedule", "freehold_saga")
_ROWS = 30_000
_FILL = (
    (
        "INSERT INTO freehold_deferred (consumer, topic, key, receipt_key, document, attempts, due_at, deferred_at,"
        " reason) SELECT 'shop', 't.events', 'k' || i % 15000, 'r' || i, '', 0, now() + interval '1 hour', now(), ''"
        " FROM generate_series(1, $1) AS i"
    ),
    (
        "INSERT INTO freehold_schedule (id, name, topic, key, document, due_at)"
        " SELECT gen_random_uuid(), 'n', 't.events', 'k' || i, '', now() + interval '1 hour'"
        " FROM generate_series(1, $1) AS i"
    ),
    (
        "INSERT INTO freehold_saga (id, definition, definition_version, key, correlation_id, status, version, document,"
        " due_at, created_at, updated_at) SELECT gen_random_uuid(), 'd', 1, 'k', gen_random_uuid(), 'running', 1, '',"
        " now() + interval '1 hour', now(), now() FROM generate_series(1, $1) AS i"
    ),
)
# Wrong plans read a table or more, right ones a few rows for each of 64 keys.
_ROWS_READ_MAX = 500


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    """One connection, so that the plans are those of the empty tables; it tells them."""
    operator = await asyncpg.connect(postgres_url)
    for name, value in EXPLAINED:
        await operator.execute(f"ALTER DATABASE {postgres_url.rpartition('/')[2]} SET {name} = '{value}'")
    await operator.close()
    stores = open_stores(postgres_url, DatabaseOptions(pool_size=1, statement_timeout_seconds=60.0))
    await stores.database.open()
    await stores.database.upgrade()
    yield stores
    await stores.database.close()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    with recording(monkeypatch) as recorder:
        yield recorder


async def test_what_is_due_is_found_with_plans_from_empty_tables(
    stores: Stores, recorder: Recorder, postgres_url: str
) -> None:
    async def blocked() -> object:
        async with stores.database.begin() as db_tx:
            arrivals = [IncomingMessage(f"new{n}", "t.events", f"k{n}") for n in range(64)]
            return [receipt.status for receipt in await stores[INBOX].receive(db_tx, "shop", arrivals)]

    async def sagas() -> object:
        async with stores.database.begin() as db_tx:
            return await stores[SAGAS].claim_due(db_tx, 50)

    questions: list[Callable[[], Awaitable[object]]] = [
        lambda: stores[INBOX].claim_due("shop", 16, 60.0),
        lambda: stores[INBOX].next_due_seconds("shop"),
        blocked,
        lambda: send_due(stores, 200),
        stores[SCHEDULE].next_due_seconds,
        sagas,
        stores[SAGAS].next_due_seconds,
    ]
    operator = await asyncpg.connect(postgres_url)
    for table in _TABLES:
        await operator.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        await operator.execute(f"VACUUM ANALYZE {table}")
    for _ in range(7):
        for question in questions:
            await question()
    for fill in _FILL:
        await operator.execute(fill, _ROWS)
    await operator.close()
    for question in questions:
        recorder.clear()
        answer = await question()
        assert recorder.statements
        assert sum(recorder.read.values()) <= _ROWS_READ_MAX
        if question is blocked:
            assert answer == [ReceiveStatus.BLOCKED] * 64
