"""A service that rebuilds a read model of many events, as a process: `python -m … URL VERSION EVENTS WITHIN`.

Version 1 and 2 write the same; a process of version 2 rebuilds what version 1 left, switches, and says so; or kills
itself when it has handled so many events, before it has handled `WITHIN` more.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from tests.integration.projection.dying import Doom

from freehold import RunningService, Service, Settings, event
from freehold.eventstore.store import EVENTS, Append, NewEvent, RecordedEvent
from freehold.ids import new_id
from freehold.messages import encode_body
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.store import CHECKPOINTS, GenerationState

__all__ = ["Paid", "append_history", "cold_fold", "declared", "main", "settings_for"]

_APPEND = 500
_ON_CONFLICT = """INSERT INTO {} AS p (customer, cents, payments, chain)
    VALUES ($1, CAST($2 AS bigint), 1, CAST($2 AS bigint) % 1000003)
    ON CONFLICT (customer) DO UPDATE SET cents = p.cents + excluded.cents, payments = p.payments + 1,
    chain = (p.chain * 31 + excluded.cents) % 1000003"""
_ON_DUPLICATE_KEY = """INSERT INTO {} (customer, cents, payments, chain) VALUES ($1, $2, 1, $2 % 1000003)
    ON DUPLICATE KEY UPDATE chain = (chain * 31 + VALUES(cents)) % 1000003, payments = payments + 1,
    cents = cents + VALUES(cents)"""


@event("shopkeeper.paid", key="customer")
class Paid:
    customer: str
    cents: int


def declared(version: int, doom: Doom | None = None) -> tuple[Service, sa.Table]:
    """Each customer's sum, how many payments, and a chain over them in order that no other order gives."""
    table = sa.Table(
        "payments_of",
        sa.MetaData(),
        sa.Column("customer", sa.Text, primary_key=True),
        sa.Column("cents", sa.BigInteger, nullable=False),
        sa.Column("payments", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.BigInteger, nullable=False),
    )
    projection = Projection("payments-of", version=version, tables=(table,), categories={"customer"}, batch_limit=250)

    @projection.on_batch(Paid)
    async def paid(batch: Sequence[tuple[Any, RecordedEvent]], write: ProjectionContext) -> None:
        upsert = _ON_DUPLICATE_KEY if write.connection.dialect.name == "mariadb" else _ON_CONFLICT
        await write.sql.execute_many(
            upsert.format(write.name(table)), [(each.customer, each.cents) for each, _ in batch]
        )
        if doom is not None:
            doom.handled(len(batch))

    service = Service("shopkeeper")
    service.projects(projection)
    return service, table


def settings_for(database: str) -> Settings:
    """Short leases: the next process takes over soon."""
    return Settings.load(
        "shopkeeper", environ={}, database=database, broker="memory://", lease_seconds=0.6, poll_seconds=0.1
    )


async def append_history(running: RunningService, events: int, seed: int) -> list[tuple[str, int]]:
    """Append so many events of some hundred customers; returns them in order of position."""
    draw = random.Random(seed)
    history: list[tuple[str, int]] = []
    while len(history) < events:
        appends: dict[str, list[NewEvent]] = {}
        for _ in range(min(_APPEND, events - len(history))):
            customer, cents = f"c{draw.randrange(300)}", draw.randrange(1, 100_000)
            body = encode_body(Paid(customer, cents))
            appends.setdefault(customer, []).append(NewEvent(new_id(), "shopkeeper.paid", 1, body, new_id(), 1))
            history.append((customer, cents))
        await running.stores[EVENTS].append_now(
            [Append(f"customer-{customer}", made) for customer, made in appends.items()]
        )
    return history


def cold_fold(history: list[tuple[str, int]]) -> dict[str, tuple[int, int, int]]:
    """The read model in plain Python."""
    found: dict[str, tuple[int, int, int]] = {}
    for customer, cents in history:
        if customer not in found:
            found[customer] = (cents, 1, cents % 1000003)
        else:
            total, payments, chain = found[customer]
            found[customer] = (total + cents, payments + 1, (chain * 31 + cents) % 1000003)
    return found


async def main(url: str, version: int, dies_after: int, within: int) -> None:
    service, _ = declared(version, Doom(dies_after, within))
    async with RunningService(service, settings_for(url), roles=["projections"]) as running:
        print("running", flush=True)  # noqa: T201 - tells the test
        while True:
            found = await running.stores[CHECKPOINTS].generations("payments-of")
            if any(each.version == version and each.state is GenerationState.LIVE for each in found):
                break
            await asyncio.sleep(0.05)  # it may kill itself meanwhile
        print("switched", flush=True)  # noqa: T201 - tells the test


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
