"""A service with a read model, a materialized view and an event that fails, for the command line to work on."""

from __future__ import annotations

import os

import sqlalchemy as sa

from freehold import Retry, RunningService, Service, event
from freehold.eventstore.store import EVENTS, Append, NewEvent
from freehold.ids import new_id
from freehold.messages import encode_body
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.store import CHECKPOINTS, GenerationState
from freehold.projection.view_store import MaterializedView

ledger = Service("ledger")
balance = sa.Table(
    "balance",
    sa.MetaData(),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("cents", sa.BigInteger, nullable=False),
    sa.Column("bookings", sa.Integer, nullable=False),
)
balances = Projection(
    "balances",
    version=int(os.environ.get("LEDGER_VERSION", "1")),
    tables=(balance,),
    categories={"account"},
    partitions=2,
    retry=Retry(attempts=1),
    key_columns={"balance": "account"},
)
mended: list[bool] = []


@event("ledger.booked", key="account")
class Booked:
    account: str
    cents: int


@balances.on(Booked)
async def booked(event: Booked, write: ProjectionContext) -> None:
    if event.cents < 0 and not mended:
        raise ValueError("planned")
    await write.sql.execute(
        f"INSERT INTO {write.name(balance)} AS b (account, cents, bookings) VALUES ($1, $2, 1)"
        " ON CONFLICT (account) DO UPDATE SET cents = b.cents + excluded.cents, bookings = b.bookings + 1",
        (event.account, event.cents),
    )


ledger.projects(balances)
ledger.views(
    MaterializedView("totals", "SELECT count(*) AS accounts, 1 AS one FROM balance", key=("one",), refresh_seconds=600)
)


async def book(running: RunningService, account: str, *cents: int) -> None:
    events = [NewEvent(new_id(), "ledger.booked", 1, encode_body(Booked(account, each)), new_id(), 1) for each in cents]
    await running.stores[EVENTS].append_now([Append(f"account-{account}", events)])


async def is_up_to_date(running: RunningService) -> bool:
    head = await running.stores[EVENTS].high_water_mark()
    found = [
        each
        for each in await running.stores[CHECKPOINTS].checkpoints("balances")
        if each.state is not GenerationState.RETIRED
    ]
    return bool(found) and all(each.position >= head for each in found)
