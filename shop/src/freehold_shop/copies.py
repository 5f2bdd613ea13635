"""Local copies of what another service owns: customers and countries, for the services that need them.

A copy is written by events, and by an API call where an event has not come yet. Both carry the revision of the source,
so whichever is older changes nothing. Each service puts the tables into its own database. Imports SQLAlchemy and the
contracts of users and reference.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Select, Table, Text, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold_shop.reference.contracts import CountryDefined
from freehold_shop.upsert import insert_into
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

__all__ = [
    "COUNTRY_COPY_DDL",
    "CUSTOMER_COPY_DDL",
    "CustomerFacts",
    "country_copy_table",
    "customer_copy_table",
    "find_customer_copy",
    "has_country",
    "keep_country",
    "keep_customer",
]

CUSTOMER_COPY_DDL = """CREATE TABLE customer_copy (
    customer_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    country TEXT NOT NULL,
    address TEXT NOT NULL,
    revision BIGINT NOT NULL
)"""

COUNTRY_COPY_DDL = """CREATE TABLE country_copy (
    code TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    currency TEXT NOT NULL
)"""


CustomerFacts = CustomerRegistered | UserUpdated
"""What a copy holds: the events of users; the API's answer has the fields of `CustomerRegistered`."""


def customer_copy_table(metadata: MetaData) -> Table:
    """The table of `CUSTOMER_COPY_DDL`, for a service's own metadata."""
    return Table(
        "customer_copy",
        metadata,
        Column("customer_id", Text, primary_key=True),
        Column("name", Text),
        Column("email", Text),
        Column("country", Text),
        Column("address", Text),
        Column("revision", BigInteger),
    )


def country_copy_table(metadata: MetaData) -> Table:
    """The table of `COUNTRY_COPY_DDL`, for a service's own metadata."""
    return Table(
        "country_copy",
        metadata,
        Column("code", Text, primary_key=True),
        Column("name", Text),
        Column("currency", Text),
    )


async def keep_customer(connection: AsyncConnection, table: Table, facts: CustomerFacts) -> None:
    """Write the copy, unless the one that is there is as new or newer."""
    statement = insert_into(table, connection)
    statement = statement.on_conflict_do_update(
        index_elements=[table.c.customer_id],
        set_={name: statement.excluded[name] for name in ("name", "email", "country", "address", "revision")},
        where=table.c.revision < statement.excluded.revision,
    )
    await connection.execute(
        statement,
        {
            "customer_id": facts.customer_id,
            "name": facts.name,
            "email": facts.email,
            "country": facts.country,
            "address": facts.address,
            "revision": facts.revision,
        },
    )


async def find_customer_copy(connection: AsyncConnection, table: Table, customer_id: str) -> Any | None:
    """The copy as a row, or None."""
    return (await connection.execute(_find(table), {"wanted_customer_id": customer_id})).one_or_none()


@cache
def _find(table: Table) -> Select[Any]:
    return select(table).where(table.c.customer_id == bindparam("wanted_customer_id"))


async def keep_country(connection: AsyncConnection, table: Table, event: CountryDefined) -> None:
    """Write the copy of a country; the last word counts, a key's events come in order."""
    statement = insert_into(table, connection)
    statement = statement.on_conflict_do_update(
        index_elements=[table.c.code],
        set_={"name": statement.excluded.name, "currency": statement.excluded.currency},
    )
    await connection.execute(statement, {"code": event.code, "name": event.name, "currency": event.currency})


async def has_country(connection: AsyncConnection, table: Table, code: str) -> bool:
    """Whether the country is known here."""
    return (await connection.execute(select(table.c.code).where(table.c.code == code))).first() is not None
