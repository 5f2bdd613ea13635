"""Tables of the notifications' database. Imports SQLAlchemy and Freehold's migrations."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT

__all__ = ["MIGRATIONS", "metadata", "notification"]

metadata = MetaData()

notification = Table(
    "notification",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("template", Text, primary_key=True),
    Column("customer_id", Text),
    Column("email_id", Text),  # the provider's
    Column("sent_at_ms", BigInteger),
)

MIGRATIONS = (
    Migration(
        "001-notifications",
        {
            "": (
                """CREATE TABLE notification (
                    order_id TEXT NOT NULL,
                    template TEXT NOT NULL,
                    customer_id TEXT NOT NULL,
                    email_id TEXT NOT NULL,
                    sent_at_ms BIGINT NOT NULL,
                    PRIMARY KEY (order_id, template)
                )""",
            ),
            "mariadb": (
                f"""CREATE TABLE IF NOT EXISTS notification (
                    order_id VARCHAR(255) NOT NULL,
                    template VARCHAR(255) NOT NULL,
                    customer_id TEXT NOT NULL,
                    email_id TEXT NOT NULL,
                    sent_at_ms BIGINT NOT NULL,
                    PRIMARY KEY (order_id, template)
                ) {BY_CODE_POINT}""",
            ),
        },
    ),
)
