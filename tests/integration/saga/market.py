"""Five services in one process, to be killed: a checkout saga, and participants that note in a table what holds.

python -m tests.integration.saga.market DIRECTORY ORDERS
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from tests.unit.saga.shapes import Capture, Checkout, Hold, Notify, Order, Release, Reserve, Ship, Unship, Void

from freehold.broker import BrokerOptions
from freehold.ids import derive_id
from freehold.inbox.reply import Rejected
from freehold.migrations import Migration
from freehold.runtime import RunningService
from freehold.saga.store import SAGAS, TERMINAL_STATUSES
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction

TABLE = Migration("001-effect", {"": ["CREATE TABLE effect (order_id text NOT NULL, what text NOT NULL)"]})
orders = Service("orders")
orders.orchestrates(Checkout)
inventory = Service("inventory", migrations=[TABLE])
payments = Service("payments", migrations=[TABLE])
shipping = Service("shipping", migrations=[TABLE])
notifications = Service("notifications", migrations=[TABLE])
SERVICES = (orders, inventory, payments, shipping, notifications)


def does(service: Service, command: type[Any], what: str) -> None:
    @service.handles(command)
    async def handle(message: Any, tx: Transaction) -> object:
        if what == "ship" and int(message.order_id) % 4 == 0:
            return Rejected("undeliverable")
        await tx.connection.execute(
            text("INSERT INTO effect (order_id, what) VALUES (:order_id, :what)"),
            {"order_id": message.order_id, "what": what},
        )
        return None


def undoes(service: Service, command: type[Any], what: str) -> None:
    @service.handles(command)
    async def handle(message: Any, tx: Transaction) -> None:
        await tx.connection.execute(
            text("DELETE FROM effect WHERE order_id = :order_id AND what = :what"),
            {"order_id": message.order_id, "what": what},
        )


@dataclass(frozen=True, slots=True)
class Held:
    hold_id: str


@payments.handles(Hold)
async def hold(message: Hold, tx: Transaction) -> Held:
    await tx.connection.execute(
        text("INSERT INTO effect (order_id, what) VALUES (:order_id, 'hold')"), {"order_id": message.order_id}
    )
    return Held(f"hold-{message.order_id}")


does(inventory, Reserve, "reserve")
undoes(inventory, Release, "reserve")
undoes(payments, Void, "hold")
does(payments, Capture, "capture")
does(shipping, Ship, "ship")
undoes(shipping, Unship, "ship")
does(notifications, Notify, "notify")


def saga_id(number: int) -> UUID:
    return derive_id("market", number)


async def main(directory: Path, number_of_orders: int) -> None:
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(RunningService(s, settings(s, directory))) for s in SERVICES]
        front = running[0]
        for number in range(number_of_orders):
            async with front.transaction() as tx:
                await front.sagas.start(tx, Checkout, Order(str(number)), saga_id=saga_id(number))
        while sum(await _ended(front)) < number_of_orders:
            await front.context.clock.sleep(0.1)


async def _ended(front: RunningService) -> list[int]:
    counts = await front.stores[SAGAS].count()
    return [number for (_, status), number in counts.items() if status in TERMINAL_STATUSES]


def settings(service: Service, directory: Path) -> Settings:
    return Settings(
        service=service.name,
        database=f"sqlite:///{directory}/{service.name}.db",
        broker=f"embedded:///{directory}/broker.db",
        lease_seconds=2.0,
        broker_options=BrokerOptions(lease_seconds=2.0),
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
