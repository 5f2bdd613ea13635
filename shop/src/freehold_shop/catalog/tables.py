"""Tables of the catalog's database. Imports SQLAlchemy and Freehold's migrations."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT

__all__ = ["MIGRATIONS", "metadata", "product"]

metadata = MetaData()

product = Table(
    "product",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("description", Text),
    Column("price_pence", BigInteger),
    Column("currency", Text),
    Column("revision", BigInteger),
)

MIGRATIONS = (
    Migration(
        "001-catalog",
        {
            "": (
                """CREATE TABLE product (
                    sku TEXT PRIMARY KEY,
                    description TEXT NOT NULL,
                    price_pence BIGINT NOT NULL CHECK (price_pence > 0),
                    currency TEXT NOT NULL,
                    revision BIGINT NOT NULL
                )""",
            ),
            "mariadb": (
                f"""CREATE TABLE IF NOT EXISTS product (
                    sku VARCHAR(255) PRIMARY KEY,
                    description TEXT NOT NULL,
                    price_pence BIGINT NOT NULL CHECK (price_pence > 0),
                    currency TEXT NOT NULL,
                    revision BIGINT NOT NULL
                ) {BY_CODE_POINT}""",
            ),
        },
    ),
)
