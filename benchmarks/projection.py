"""What keeping a read model up to date costs, beside a loop written by hand on the same events in the same run.

    python -m benchmarks.projection                                    SQLite, and PostgreSQL of its own
    python -m benchmarks.projection postgresql://user@host/database    an empty database
    python -m benchmarks.projection sqlite:////tmp/bench.db

The read model sums amounts by account. Each way begins at the first event: the loop by hand reads pages of 500, decodes
with msgspec, writes one statement a page and saves its position in the same transaction; `on_batch` does the same as a
projection; `on` calls a handler, and runs a statement, for each event. What projections take to start does not count.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from freehold import RunningService, Service, Settings, event
from freehold.eventstore.store import Append, EventFilter, NewEvent
from freehold.ids import new_id
from freehold.messages import encode_body
from freehold.projection.declaration import Applied, Projection, ProjectionWrite
from freehold_shop.servers import start_postgres

__all__ = ["measure"]

EVENTS = 50_000
BATCH = 500
_ACCOUNTS = 1000


@event("bench.deposited", key="account")
class Deposited:
    """Money came in."""

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


async def _by_hand(running: RunningService, dialect: str) -> float:
    decoder = msgspec.json.Decoder(Deposited)
    async with running.transaction() as tx:
        await tx.sql.execute("CREATE TABLE by_hand (account text PRIMARY KEY, balance bigint NOT NULL)")
        await tx.sql.execute("CREATE TABLE by_hand_position (position bigint NOT NULL)")
        await tx.sql.execute("INSERT INTO by_hand_position VALUES (0)")
    wanted, after, count, begun = EventFilter(types=frozenset({"bench.deposited"})), 0, 0, time.monotonic()
    while count < EVENTS:
        page = await running.stores.events.read_all(after, limit=BATCH, wanted=wanted)
        sums = _summed([decoder.decode(each.event.data) for each in page.events])
        async with running.stores.database.begin() as unit:
            sql: Any = unit
            await sql.sql.execute(_adds("by_hand", dialect), _parameters(sums, dialect))
            await sql.sql.execute("UPDATE by_hand_position SET position = $1", (page.through,))
        after, count = page.through, count + len(page.events)
    return EVENTS / (time.monotonic() - begun)


def _projection(table: sa.Table, dialect: str, *, batch: bool) -> Projection:
    projection = Projection(table.name.replace("_", "-"), tables=(table,), batch_limit=BATCH)
    if batch:

        @projection.on_batch(Deposited)
        async def all_deposited(work: Sequence[Applied], write: ProjectionWrite) -> None:
            sums = _summed([deposited for deposited, _ in work])
            await write.sql.execute(_adds(write.name(table), dialect), _parameters(sums, dialect))

    else:

        @projection.on(Deposited)
        async def one_deposited(deposited: Deposited, write: ProjectionWrite) -> None:
            await write.sql.execute(
                f"INSERT INTO {write.name(table)} AS t (account, balance) VALUES ($1, $2)"
                " ON CONFLICT (account) DO UPDATE SET balance = t.balance + excluded.balance",
                (deposited.account, deposited.amount),
            )

    return projection


async def _projected(settings: Settings, projection: Projection) -> float:
    service = Service("bench")
    service.projects(projection)
    begun, before = 0.0, 0
    async with RunningService(service, settings, roles=("projections",)) as running:
        while True:
            found = await running.stores.checkpoints.checkpoints(projection.name)
            handled = sum(each.handled for each in found)
            if handled and not before:
                begun, before = time.monotonic(), handled
            if handled >= EVENTS:
                return (EVENTS - before) / (time.monotonic() - begun)
            await asyncio.sleep(0.01)


async def measure(url: str) -> None:
    """Print a line for each way."""
    dialect = url.partition("://")[0]
    settings = Settings.load("bench", environ={}, database=url, broker="memory://")
    async with RunningService(Service("bench"), settings, roles=()) as running:
        for first in range(0, EVENTS, BATCH):
            appends = [
                Append(f"account-{number}", [NewEvent(new_id(), "bench.deposited", 1, data, new_id(), 1)])
                for number in range(first, first + BATCH)
                if (data := encode_body(Deposited(f"a{number % _ACCOUNTS}", number)))
            ]
            await running.stores.events.append_alone(appends)
        floor = await _by_hand(running, dialect)
    print(f"{dialect}: {EVENTS:,} events, batches of {BATCH}")
    print(f"  a loop by hand, one statement a batch   {floor:10,.0f}/s")
    for name, batch in (("on_batch, one statement a batch", True), ("on, one statement an event", False)):
        rate = await _projected(
            settings, _projection(_table("in_batches" if batch else "one_by_one"), dialect, batch=batch)
        )
        print(f"  {name:<39} {rate:10,.0f}/s  {rate / floor:.2f} of it")


def main() -> None:
    """Measure what is asked for, or both engines."""
    if len(sys.argv) > 1:
        asyncio.run(measure(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        asyncio.run(measure(f"sqlite:///{directory}/bench.db"))
        with start_postgres(directory / "postgres") as server:
            asyncio.run(measure(server.url))


if __name__ == "__main__":
    main()
