"""Replicas of what another service owns: customers and countries, for the services that need them.

A replica is written by events, and from an API response where an event has not come yet. Both carry the revision of
the source, and the older one changes nothing. Each service puts the tables into its own database. Imports SQLAlchemy
and the contracts of users and reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold import SqlConnection
from freehold.transaction import Transaction
from freehold_shop.reference.contracts import CountryDefined
from freehold_shop.upsert import is_mariadb, upsert_into
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

__all__ = [
    "COMPARED_SECONDS",
    "COUNTRY_COPY_DDL",
    "CUSTOMER_COPY_DDL",
    "MARIADB_COPIES_DDL",
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


MARIADB_COPIES_DDL = (
    """CREATE TABLE IF NOT EXISTS customer_copy (
        customer_id VARCHAR(255) PRIMARY KEY,
        name TEXT NOT NULL,
        email TEXT NOT NULL,
        country TEXT NOT NULL,
        address TEXT NOT NULL,
        revision BIGINT NOT NULL
    ) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin""",
    """CREATE TABLE IF NOT EXISTS country_copy (
        code VARCHAR(255) PRIMARY KEY,
        name TEXT NOT NULL,
        currency TEXT NOT NULL
    ) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin""",
)
"""Both tables on MariaDB, where each statement commits and is repeated after a crash."""


COMPARED_SECONDS = 900.0
"""How often replicas are compared with their source. Drift is reported; an operator repairs it by command."""

_KEEP_CUSTOMER = """
INSERT INTO customer_copy (customer_id, name, email, country, address, revision)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (customer_id) DO UPDATE SET
    name = excluded.name, email = excluded.email, country = excluded.country, address = excluded.address,
    revision = excluded.revision
WHERE customer_copy.revision < excluded.revision"""
_KEEP_CUSTOMER_MARIADB = """
INSERT INTO customer_copy (customer_id, name, email, country, address, revision)
VALUES ($1, $2, $3, $4, $5, $6)
ON DUPLICATE KEY UPDATE
    name = IF(revision < VALUES(revision), VALUES(name), name),
    email = IF(revision < VALUES(revision), VALUES(email), email),
    country = IF(revision < VALUES(revision), VALUES(country), country),
    address = IF(revision < VALUES(revision), VALUES(address), address),
    revision = GREATEST(revision, VALUES(revision))"""
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
    statement = _KEEP_CUSTOMER_MARIADB if is_mariadb(tx.connection) else _KEEP_CUSTOMER
    await tx.sql.execute(statement, values)


async def find_customer_copy(sql: SqlConnection, customer_id: str) -> CustomerCopy | None:
    """The replica's row, or None."""
    rows = await sql.fetch(_FIND_CUSTOMER, (customer_id,))
    return CustomerCopy(*rows[0]) if rows else None


async def keep_country(connection: AsyncConnection, table: Table, event: CountryDefined) -> None:
    """Write the replica's row of a country. The last event wins, since the events of a key come in order."""
    statement = upsert_into(table, connection, ("name", "currency"))
    await connection.execute(statement, {"code": event.code, "name": event.name, "currency": event.currency})
