"""Replicas of what another service owns: customers and countries, for the services that need them.

A replica is written by events, and from an API response where an event has not come yet. Both carry the revision of
the source, and the older one changes nothing. Each service puts the tables into its own database. Imports SQLAlchemy
and the contracts of users and reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import SqlConnection
from freehold.transaction import Transaction
from freehold_shop.columns import BY_CODE_POINT
from freehold_shop.reference.contracts import CountryDefined
from freehold_shop.upsert import DIALECTS, upsert_sql
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

__all__ = [
    "COMPARED_SECONDS",
    "COUNTRY_COPY_DDL",
    "COUNTRY_COPY_MARIADB",
    "CUSTOMER_COPY_DDL",
    "CUSTOMER_COPY_MARIADB",
    "CustomerCopy",
    "CustomerFacts",
    "country_copy_table",
    "customer_copy_table",
    "find_customer_copy",
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


CUSTOMER_COPY_MARIADB = f"""CREATE TABLE IF NOT EXISTS customer_copy (
        customer_id VARCHAR(255) PRIMARY KEY,
        name TEXT NOT NULL,
        email TEXT NOT NULL,
        country TEXT NOT NULL,
        address TEXT NOT NULL,
        revision BIGINT NOT NULL
    ) {BY_CODE_POINT}"""

COUNTRY_COPY_MARIADB = f"""CREATE TABLE IF NOT EXISTS country_copy (
        code VARCHAR(255) PRIMARY KEY,
        name TEXT NOT NULL,
        currency TEXT NOT NULL
    ) {BY_CODE_POINT}"""

COMPARED_SECONDS = 900.0
"""How often replicas are compared with their source. Drift is reported; an operator repairs it by command."""

_FACTS = ("name", "email", "country", "address", "revision")
_KEEP_CUSTOMER = {
    dialect: upsert_sql(
        dialect,
        "customer_copy",
        ("customer_id", *_FACTS),
        "customer_id",
        {name: f"new.{name}" for name in _FACTS},
        where="old.revision < new.revision",
    )
    for dialect in DIALECTS
}
_KEEP_COUNTRY = {
    dialect: upsert_sql(
        dialect,
        "country_copy",
        ("code", "name", "currency"),
        "code",
        {"name": "new.name", "currency": "new.currency"},
    )
    for dialect in DIALECTS
}
_FIND_CUSTOMER = "SELECT country, address FROM customer_copy WHERE customer_id = $1"

CustomerFacts = CustomerRegistered | UserUpdated
"""The content of a replica: the events of users. The API's response has the fields of `CustomerRegistered`."""


@dataclass(frozen=True, slots=True)
class CustomerCopy:
    """Where a customer lives, by this service's replica."""

    country: str
    address: str


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


async def keep_customer(tx: Transaction, facts: CustomerFacts) -> None:
    """Write the replica's row, unless the stored one has the same revision or a newer one."""
    values = (facts.customer_id, facts.name, facts.email, facts.country, facts.address, facts.revision)
    await tx.sql.execute(_KEEP_CUSTOMER[tx.connection.dialect.name], values)


async def find_customer_copy(sql: SqlConnection, customer_id: str) -> CustomerCopy | None:
    """The replica's row, or None."""
    rows = await sql.fetch(_FIND_CUSTOMER, (customer_id,))
    return CustomerCopy(*rows[0]) if rows else None


async def keep_country(tx: Transaction, event: CountryDefined) -> None:
    """Write the replica's row of a country. The last event wins, since the events of a key come in order."""
    statement = _KEEP_COUNTRY[tx.connection.dialect.name]
    await tx.sql.execute(statement, (event.code, event.name, event.currency))
