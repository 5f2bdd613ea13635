"""Tables of the orders' database. Imports SQLAlchemy, Freehold's migrations and the copies.

`orders`, `order_return` and `order_summary` are read models: projections make and fill them from the orders' events.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT, Key
from freehold_shop.copies import (
    COUNTRY_COPY_DDL,
    COUNTRY_COPY_MARIADB,
    CUSTOMER_COPY_DDL,
    CUSTOMER_COPY_MARIADB,
    country_copy_table,
    customer_copy_table,
)

__all__ = [
    "MIGRATIONS",
    "country_copy",
    "customer_copy",
    "metadata",
    "order_return",
    "order_summary",
    "orders",
    "return_request",
]

metadata = MetaData()

customer_copy = customer_copy_table(metadata)
country_copy = country_copy_table(metadata)

orders = Table(
    "orders",
    metadata,
    Column("order_id", Key, primary_key=True),
    Column("customer_id", Key, nullable=False),
    Column("status", Key, nullable=False),
    Column("reason", Key),  # why it was cancelled
    Column("checkout", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_pence", BigInteger, nullable=False),
    Column("lines", Text, nullable=False),  # JSON: [[sku, quantity, price_pence, returned], …]
    Column("placed_at_ms", BigInteger, nullable=False),  # the business's time: when the customer ordered
    Column("created_at_ms", BigInteger, nullable=False),  # when this service accepted the order
    Column("ended_at_ms", BigInteger),  # when it was confirmed or cancelled
    Index("orders_of_customer", "customer_id", "placed_at_ms"),
    Index("orders_by_status", "status", "reason"),
)

return_request = Table(
    "return_request",
    metadata,
    Column("return_ref", Key, primary_key=True),
    Column("customer_id", Key),
    Column("unmatched", Text),  # JSON: [[sku, quantity], …]
    Column("requested_at_ms", BigInteger),
)

order_return = Table(
    "order_return",
    metadata,
    Column("return_ref", Key, primary_key=True),
    Column("order_id", Key, primary_key=True),
    Column("lines", Text, nullable=False),  # JSON, as in orders; the last number is 0
    Column("currency", Text, nullable=False),
    Column("refund_pence", BigInteger, nullable=False),
    Column("refunded", Boolean, nullable=False),
    Column("restocked", Boolean, nullable=False),
    Index("order_return_of_order", "order_id"),
)

order_summary = Table(
    "order_summary",
    metadata,
    Column("order_id", Key, primary_key=True),
    Column("customer_id", Key, nullable=False),
    Column("status", Key, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_pence", BigInteger, nullable=False),
    Column("line_count", BigInteger, nullable=False),
    Column("pieces", BigInteger, nullable=False),
    Column("placed_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Index("order_summary_of_customer", "customer_id", "placed_at_ms"),
)

MIGRATIONS = (
    Migration(
        "001-orders",
        {
            "": (
                CUSTOMER_COPY_DDL,
                COUNTRY_COPY_DDL,
                """CREATE TABLE orders (
                    order_id TEXT PRIMARY KEY,
                    customer_id TEXT NOT NULL,
                    status TEXT NOT NULL,
                    reason TEXT,
                    checkout TEXT NOT NULL,
                    currency TEXT NOT NULL,
                    total_pence BIGINT NOT NULL CHECK (total_pence > 0),
                    lines TEXT NOT NULL,
                    placed_at_ms BIGINT NOT NULL,
                    created_at_ms BIGINT NOT NULL,
                    ended_at_ms BIGINT
                )""",
                "CREATE INDEX orders_of_customer ON orders (customer_id, placed_at_ms)",
                "CREATE INDEX orders_by_status ON orders (status, reason)",
                """CREATE TABLE return_request (
                    return_ref TEXT PRIMARY KEY,
                    customer_id TEXT NOT NULL,
                    unmatched TEXT NOT NULL,
                    requested_at_ms BIGINT NOT NULL
                )""",
                """CREATE TABLE order_return (
                    return_ref TEXT NOT NULL,
                    order_id TEXT NOT NULL,
                    lines TEXT NOT NULL,
                    currency TEXT NOT NULL,
                    refund_pence BIGINT NOT NULL CHECK (refund_pence > 0),
                    refunded BOOLEAN NOT NULL,
                    restocked BOOLEAN NOT NULL,
                    PRIMARY KEY (return_ref, order_id)
                )""",
                "CREATE INDEX order_return_of_order ON order_return (order_id)",
            ),
            "mariadb": (
                CUSTOMER_COPY_MARIADB,
                COUNTRY_COPY_MARIADB,
                f"""CREATE TABLE IF NOT EXISTS return_request (
                    return_ref VARCHAR(255) PRIMARY KEY,
                    customer_id VARCHAR(255) NOT NULL,
                    unmatched LONGTEXT NOT NULL,
                    requested_at_ms BIGINT NOT NULL
                ) {BY_CODE_POINT}""",
            ),
        },
    ),
    # Orders from before event sourcing stay readable; they have no events from which the new tables could be built.
    Migration(
        "002-orders-as-events",
        {
            "": (
                "DROP INDEX orders_of_customer",
                "DROP INDEX orders_by_status",
                "DROP INDEX order_return_of_order",
                "ALTER TABLE orders RENAME TO orders_before_events",
                "ALTER TABLE order_return RENAME TO order_return_before_events",
            ),
            "mariadb": (),  # the shop has used MariaDB only since orders are event-sourced
        },
    ),
)
