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
from freehold_shop.upsert import DIALECTS, upsert_sql
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

__all__ = ["customer_360", "customer_stream", "merge", "order_stream"]

_RISING: Final = frozenset({"standing", "hold"})
_FACTS: Final = ("name", "email", "country", "revision")
_KEEP_PROFILE: Final = {
    dialect: upsert_sql(
        dialect,
        "{profile}",
        ("customer_id", *_FACTS),
        "customer_id",
        {name: f"new.{name}" for name in _FACTS},
        where="old.revision < new.revision",
    )
    for dialect in DIALECTS
}
_ORDERS_KNOWN: Final = "SELECT order_id FROM customer_order WHERE customer_id = $1"
_NOTIFIED: Final = {
    dialect: upsert_sql(dialect, "{notification}", ("order_id", "template"), "order_id, template", {})
    for dialect in DIALECTS
}


def _kept(name: str) -> str:
    """What an order's column becomes: null changes no column, and a column of `_RISING` only increases."""
    if name in _RISING:
        return f"CASE WHEN new.{name} > old.{name} THEN new.{name} ELSE old.{name} END"
    return f"coalesce(new.{name}, old.{name})"


_KEEP_ORDER: Final = {
    dialect: upsert_sql(dialect, "{order}", ("order_id", *COLUMNS), "order_id", {name: _kept(name) for name in COLUMNS})
    for dialect in DIALECTS
}


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
    dialect = write.connection.dialect.name
    if profiles:
        await write.sql.execute_many(_KEEP_PROFILE[dialect].format(profile=write.name(customer_profile)), profiles)
    if orders:
        rows = [(order_id, *(facts.get(name) for name in COLUMNS)) for order_id, facts in sorted(orders.items())]
        await write.sql.execute_many(_KEEP_ORDER[dialect].format(order=write.name(customer_order)), rows)
    if notified:
        await write.sql.execute_many(
            _NOTIFIED[dialect].format(notification=write.name(customer_notification)), notified
        )


def merge(known: Facts, new: Facts) -> None:
    """Add the columns that an event writes to the known ones, in place."""
    for name, value in new.items():
        before = known.get(name)
        if name in _RISING and isinstance(value, int) and isinstance(before, int):
            known[name] = max(int(value), before)
        elif value is not None:
            known[name] = value
