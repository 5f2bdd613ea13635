"""Registering and changing customers, in the caller's transaction. Imports the tables and contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import update

from freehold.transaction import Transaction
from freehold_shop.upsert import insert_into
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
    ordered = [by_id[customer_id] for customer_id in sorted(by_id)]
    registered = await tx.connection.execute(
        insert_into(customer, tx.connection).on_conflict_do_nothing().returning(customer.c.customer_id),
        [{**asdict(each), "revision": 1} for each in ordered],
    )
    new_ids = list(registered.scalars())
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
        .returning(customer.c.revision)
    )
    revision = changed.scalar_one_or_none()
    if revision is None:
        return False
    tx.publish(UserUpdated(**asdict(wanted), revision=revision))
    return True
