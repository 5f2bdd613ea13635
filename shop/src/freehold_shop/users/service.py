"""The users service: owns the customers, and replicates the countries, against which it checks them.

Imports Freehold, its own modules and the contracts of reference.
"""

from __future__ import annotations

from freehold import Service
from freehold.transaction import Transaction
from freehold_shop.copies import COMPARED_SECONDS, keep_country
from freehold_shop.reference.contracts import COUNTRIES, CountryDefined
from freehold_shop.users.contracts import CUSTOMERS
from freehold_shop.users.tables import MIGRATIONS

__all__ = ["users"]

users = Service("users", migrations=MIGRATIONS)
users.publishes_dataset(CUSTOMERS, table="customer")
users.replicates(COUNTRIES, table="country_copy", every_seconds=COMPARED_SECONDS)


@users.handles(CountryDefined)
async def copy_country(event: CountryDefined, tx: Transaction) -> None:
    """Write the country into the replica."""
    await keep_country(tx, event)
