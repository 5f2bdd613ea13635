"""Tables of the users' database. Imports SQLAlchemy, Freehold's migrations and the copies."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT
from freehold_shop.copies import COUNTRY_COPY_DDL, COUNTRY_COPY_MARIADB, country_copy_table

__all__ = ["MIGRATIONS", "country_copy", "customer", "metadata"]

metadata = MetaData()

country_copy = country_copy_table(metadata)

customer = Table(
    "customer",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("name", Text),
    Column("email", Text),
    Column("country", Text),
    Column("address", Text),
    Column("revision", BigInteger),
)

MIGRATIONS = (
    Migration(
        "001-users",
        {
            "": (
                COUNTRY_COPY_DDL,
                """CREATE TABLE customer (
                    customer_id TEXT PRIMARY KEY,
                    name TEXT NOT NULL,
                    email TEXT NOT NULL,
                    country TEXT NOT NULL,
                    address TEXT NOT NULL,
                    revision BIGINT NOT NULL
                )""",
            ),
            "mariadb": (
                COUNTRY_COPY_MARIADB,
                f"""CREATE TABLE IF NOT EXISTS customer (
                    customer_id VARCHAR(255) PRIMARY KEY,
                    name TEXT NOT NULL,
                    email TEXT NOT NULL,
                    country TEXT NOT NULL,
                    address TEXT NOT NULL,
                    revision BIGINT NOT NULL
                ) {BY_CODE_POINT}""",
            ),
        },
    ),
)
