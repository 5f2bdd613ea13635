"""The reference service: at its start it inserts and publishes the countries and currencies that are missing.

Imports Freehold, the country data and its own modules.
"""

from __future__ import annotations

from freehold import Service
from freehold.runtime import RunningService
from freehold.transaction import Transaction
from freehold_shop.reference.contracts import COUNTRIES as COUNTRY_DATASET
from freehold_shop.reference.contracts import CountryDefined, CurrencyDefined
from freehold_shop.reference.tables import MIGRATIONS, country, currency
from freehold_shop.retail.countries import COUNTRIES, CURRENCIES
from freehold_shop.upsert import insert_missing

__all__ = ["define_all", "reference", "seed"]

reference = Service("reference", migrations=MIGRATIONS)
reference.publishes_dataset(COUNTRY_DATASET, table="country")


async def seed(running: RunningService) -> None:
    """Define what is missing: everything at the first start, nothing later; once, also with several instances."""
    await running.transact(define_all)


async def define_all(tx: Transaction) -> None:
    """Insert and publish the countries and currencies that are missing."""
    currencies = {each.code: each for each in CURRENCIES}
    rows = [{"code": each.code, "name": each.name, "minor_digits": each.minor_digits} for each in CURRENCIES]
    for code in sorted(await insert_missing(tx.connection, currency, rows)):
        tx.publish(CurrencyDefined(code, currencies[code].name, currencies[code].minor_digits))
    countries = {each.code: each for each in COUNTRIES}
    rows = [{"code": each.code, "name": each.name, "currency": each.currency} for each in COUNTRIES]
    for code in sorted(await insert_missing(tx.connection, country, rows)):
        tx.publish(CountryDefined(code, countries[code].name, countries[code].currency))
