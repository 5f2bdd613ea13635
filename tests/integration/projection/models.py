"""A service with a read model of its own events, for the tests; `python -m` with a database's URL runs its projections;
with a number behind it, until it has handled so many events.

`account` folds deposits: its balance, how many events it was made of, and the version of the last one, so that a lost,
repeated or reordered event shows. `entry` has a row for each event, under the event's position.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from tests.integration.projection.dying import Doom

from freehold import Retry, RunningService, Service, Settings, event, run
from freehold.eventstore.store import EVENTS, Append, NewEvent, RecordedEvent
from freehold.ids import new_id
from freehold.messages import encode_body
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.store import CHECKPOINTS

__all__ = ["Deposited", "Noted", "ReadModel", "append", "caught_up", "read_model", "rows", "settings_for", "until"]


@event("bank.deposited", key="account")
class Deposited:
    account: str
    amount: int


@event("bank.noted", key="account")
class Noted:
    account: str
    text: str


_ON_CONFLICT = """\
INSERT INTO {} AS a (account, balance, events, version) VALUES ($1, $2, 1, $3)
ON CONFLICT (account) DO UPDATE SET balance = a.balance + excluded.balance, events = a.events + 1,
    version = CASE WHEN a.version < excluded.version THEN excluded.version ELSE -1 END"""
_ON_DUPLICATE_KEY = """\
INSERT INTO {} (account, balance, events, version) VALUES ($1, $2, 1, $3)
ON DUPLICATE KEY UPDATE balance = balance + VALUES(balance), events = events + 1,
    version = CASE WHEN version < VALUES(version) THEN VALUES(version) ELSE -1 END"""


@dataclass(frozen=True)
class ReadModel:
    """A service that keeps it, and its tables."""

    service: Service
    projection: Projection
    accounts: sa.Table
    entries: sa.Table


def read_model(
    *, batch: bool = False, poison: AbstractSet[int] = frozenset(), doom: Doom | None = None, **options: Any
) -> ReadModel:
    """Declare it again. Deposits of an amount in `poison` fail for as long as it stands there."""
    metadata = sa.MetaData()
    accounts = sa.Table(
        "account",
        metadata,
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    entries = sa.Table(
        "entry",
        metadata,
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
    )
    options.setdefault("retry", Retry(attempts=3, delay_seconds=0.05))
    projection = Projection("accounts", tables=(accounts, entries), categories={"account"}, **options)

    async def deposited(event: Deposited, recorded: RecordedEvent, write: ProjectionContext) -> None:
        if event.amount in poison:
            raise ValueError("planned")
        if doom is not None:
            doom.handled()
        upsert = _ON_DUPLICATE_KEY if write.connection.dialect.name == "mariadb" else _ON_CONFLICT
        await write.sql.execute(upsert.format(write.name(accounts)), (event.account, event.amount, recorded.version))
        await write.connection.execute(
            write.table(entries).insert().values(position=recorded.position, account=event.account, amount=event.amount)
        )

    if batch:

        @projection.on_batch(Deposited)
        async def all_deposited(batch: Sequence[tuple[Any, RecordedEvent]], write: ProjectionContext) -> None:
            for each, recorded in batch:
                await deposited(each, recorded, write)

    else:

        @projection.on(Deposited)
        async def one_deposited(event: Deposited, write: ProjectionContext) -> None:
            await deposited(event, write.recorded, write)

    service = Service("bank")
    service.projects(projection)
    return ReadModel(service, projection, accounts, entries)


def settings_for(database: str, **options: Any) -> Settings:
    """Settings with short leases: a test does not wait long for a take-over."""
    options = {"lease_seconds": 1.5, "poll_seconds": 0.2} | options
    return Settings.load("bank", environ={}, database=database, broker="memory://", **options)


async def append(running: RunningService, account: str, *amounts: int) -> None:
    """Deposit, an event each, in a transaction of their own."""
    events = [
        NewEvent(new_id(), "bank.deposited", 1, encode_body(Deposited(account, amount)), new_id(), 1)
        for amount in amounts
    ]
    await running.stores[EVENTS].append_now([Append(f"account-{account}", events)])


async def until(what: Callable[[], Awaitable[object]], seconds: float = 90.0) -> None:
    """Wait for something that can only be looked at from outside."""
    async with asyncio.timeout(seconds):
        while not await what():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


async def rows(running: RunningService, table: sa.Table) -> list[Any]:
    """What readers see of a table, by its key."""
    async with running.transaction() as tx:
        return [tuple(row) for row in await tx.connection.execute(sa.select(table).order_by(*table.primary_key))]


async def caught_up(running: RunningService, model: ReadModel) -> bool:
    """Whether every checkpoint stands at the head."""
    head = await running.stores[EVENTS].high_water_mark()
    checkpoints = await running.stores[CHECKPOINTS].checkpoints(model.projection.name)
    return bool(checkpoints) and all(each.position >= head for each in checkpoints)


if __name__ == "__main__":
    model = read_model(batch_limit=20, doom=Doom(int(sys.argv[2]) if len(sys.argv) > 2 else 0))
    asyncio.run(
        run(
            model.service,
            settings={"bank": settings_for(sys.argv[1])},
            on_ready=lambda _: print("ready", flush=True),  # noqa: T201 - tells the test
        )
    )
