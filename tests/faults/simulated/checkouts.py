"""Checkouts over three services: commands, a call of a provider, compensations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.simulated.clients import PATIENT, RARE_POLLS, no_dead_letters, persistent, rows, saga_status

from freehold import Rejected, Saga, Service, Transaction, command
from freehold.ids import derive_id
from freehold.saga import CallContext, SagaStatus, call, step
from freehold.testing import Scenario, World

__all__ = ["Checkouts"]

_ORDERS: Final = 12
_REQUEST_SECONDS: Final = 0.4


@command("shelves.reserve", key="order")
class Reserve:
    """Take one piece out of the stock."""

    order: str


@command("shelves.release", key="order")
class Release:
    """Put it back."""

    order: str


@command("parcels.ship", key="order")
class Ship:
    """Send it; some addresses are refused."""

    order: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Purchase:
    """The state of a checkout."""

    order: str
    refused: bool


class Checkouts(Scenario):
    """Every order ends: with a piece reserved, one payment and one parcel, or with none of them."""

    seconds = 40.0
    settings: Mapping[str, Any] = RARE_POLLS

    def __init__(self) -> None:
        # At the provider, which no crash of ours undoes: what was paid, by idempotency key.
        self.payments: dict[str, str] = {}
        self.refunds: dict[str, str] = {}
        self.requests: Counter[str] = Counter()

    def services(self) -> Sequence[Service]:
        async def charge(state: Purchase, context: CallContext) -> None:
            self.requests[context.idempotency_key] += 1
            await asyncio.sleep(_REQUEST_SECONDS)
            self.payments[context.idempotency_key] = state.order
            await asyncio.sleep(_REQUEST_SECONDS)

        async def refund(state: Purchase, context: CallContext) -> None:
            await asyncio.sleep(_REQUEST_SECONDS)
            self.refunds[context.idempotency_key] = state.order
            await asyncio.sleep(_REQUEST_SECONDS)

        class Checkout(Saga[Purchase], name="shop.checkout", version=1, key="order"):
            reserve = step(Reserve, compensation=Release, timeout_seconds=20.0)
            pay = call(charge, compensation=refund, after=reserve, timeout_seconds=10.0)
            ship = step(Ship, no_compensation=True, after=pay, timeout_seconds=20.0)

        shop, stock, parcels = (
            Service("shop", retry=PATIENT),
            Service("shelves", retry=PATIENT),
            Service("parcels", retry=PATIENT),
        )
        shop.orchestrates(Checkout)
        self.checkout = Checkout

        @stock.handles(Reserve)
        async def reserve(message: Reserve, tx: Transaction) -> None:
            tx.connection[message.order] = tx.connection.get(message.order, 0) + 1

        @stock.handles(Release)
        async def release(message: Release, tx: Transaction) -> None:
            tx.connection[message.order] = tx.connection.get(message.order, 0) - 1

        @parcels.handles(Ship)
        async def ship(message: Ship, tx: Transaction) -> object:
            if message.refused:
                return Rejected("no-such-address")
            tx.connection[message.order] = tx.connection.get(message.order, 0) + 1
            return None

        return [shop, stock, parcels]

    async def work(self, world: World) -> None:
        for number in range(_ORDERS):
            purchase = Purchase(f"order-{number}", world.draw.random() < 0.3)

            async def start(tx: Transaction, purchase: Purchase = purchase) -> None:
                if purchase.order not in tx.connection:
                    tx.connection[purchase.order] = 1
                    await self.checkout.start(tx, purchase, saga_id=derive_id("checkout", purchase.order))

            await persistent(world, "shop", start)
            await world.sleep(world.draw.uniform(0.0, 3.0))

    async def check(self, world: World) -> None:
        await no_dead_letters(world, "shop", "shelves", "parcels")
        world.sometimes("a payment was asked for twice", max(self.requests.values(), default=0) > 1)
        stock, parcels = await rows(world, "shelves"), await rows(world, "parcels")
        paid, refunded = Counter(self.payments.values()), Counter(self.refunds.values())
        for number in range(_ORDERS):
            order = f"order-{number}"
            record = await saga_status(world, "shop", derive_id("checkout", order))
            held = (stock.get(order, 0), paid[order] - refunded[order], parcels.get(order, 0))
            wanted = {SagaStatus.COMPLETED: (1, 1, 1), SagaStatus.COMPENSATED: (0, 0, 0)}.get(record)
            world.sometimes(f"a checkout is {record.value}")
            assert held == wanted, f"{order} is {record.value} and has {held}"
