"""What is simulated: events that are counted in order, and checkouts with commands, calls and compensations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from freehold import Rejected, Retry, Saga, Service, Transaction, command, event
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DeadLetterFilter
from freehold.errors import Unavailable
from freehold.ids import derive_id
from freehold.saga import SAGAS, CallContext, SagaStatus, call, step
from freehold.testing import Scenario, World

__all__ = ["Checkouts", "Counting", "persistent"]

_KEYS: Final = ("a", "b", "c")
_NUMBERS: Final = 12
_ORDERS: Final = 12
_REQUEST_SECONDS: Final = 0.4
_PATIENT: Final = Retry(attempts=14, delay_seconds=0.1)


async def persistent(world: World, service: str, work: Any) -> None:
    """Do work that may be done twice, as often as its outcome is not known."""
    while True:
        try:
            await world.transact(service, work)
        except Unavailable:
            world.sometimes("a client does not know the outcome")
            await world.sleep(0.5)
        else:
            return


async def no_dead_letters(world: World, *services: str) -> None:
    """No message waits for a person."""
    for service in services:
        letters = await DeadLetterActions(world.running(service).context).find(DeadLetterFilter())
        assert not letters, f"{service} has dead letters: {[(each.type, each.reason, each.detail) for each in letters]}"


@event("source.counted", key="name")
class Counted:
    """A number of a key."""

    name: str
    number: int


class Counting(Scenario):
    """Each number of a key arrives once, after the one before it; some of them are sent at a time."""

    seconds = 40.0

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, int]] = Counter()

    def services(self) -> Sequence[Service]:
        source, target = Service("source"), Service("target", retry=_PATIENT)

        @target.handles(Counted)
        async def counted(message: Counted, tx: Transaction) -> None:
            self.calls[message.name, message.number] += 1
            tx.connection[message.name] = [*tx.connection.get(message.name, []), message.number]

        return [source, target]

    async def work(self, world: World) -> None:
        for number in range(_NUMBERS):
            for name in _KEYS:
                await persistent(world, "source", lambda tx, name=name, number=number: _count(tx, name, number))
            await world.sleep(world.draw.uniform(0.0, 4.0))

    async def check(self, world: World) -> None:
        world.sometimes("a handler was called again", max(self.calls.values()) > 1)
        world.sometimes("a process crashed", world.restarts)
        await no_dead_letters(world, "target")
        async with world.running("target").transaction() as tx:
            for name in _KEYS:
                found = tx.connection.get(name, [])
                assert found == list(range(_NUMBERS)), f"{name}: {found}"


async def _count(tx: Transaction, name: str, number: int) -> None:
    if (name, number) not in tx.connection:
        tx.connection[name, number] = 1
        tx.publish(Counted(name, number))


@command("stock.reserve", key="order")
class Reserve:
    """Take one piece out of the stock."""

    order: str


@command("stock.release", key="order")
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
            Service("shop", retry=_PATIENT),
            Service("stock", retry=_PATIENT),
            Service("parcels", retry=_PATIENT),
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
        await no_dead_letters(world, "shop", "stock", "parcels")
        world.sometimes("a payment was asked for twice", max(self.requests.values(), default=0) > 1)
        stock, parcels = await _rows(world, "stock"), await _rows(world, "parcels")
        paid, refunded = Counter(self.payments.values()), Counter(self.refunds.values())
        for number in range(_ORDERS):
            order = f"order-{number}"
            record = await self._record(world, order)
            held = (stock.get(order, 0), paid[order] - refunded[order], parcels.get(order, 0))
            wanted = {SagaStatus.COMPLETED: (1, 1, 1), SagaStatus.COMPENSATED: (0, 0, 0)}.get(record)
            world.sometimes(f"a checkout is {record.value}")
            assert held == wanted, f"{order} is {record.value} and has {held}"

    async def _record(self, world: World, order: str) -> SagaStatus:
        running = world.running("shop")
        async with running.stores.database.begin() as db_tx:
            return (await running.stores[SAGAS].load(db_tx, derive_id("checkout", order))).status


async def _rows(world: World, service: str) -> dict[str, int]:
    async with world.running(service).transaction() as tx:
        return dict(tx.connection)
