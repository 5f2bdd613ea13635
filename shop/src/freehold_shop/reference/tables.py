"""Tables of the reference database. Imports SQLAlchemy and Freehold's migrations."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT

__all__ = ["MIGRATIONS", "country", "currency", "metadata"]

metadata = MetaData()

country = Table(
    "country",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text),
    Column("currency", Text),
)

currency = Table(
    "currency",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text),
    Column("minor_digits", BigInteger),
)

MIGRATIONS = (
    Migration(
        "001-reference",
        {
            "": (
                "CREATE TABLE country (code TEXT PRIMARY KEY, name TEXT NOT NULL, currency TEXT NOT NULL)",
                "CREATE TABLE currency (code TEXT PRIMARY KEY, name TEXT NOT NULL, minor_digits BIGINT NOT NULL)",
            ),
            "mariadb": (
                f"""CREATE TABLE IF NOT EXISTS country (
                    code VARCHAR(255) PRIMARY KEY,
                    name TEXT NOT NULL,
                    currency TEXT NOT NULL
                ) {BY_CODE_POINT}""",
                f"""CREATE TABLE IF NOT EXISTS currency (
                    code VARCHAR(255) PRIMARY KEY,
                    name TEXT NOT NULL,
                    minor_digits BIGINT NOT NULL
                ) {BY_CODE_POINT}""",
            ),
        },
    ),
)
