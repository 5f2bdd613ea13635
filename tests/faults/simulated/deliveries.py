"""Deliveries: a choreography over two services, in which a scheduled message is the deadline of each order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from tests.faults.simulated.clients import PATIENT, RARE_POLLS, no_dead_letters, persistent, rows

from freehold import Service, Transaction, command, event
from freehold.testing import Scenario, World

__all__ = ["Deliveries"]

_ORDERS: Final = 10
_DEADLINE_SECONDS: Final = 4.0
_REMINDER_SECONDS: Final = 6.0


@event("buyers.ordered", key="order")
class Ordered:
    """Somebody wants something; some orders are forgotten by the packers."""

    order: str
    forgotten: bool


@event("buyers.cancelled", key="order")
class Cancelled:
    """The order's deadline has passed."""

    order: str


@event("packers.packed", key="order")
class Packed:
    """A parcel is ready."""

    order: str


@command("buyers.expire", key="order")
class Expire:
    """The deadline of an order."""

    order: str


@command("buyers.remind", key="order")
class Remind:
    """Remind the buyer, once."""

    order: str


class Deliveries(Scenario):
    """Each order is confirmed and has a parcel, or is cancelled and has none; each buyer is reminded once."""

    seconds = 35.0
    instances: Mapping[str, int] = {"buyers": 3}
    settings: Mapping[str, Any] = RARE_POLLS

    def services(self) -> Sequence[Service]:
        buyers, packers = Service("buyers", retry=PATIENT), Service("packers", retry=PATIENT)
        _buyers(buyers)
        _packers(packers)
        return [buyers, packers]

    async def work(self, world: World) -> None:
        for number in range(_ORDERS):
            order, forgotten = f"order-{number}", world.draw.random() < 0.3

            async def place(tx: Transaction, order: str = order, forgotten: bool = forgotten) -> None:
                if ("status", order) not in tx.connection:
                    tx.connection["status", order] = "placed"
                    tx.publish(Ordered(order, forgotten))
                    timer = tx.schedule(Expire(order), delay_seconds=_DEADLINE_SECONDS)
                    tx.connection["timer", order] = str(timer)
                    tx.schedule(Remind(order), delay_seconds=_REMINDER_SECONDS)

            await persistent(world, "buyers", place)
            await world.sleep(world.draw.uniform(0.0, 3.0))
        await world.sleep(_REMINDER_SECONDS)  # what is not due yet is not in progress

    async def check(self, world: World) -> None:
        await no_dead_letters(world, "buyers", "packers")
        own, parcels = await rows(world, "buyers"), await rows(world, "packers")
        for order in (f"order-{number}" for number in range(_ORDERS)):
            status, expired = own["status", order], own.get(("expired", order), 0)
            world.sometimes(f"an order is {status}")
            world.sometimes("a deadline came after the parcel", status == "confirmed" and expired)
            world.sometimes("a parcel came after the deadline", own.get(("too-late", order)))
            held = parcels.get(("parcel", order), 0)
            assert (status, held) in {("confirmed", 1), ("cancelled", 0)}, f"{order} is {status}, parcels: {held}"
            assert expired <= 1, f"the deadline of {order} came {expired} times"
            reminders = own.get(("reminded", order), 0)
            assert reminders == 1, f"{reminders} reminders of {order}"


def _buyers(buyers: Service) -> None:
    @buyers.handles(Packed)
    async def packed(message: Packed, tx: Transaction) -> None:
        if tx.connection["status", message.order] == "placed":
            tx.connection["status", message.order] = "confirmed"
            await tx.cancel(UUID(tx.connection["timer", message.order]))
        else:
            tx.connection["too-late", message.order] = 1

    @buyers.handles(Expire)
    async def expire(message: Expire, tx: Transaction) -> None:
        _count(tx, "expired", message.order)
        if tx.connection["status", message.order] == "placed":
            tx.connection["status", message.order] = "cancelled"
            tx.publish(Cancelled(message.order))

    @buyers.handles(Remind)
    async def remind(message: Remind, tx: Transaction) -> None:
        _count(tx, "reminded", message.order)


def _packers(packers: Service) -> None:
    @packers.handles(Ordered)
    async def ordered(message: Ordered, tx: Transaction) -> None:
        if not message.forgotten:
            _count(tx, "parcel", message.order)
            tx.publish(Packed(message.order))

    @packers.handles(Cancelled)
    async def cancelled(message: Cancelled, tx: Transaction) -> None:
        # After `Ordered`, which has the same key.
        if tx.connection.get(("parcel", message.order)):
            _count(tx, "parcel", message.order, -1)


def _count(tx: Transaction, what: str, order: str, number: int = 1) -> None:
    tx.connection[what, order] = tx.connection.get((what, order), 0) + number
