"""Registering and changing customers, in the caller's transaction. Imports the tables and contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import select, update

from freehold.transaction import Transaction
from freehold_shop.upsert import insert_missing
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated
from freehold_shop.users.tables import customer

__all__ = ["CustomerData", "change", "register"]


@dataclass(frozen=True, slots=True)
class CustomerData:
    """The data of a customer. `country` is an ISO 3166 code."""

    customer_id: str
    name: str
    email: str
    country: str
    address: str


async def register(tx: Transaction, wanted: Sequence[CustomerData]) -> list[str]:
    """Register those that are not registered yet, and publish them; returns their ids. The others do not change."""
    if not wanted:
        return []
    by_id = {each.customer_id: each for each in wanted}
    rows = [{**asdict(by_id[customer_id]), "revision": 1} for customer_id in sorted(by_id)]
    new_ids = sorted(await insert_missing(tx.connection, customer, rows))
    for customer_id in new_ids:
        tx.publish(CustomerRegistered(**asdict(by_id[customer_id]), revision=1))
    return new_ids


async def change(tx: Transaction, wanted: CustomerData) -> bool:
    """Change a customer's data, and publish the change. False: there is no such customer."""
    changed = await tx.connection.execute(
        update(customer)
        .where(customer.c.customer_id == wanted.customer_id)
        .values(
            name=wanted.name,
            email=wanted.email,
            country=wanted.country,
            address=wanted.address,
            revision=customer.c.revision + 1,
        )
    )
    if not changed.rowcount:
        return False
    # The row stays locked until the commit, so this reads what was just written.
    found = await tx.connection.execute(select(customer.c.revision).where(customer.c.customer_id == wanted.customer_id))
    tx.publish(UserUpdated(**asdict(wanted), revision=found.scalar_one()))
    return True
