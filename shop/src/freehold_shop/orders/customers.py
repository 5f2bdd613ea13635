"""The replica of customers in orders, and how a row is fetched when its event has not come yet.

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
    """Make sure that the replica has the customer: ask users where it does not.

    Raises `Problem` for a customer that does not exist, `ServiceUnavailable` where users does not answer.
    """
    if await find_customer_copy(tx.sql, customer_id) is not None:
        return
    customer = await fetch("users", f"/customers/{customer_id}", CustomerRegistered)
    if customer is None:
        raise Problem(422, "unknown-customer", "the customer must be registered first")
    await keep_customer(tx, customer)
