"""Tables of shipping's database. Imports SQLAlchemy, Freehold's migrations and the copies."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT
from freehold_shop.copies import CUSTOMER_COPY_DDL, CUSTOMER_COPY_MARIADB, customer_copy_table

__all__ = ["MIGRATIONS", "customer_copy", "metadata", "shipment"]

metadata = MetaData()

customer_copy = customer_copy_table(metadata)

shipment = Table(
    "shipment",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("shipment_id", Text),
    Column("customer_id", Text),
    Column("status", Text),
    Column("country", Text),
    Column("address", Text),
    Column("changed_at_ms", BigInteger),
)

MIGRATIONS = (
    Migration(
        "001-shipping",
        {
            "": (
                CUSTOMER_COPY_DDL,
                """CREATE TABLE shipment (
                    order_id TEXT PRIMARY KEY,
                    shipment_id TEXT NOT NULL UNIQUE,
                    customer_id TEXT NOT NULL,
                    status TEXT NOT NULL,
                    country TEXT NOT NULL,
                    address TEXT NOT NULL,
                    changed_at_ms BIGINT NOT NULL
                )""",
            ),
            "mariadb": (
                CUSTOMER_COPY_MARIADB,
                f"""CREATE TABLE IF NOT EXISTS shipment (
                    order_id VARCHAR(255) PRIMARY KEY,
                    shipment_id VARCHAR(255) NOT NULL UNIQUE,
                    customer_id TEXT NOT NULL,
                    status VARCHAR(255) NOT NULL,
                    country TEXT NOT NULL,
                    address TEXT NOT NULL,
                    changed_at_ms BIGINT NOT NULL
                ) {BY_CODE_POINT}""",
            ),
        },
    ),
)
