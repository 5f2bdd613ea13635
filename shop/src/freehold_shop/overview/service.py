"""The overview: stores the other services' events about customers and orders, and projects a read model from them.

Each event is stored as received, in a stream of its order or customer, so the read model can be rebuilt without a call
to another service. Imports Freehold, its own modules and the contracts of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold import Service
from freehold.transaction import Transaction
from freehold_shop.notifications.contracts import NotificationSent
from freehold_shop.overview.order_state import ORDER_EVENTS, OrderEvent
from freehold_shop.overview.projection import customer_360, customer_stream, order_stream
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

__all__ = ["overview"]

_OF_CUSTOMERS: Sequence[type[Any]] = (CustomerRegistered, UserUpdated)
_OF_ORDERS: Sequence[type[Any]] = (*ORDER_EVENTS, NotificationSent)

overview = Service("overview")
overview.projects(customer_360)


async def keep_of_customer(event: CustomerRegistered | UserUpdated, tx: Transaction) -> None:
    """Store an event about a customer."""
    tx.keep(customer_stream(event.customer_id))


async def keep_of_order(event: OrderEvent | NotificationSent, tx: Transaction) -> None:
    """Store an event about an order."""
    tx.keep(order_stream(event.order_id))


for message in _OF_CUSTOMERS:
    overview.handles(message)(keep_of_customer)
for message in _OF_ORDERS:
    overview.handles(message)(keep_of_order)
