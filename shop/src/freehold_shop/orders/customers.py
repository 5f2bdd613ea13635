"""The customers of orders: their local copy, and how it is filled when an event has not come yet.

Imports Freehold's transaction, and the shop's calls and copies.
"""

from __future__ import annotations

from freehold.transaction import Transaction
from freehold_shop.calls import fetch
from freehold_shop.copies import find_customer_copy, keep_customer
from freehold_shop.problems import Problem
from freehold_shop.users.contracts import CustomerRegistered

__all__ = ["ensure_customer"]


async def ensure_customer(tx: Transaction, customer_id: str) -> None:
    """Return when there is a copy of the customer. Nobody is called where it is here already.

    Raises `Problem` for a customer that does not exist, `ServiceUnavailable` where users cannot be asked just now.
    """
    if await find_customer_copy(tx.sql, customer_id) is not None:
        return
    customer = await fetch("users", f"/customers/{customer_id}", CustomerRegistered)
    if customer is None:
        raise Problem(422, "unknown-customer", "the customer has to be registered first")
    await keep_customer(tx.sql, customer)
