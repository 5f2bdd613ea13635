"""The projection of the events that the overview has stored into the read model of a customer's 360.

A batch writes each order's row once. Imports Freehold's projections, the tables and the contracts of users,
orders and notifications.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from freehold import DecodedEvent, KeyLookup, Projection, ProjectionContext
from freehold_shop.notifications.contracts import NotificationSent
from freehold_shop.orders.contracts import OrderPlaced
from freehold_shop.overview.order_state import COLUMNS, ORDER_EVENTS, Facts, facts_of
from freehold_shop.overview.tables import customer_notification, customer_order, customer_profile
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

__all__ = ["customer_360", "customer_stream", "merge", "order_stream"]

_RISING: Final = frozenset({"standing", "hold"})
_KEEP_PROFILE: Final = """
INSERT INTO {profile} AS known (customer_id, name, email, country, revision) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (customer_id) DO UPDATE SET
    name = excluded.name, email = excluded.email, country = excluded.country, revision = excluded.revision
WHERE known.revision < excluded.revision"""
_ORDERS_KNOWN: Final = "SELECT order_id FROM customer_order WHERE customer_id = $1"
_NOTIFIED: Final = "INSERT INTO {notification} (order_id, template) VALUES ($1, $2) ON CONFLICT DO NOTHING"


def _keep_order() -> str:
    """The upsert of an order: null changes no column, and a column of `_RISING` only increases."""
    updates = [
        f"{name} = CASE WHEN excluded.{name} > known.{name} THEN excluded.{name} ELSE known.{name} END"
        if name in _RISING
        else f"{name} = coalesce(excluded.{name}, known.{name})"
        for name in COLUMNS
    ]
    places = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 2))
    return (
        f"INSERT INTO {{order}} AS known (order_id, {', '.join(COLUMNS)}) VALUES ({places})"  # noqa: S608 - our names
        f" ON CONFLICT (order_id) DO UPDATE SET {', '.join(updates)}"
    )


_KEEP_ORDER: Final = _keep_order()


def customer_stream(customer_id: str) -> str:
    """The stream of the events about a customer."""
    return f"customer-{customer_id}"


def order_stream(order_id: str) -> str:
    """The stream of the events about an order."""
    return f"order-{order_id}"


async def orders_of_customer(stream: str, lookup: KeyLookup) -> Collection[str]:
    """The streams of a customer's orders, found by `OrderPlaced` and by the rows of the read model."""
    category, _, customer_id = stream.partition("-")
    if category != "customer":
        return ()
    placed = {event.order_id async for event, _ in lookup.events(OrderPlaced) if event.customer_id == customer_id}
    known = {order_id for (order_id,) in await lookup.sql.fetch(_ORDERS_KNOWN, (customer_id,))}
    return {order_stream(each) for each in placed | known}


customer_360 = Projection(
    "customer-360",
    tables=(customer_profile, customer_order, customer_notification),
    categories={"customer", "order"},
    partitions=4,
    key_columns={
        "customer_profile": {"customer": "customer_id"},
        "customer_order": {"order": "order_id"},
        "customer_notification": {"order": "order_id"},
    },
    key_streams=orders_of_customer,
)


@customer_360.on_batch(CustomerRegistered, UserUpdated, NotificationSent, *ORDER_EVENTS)
async def write_overview(batch: Sequence[DecodedEvent], write: ProjectionContext) -> None:
    """Write the changes of a batch."""
    profiles: list[tuple[object, ...]] = []
    notified: list[tuple[object, ...]] = []
    orders: dict[str, Facts] = {}
    for event, _ in batch:
        match event:
            case CustomerRegistered() | UserUpdated():
                profiles.append((event.customer_id, event.name, event.email, event.country, event.revision))
            case NotificationSent(order_id, template):
                notified.append((order_id, template))
            case _:
                merge(orders.setdefault(event.order_id, {"standing": 0, "hold": 0}), facts_of(event))
    if profiles:
        await write.sql.execute_many(_KEEP_PROFILE.format(profile=write.name(customer_profile)), profiles)
    if orders:
        rows = [(order_id, *(facts.get(name) for name in COLUMNS)) for order_id, facts in sorted(orders.items())]
        await write.sql.execute_many(_KEEP_ORDER.format(order=write.name(customer_order)), rows)
    if notified:
        await write.sql.execute_many(_NOTIFIED.format(notification=write.name(customer_notification)), notified)


def merge(known: Facts, new: Facts) -> None:
    """Add the columns that an event writes to the known ones, in place."""
    for name, value in new.items():
        before = known.get(name)
        if name in _RISING and isinstance(value, int) and isinstance(before, int):
            known[name] = max(int(value), before)
        elif value is not None:
            known[name] = value
