"""What the stores promise of PostgreSQL beyond their ports: round trips, indexes, other drivers, the server's time."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from freehold.audit.store import AUDIT, AuditEntry
from freehold.database import DatabaseTransaction
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter, DeadLetterStatus, Direction
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.ids import new_id
from freehold.inbox.store import INBOX, IncomingMessage, ReceiveStatus
from freehold.life import Life
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.saga.store import SAGAS, JournalEntry, SagaFilter, SagaRecord, SagaStatus
from freehold.sql import Row, SqlConnection, sql_of

pytestmark = pytest.mark.servers
NEW, DUPLICATE, CANCELLED, NO_EFFECT, BLOCKED = ReceiveStatus


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    """On the server's own time: no clock is given."""
    stores = open_stores(postgres_url)
    await stores.database.open()
    await stores.database.upgrade()
    yield stores
    await stores.database.close()


@dataclass
class Counted:
    """A database transaction that keeps the statements that were sent."""

    db_tx: DatabaseTransaction
    statements: list[str]

    @property
    def native(self) -> Any:
        return self.db_tx.native

    @property
    def owned(self) -> bool:
        return self.db_tx.owned

    @property
    def life(self) -> Life:
        return self.db_tx.life

    @property
    def sql(self) -> SqlConnection:
        return self

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        self.statements.append(sql)
        return await sql_of(self.db_tx).execute(sql, parameters)

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        self.statements.append(sql)
        return await sql_of(self.db_tx).fetch(sql, parameters)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        self.statements.append(sql)
        await sql_of(self.db_tx).execute_many(sql, rows)


@asynccontextmanager
async def counted(stores: Stores) -> AsyncIterator[Counted]:
    async with stores.database.begin() as db_tx:
        yield Counted(db_tx, [])


def arrivals(*numbers: int) -> list[IncomingMessage]:
    return [IncomingMessage(str(number), "orders.commands", f"key {number % 7}") for number in numbers]


def saga() -> SagaRecord:
    return SagaRecord(
        id=new_id(),
        definition="checkout",
        definition_version=1,
        key="order",
        correlation_id=new_id(),
        status=SagaStatus.RUNNING,
        version=1,
        document=b"{}",
        due_seconds=0.0,
    )


def letter() -> DeadLetter:
    return DeadLetter(
        id=new_id(),
        direction=Direction.INBOUND,
        consumer="orders",
        topic="orders.commands",
        key="k",
        message_id=None,
        type="a.b",
        reason="invalid-body",
        error_type="CodecError",
        detail="a NUL that a text may not hold: \x00",
        attempts=1,
        failed_at=datetime.now(UTC),
        status=DeadLetterStatus.DEAD,
        document=b"\x00",
    )


async def test_a_fresh_batch_takes_one_round_trip_and_a_known_one_two(stores: Stores) -> None:
    async with counted(stores) as db_tx:
        receipts = await stores[INBOX].receive(db_tx, "orders", arrivals(*range(100)))
        assert {receipt.status for receipt in receipts} == {NEW}
        assert len(db_tx.statements) == 1
        await stores[INBOX].save_replies(db_tx, "orders", {str(number): b"a" for number in range(100)})
        assert len(db_tx.statements) == 2
    async with counted(stores) as db_tx:
        receipts = await stores[INBOX].receive(db_tx, "orders", arrivals(*range(50, 150)))
        assert [receipt.status for receipt in receipts] == [DUPLICATE] * 50 + [NEW] * 50
        assert len(db_tx.statements) == 2


async def test_a_saga_and_its_journal_take_one_round_trip(stores: Stores) -> None:
    entries = [JournalEntry(datetime.now(UTC), "reserve", "sent", number) for number in range(5)]
    record = saga()
    async with counted(stores) as db_tx:
        assert await stores[SAGAS].create(db_tx, record, entries)
        await stores[SAGAS].save(db_tx, record, entries)
        assert len(db_tx.statements) == 2
    assert [entry.attempt for entry in await stores[SAGAS].journal(record.id)] == [0, 1, 2, 3, 4] * 2


async def write_everything(stores: Stores, db_tx: DatabaseTransaction) -> SagaRecord:
    """Each write that belongs to a business transaction."""
    record, entry = saga(), JournalEntry(datetime.now(UTC), "reserve", "sent", 1, "détail")
    receipts = await stores[INBOX].receive(
        db_tx, "orders", [*arrivals(1, 2), replace(arrivals(3)[0], compensates="9"), *arrivals(9)]
    )
    assert [receipt.status for receipt in receipts] == [NEW, NEW, NO_EFFECT, CANCELLED]
    await stores[INBOX].save_replies(db_tx, "orders", {"1": b"\x00one", "3": b"three"})
    await stores[INBOX].defer(
        db_tx, "orders", arrivals(4)[0], b"\x00d", attempts=1, delay_seconds=0.0, reason="NUL \x00"
    )
    await stores[DEAD_LETTERS].add(db_tx, letter())
    assert await stores[SAGAS].create(db_tx, record, [entry])
    await stores[SAGAS].save(db_tx, replace(record, due_seconds=None), [replace(entry, detail="\x00")])
    assert (await stores[SAGAS].load(db_tx, record.id)).version == 2
    assert await stores[IDEMPOTENCY].claim(db_tx, "orders", "k", "f") is None
    await stores[IDEMPOTENCY].complete(db_tx, "orders", "k", StoredResponse("f", 200, "text/plain", b"\x00"))
    await stores[AUDIT].add(db_tx, AuditEntry(datetime.now(UTC), "ada", "dead-letter.discard", "1", "because"))
    return record


async def assert_everything(stores: Stores, record: SagaRecord) -> None:
    async with stores.database.begin() as db_tx:
        receipts = await stores[INBOX].receive(db_tx, "orders", arrivals(1, 2, 9, 4))
        assert [receipt.status for receipt in receipts] == [DUPLICATE, DUPLICATE, CANCELLED, BLOCKED]
        assert receipts[0].reply == b"\x00one"
        found = await stores[IDEMPOTENCY].claim(db_tx, "orders", "k", "f")
        assert found == StoredResponse("f", 200, "text/plain", b"\x00")
    (deferred,) = await stores[INBOX].deferred(None, 10)
    assert deferred.document == b"\x00d"
    assert [one.document for one in await stores[DEAD_LETTERS].find(DeadLetterFilter())] == [b"\x00"]
    assert [one.version for one in await stores[SAGAS].find(SagaFilter())] == [2]
    assert len(await stores[SAGAS].journal(record.id)) == 2
    assert len(await stores[AUDIT].find("1", 10)) == 1


@pytest.mark.parametrize("driver", ["own", "asyncpg", "psycopg", "sqlalchemy"])
async def test_every_driver_writes_the_same(stores: Stores, postgres_url: str, driver: str) -> None:
    match driver:
        case "asyncpg":
            connection = await asyncpg.connect(postgres_url)
            async with connection.transaction():
                record = await write_everything(stores, stores.database.enlist(connection))
            await connection.close()
        case "psycopg":
            async with await psycopg.AsyncConnection.connect(postgres_url) as own:
                record = await write_everything(stores, stores.database.enlist(own))
        case "sqlalchemy":
            engine = create_async_engine(postgres_url.replace("postgresql:", "postgresql+asyncpg:"))
            async with AsyncSession(engine) as session, session.begin():
                record = await write_everything(stores, stores.database.enlist(session))
            await engine.dispose()
        case _:
            async with stores.database.begin() as db_tx:
                record = await write_everything(stores, db_tx)
    await assert_everything(stores, record)


async def test_the_servers_time_rules_where_no_clock_is_given(stores: Stores) -> None:
    async with stores.database.begin() as db_tx:
        await stores[INBOX].defer(db_tx, "o", arrivals(1)[0], b"", attempts=1, delay_seconds=0.0, reason="")
        await stores[INBOX].defer(db_tx, "o", arrivals(2)[0], b"", attempts=1, delay_seconds=600.0, reason="")
        assert await stores[SAGAS].create(db_tx, saga(), [])
    assert [one.receipt_key for one in await stores[INBOX].claim_due("o", 10, 900.0)] == ["1"]
    seconds = await stores[INBOX].next_due_seconds("o")
    assert seconds == pytest.approx(600.0, abs=60.0)
    assert await stores[SAGAS].next_due_seconds() == pytest.approx(0.0, abs=60.0)
    async with stores.database.begin() as db_tx:
        assert len(await stores[SAGAS].claim_due(db_tx, 10)) == 1
    assert await stores[INBOX].prune("o", 60.0, 10) == 0


@pytest.fixture
async def planner(stores: Stores, postgres_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection that scans a table whole only where no index serves."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET enable_seqscan = off")
    yield connection
    await connection.close()


async def test_every_statement_has_its_index(
    stores: Stores, planner: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Sequence[object]] = {}
    unit_type = await _type_of_connection(stores)
    for name in ("execute", "fetch"):
        original = getattr(unit_type, name)

        async def spy(self: Any, sql: str, parameters: Sequence[object] = (), _original: Any = original) -> Any:
            sent[sql] = parameters
            return await _original(self, sql, parameters)

        monkeypatch.setattr(unit_type, name, spy)
    await _every_call(stores)
    assert len(sent) > 30
    for statement in _FILL:
        await planner.execute(statement)
    whole: list[str] = []
    for sql, parameters in sent.items():
        if re.match(r"\s*(SELECT|WITH|UPDATE|DELETE)", sql) and "freehold_" in sql:
            plan = "\n".join(row[0] for row in await planner.fetch("EXPLAIN " + sql, *parameters))
            whole += [f"{scan}: {sql}" for scan in _searches_without_index(plan)]
    assert whole == []


def _searches_without_index(plan: str) -> list[str]:
    """Scans of large tables that look at rows one by one: with a filter, and no condition that an index answers."""
    scans = [node for node in re.split(r"->|^", plan) if re.search(r" on (\w+)", node)]
    # Nearly all dead letters are dead: listing them goes down the order by time until there are enough.
    searches = [node for node in scans if "freehold_dead_letter_newest" not in node]
    large = [node for node in searches if any(f" on {table}" in node for table in _LARGE)]
    return [node.split("  (")[0] for node in large if "Filter:" in node and " Cond:" not in node]


_SERIES = "FROM generate_series(1000, 9000) AS g"
_FILL = (
    f"INSERT INTO freehold_inbox SELECT 'c' || g % 9, g::text, false, NULL, now() - g * interval '1 s' {_SERIES}",
    (
        "INSERT INTO freehold_dead_letter SELECT gen_random_uuid(), 'inbound', 'c' || g % 99, 't', 'k', NULL, 't' || g,"
        " 'r' || g % 9, 'E', '', 1, now() - g * interval '1 s', 'dead', '', NULL, NULL,"
        f" CASE WHEN g % 9 = 0 THEN now() - g * interval '1 s' END {_SERIES}"
    ),
    (
        "INSERT INTO freehold_saga SELECT gen_random_uuid(), 'd' || g % 9, 1, g::text, gen_random_uuid(), 'completed',"
        f" 1, '', NULL, now() + g * interval '1 s', now() - g * interval '1 s', now() - g * interval '1 s' {_SERIES}"
    ),
    (
        "INSERT INTO freehold_saga_journal (saga_id, at, step, what, attempt, detail)"
        " SELECT id, now(), '', '', 1, '' FROM freehold_saga"
    ),
    (
        "INSERT INTO freehold_idempotency SELECT 's' || g % 9, g::text, 'f', 200, 't', '',"
        f" now() - g * interval '1 s' {_SERIES}"
    ),
    "ANALYZE",
)
_LARGE = {"freehold_inbox", "freehold_dead_letter", "freehold_saga", "freehold_saga_journal", "freehold_idempotency"}


async def _type_of_connection(stores: Stores) -> type:
    async with stores.database.begin() as db_tx:
        return type(sql_of(db_tx))


async def _every_call(stores: Stores) -> None:
    kept = letter()
    async with stores.database.begin() as db_tx:
        record = await write_everything(stores, db_tx)
        await stores[DEAD_LETTERS].add(db_tx, kept)
        await stores[DEAD_LETTERS].get(db_tx, kept.id)
        await stores[DEAD_LETTERS].edit(db_tx, kept.id, b"e")
        await stores[DEAD_LETTERS].mark(db_tx, kept.id, DeadLetterStatus.DISCARDED, None)
        await stores[SAGAS].claim_due(db_tx, 1)
    await assert_everything(stores, record)
    for wanted in (DeadLetterFilter(), DeadLetterFilter(status=None), DeadLetterFilter(consumer="a", type="b")):
        await stores[DEAD_LETTERS].find(wanted)
    for sought in (SagaFilter(), SagaFilter(key="k"), SagaFilter(definition="d", status=SagaStatus.RUNNING)):
        await stores[SAGAS].find(sought)
    await stores[DEAD_LETTERS].count()
    await stores[INBOX].prune("orders", 60.0, 10)
    for store in (stores[DEAD_LETTERS], stores[SAGAS], stores[IDEMPOTENCY]):
        await store.prune(60.0, 10)
    await stores[SAGAS].next_due_seconds()
    (claimed,) = await stores[INBOX].claim_due("orders", 1, 60.0)
    await stores[INBOX].reschedule(claimed, 1.0, "later")
    await stores[INBOX].next_due_seconds("orders")
