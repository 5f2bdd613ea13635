"""The cost of keeping a read model up to date, beside two loops written by hand on the same events in the same run.

The read model sums amounts by account, of a thousand; a page of 500 events touches half of them.

- The *bare loop* is the floor: one connection of the driver, a page of positions and bodies of one type by position,
  msgspec, one statement for the sums of the page, and the position saved in the same transaction. It skips events that
  commit out of order, reads one version of the event, and only one instance of it may run.
- The *loop by hand over the reader* does the same with pages of Freehold's event store, which skip no event.
- `on_batch` is a projection with that one statement a page, `on` one that runs a statement for each event: with leases,
  partitions, checkpoints by compare-and-set, upcasting and parking. The time of its start does not count.

All alternate.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median
from typing import Any

import msgspec
import sqlalchemy as sa
from benchmarks.byhand import SqliteByHand
from benchmarks.figures import Figure

from freehold import DecodedEvent, Projection, ProjectionContext, RunningService, Service, Settings, event, new_id
from freehold.eventstore import EVENTS, Append, EventFilter, NewEvent
from freehold.messages import encode_body
from freehold.projection import CHECKPOINTS
from freehold.sql import sql_of

__all__ = ["figures"]

EVENT_COUNT = 20_000
BATCH = 500
TURNS = 3
_ACCOUNTS = 1000
_PAGE = (
    "SELECT position, data FROM freehold_event WHERE type = $2 AND position + 0 > $1 ORDER BY position + 0"
    f" LIMIT {BATCH}"
)


@event("bench.deposited", key="account")
class Deposited:
    """Money was deposited."""

    account: str
    amount: int


def _table(name: str) -> sa.Table:
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("balance", sa.BigInteger, nullable=False),
    )


def _adds(name: str, dialect: str) -> str:
    rows = (
        "SELECT * FROM unnest($1::text[], $2::bigint[])"
        if dialect == "postgresql"
        else "SELECT value ->> 0, value ->> 1 FROM json_each($1) WHERE true"
    )
    return (
        f"INSERT INTO {name} AS t (account, balance) {rows}"
        " ON CONFLICT (account) DO UPDATE SET balance = t.balance + excluded.balance"
    )


def _parameters(sums: dict[str, int], dialect: str) -> Sequence[object]:
    if dialect == "postgresql":
        return list(sums), list(sums.values())
    return (msgspec.json.encode(list(sums.items())).decode(),)


def _summed(events: Sequence[Deposited]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in events:
        sums[each.account] = sums.get(each.account, 0) + each.amount
    return sums


async def _bare(url: str, name: str) -> float:
    """Events a second of the bare loop."""
    dialect = url.partition("://")[0]
    statement, decode = _adds(name, dialect), msgspec.json.Decoder(Deposited).decode
    tables = (
        f"CREATE TABLE {name} (account text PRIMARY KEY, balance bigint NOT NULL)",
        f"CREATE TABLE {name}_position AS SELECT CAST(0 AS bigint) AS position",
    )
    if dialect == "sqlite":
        async with SqliteByHand(url.removeprefix("sqlite:///")) as sqlite:
            for table in tables:
                await sqlite.save(table, [()])
            return await sqlite.work(lambda connection: _bare_in_sqlite(connection, name, statement, decode))
    import asyncpg

    connection = await asyncpg.connect(url)
    for table in tables:
        await connection.execute(table)
    after, count, begun = 0, 0, time.monotonic()
    while rows := await connection.fetch(_PAGE, after, "bench.deposited"):
        sums = _summed([decode(data) for _, data in rows])
        after = rows[-1][0]
        async with connection.transaction():
            await connection.execute(statement, *_parameters(sums, dialect))
            await connection.execute(f"UPDATE {name}_position SET position = $1", after)
        count += len(rows)
    rate = count / (time.monotonic() - begun)
    await connection.close()
    return rate


def _bare_in_sqlite(connection: sqlite3.Connection, name: str, statement: str, decode: Any) -> float:
    after, count, begun = 0, 0, time.monotonic()
    page = _PAGE.replace("position + 0", "position").replace("$", "?")
    while rows := connection.execute(page, (after, "bench.deposited")).fetchall():
        sums = _summed([decode(data) for _, data in rows])
        after = rows[-1][0]
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(statement.replace("$", "?"), _parameters(sums, "sqlite"))
        connection.execute(f"UPDATE {name}_position SET position = ?", (after,))
        connection.execute("COMMIT")
        count += len(rows)
    return count / (time.monotonic() - begun)


async def _by_hand(running: RunningService, dialect: str, name: str) -> float:
    """Events a second of the loop over our reader."""
    decode = msgspec.json.Decoder(Deposited).decode
    async with running.transaction() as tx:
        await tx.sql.execute(f"CREATE TABLE {name} (account text PRIMARY KEY, balance bigint NOT NULL)")
        await tx.sql.execute(f"CREATE TABLE {name}_position AS SELECT CAST(0 AS bigint) AS position")
    wanted, after, count, begun = EventFilter(types=frozenset({"bench.deposited"})), 0, 0, time.monotonic()
    while count < EVENT_COUNT:
        page = await running.stores[EVENTS].read_all(after, limit=BATCH, event_filter=wanted)
        sums = _summed([decode(each.event.data) for each in page.events])
        async with running.stores.database.begin() as db_tx:
            sql = sql_of(db_tx)
            await sql.execute(_adds(name, dialect), _parameters(sums, dialect))
            await sql.execute(f"UPDATE {name}_position SET position = $1", (page.end_position,))
        after, count = page.end_position, count + len(page.events)
    return count / (time.monotonic() - begun)


def _projection(table: sa.Table, dialect: str, *, batch: bool) -> Projection:
    projection = Projection(table.name.replace("_", "-"), tables=(table,), batch_limit=BATCH)
    if batch:

        @projection.on_batch(Deposited)
        async def all_deposited(work: Sequence[DecodedEvent], write: ProjectionContext) -> None:
            sums = _summed([deposited for deposited, _ in work])
            await write.sql.execute(_adds(write.name(table), dialect), _parameters(sums, dialect))

    else:

        @projection.on(Deposited)
        async def one_deposited(deposited: Deposited, write: ProjectionContext) -> None:
            await write.sql.execute(
                f"INSERT INTO {write.name(table)} AS t (account, balance) VALUES ($1, $2)"
                " ON CONFLICT (account) DO UPDATE SET balance = t.balance + excluded.balance",
                (deposited.account, deposited.amount),
            )

    return projection


async def _projected(settings: Settings, projection: Projection, seconds_max: float) -> float:
    """Events a second of a projection, from its first batch to its last, or to the time limit."""
    service = Service("bench")
    service.projects(projection)
    begun, before = 0.0, 0
    async with RunningService(service, settings, roles=("projections",)) as running:
        while True:
            found = await running.stores[CHECKPOINTS].checkpoints(projection.name)
            handled = sum(each.handled for each in found)
            if handled and not before:
                begun, before = time.monotonic(), handled
            elif before and (handled >= EVENT_COUNT or time.monotonic() - begun > seconds_max):
                return (handled - before) / (time.monotonic() - begun)
            await asyncio.sleep(0.01)  # a checkpoint sends no signal


async def _fill(running: RunningService) -> None:
    for first in range(0, EVENT_COUNT, BATCH):
        appends = [
            Append(f"account-{number % _ACCOUNTS}", [NewEvent(new_id(), "bench.deposited", 1, data, new_id(), 1)])
            for number in range(first, first + BATCH)
            if (data := encode_body(Deposited(f"a{number % _ACCOUNTS}", number)))
        ]
        await running.stores[EVENTS].append_now(appends)


async def figures(url: str, seconds: float) -> AsyncIterator[Figure]:
    """Events a second of each way, beside the bare loop; a round of `on` takes `seconds` at most."""
    dialect = url.partition("://")[0]
    settings = Settings.load("bench", environ={}, database=url, broker="memory://")
    bare, by_hand, batched, single = [], [], [], []
    async with RunningService(Service("bench"), settings, roles=()) as running:
        await _fill(running)
        for turn in range(TURNS):
            bare.append(await _bare(url, f"bare_{turn}"))
            by_hand.append(await _by_hand(running, dialect, f"by_hand_{turn}"))
            table = _table(f"in_batches_{'abc'[turn]}")
            batched.append(await _projected(settings, _projection(table, dialect, batch=True), 60.0))
            table = _table(f"one_by_one_{'abc'[turn]}")
            single.append(await _projected(settings, _projection(table, dialect, batch=False), seconds))
    floor = median(bare)
    yield Figure("events, on_batch; by hand, the bare loop", median(batched), "/s", floor)
    yield Figure("  the loop by hand over the reader", median(by_hand), "/s", floor)
    yield Figure("  on_batch; by hand, the loop over the reader", median(batched), "/s", median(by_hand))
    yield Figure("  on, a statement for each event", median(single), "/s", floor)
