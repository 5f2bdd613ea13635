"""Tables of the overview's database: the read model of a customer's 360, made and filled by its projection.

Imports SQLAlchemy. `customer_order` has one row an order, with columns from each service. A column is null until the
service's event has come, since events of different services come in any order. A row without `customer_id` belongs to
an order whose `OrderPlaced` has not come yet.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, SmallInteger, Table, Text

from freehold_shop.columns import Key

__all__ = ["customer_notification", "customer_order", "customer_profile", "metadata"]

metadata = MetaData()

customer_profile = Table(
    "customer_profile",
    metadata,
    Column("customer_id", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

customer_order = Table(
    "customer_order",
    metadata,
    Column("order_id", Key, primary_key=True),
    Column("customer_id", Key),
    Column("currency", Text),
    Column("total_pence", BigInteger),
    Column("placed_at_ms", BigInteger),
    Column("lines", Text),  # JSON: [[sku, quantity], …], one entry a product, ordered by sku
    Column("standing", SmallInteger, nullable=False),  # the status as a number: `order_state.Standing`
    Column("hold", SmallInteger, nullable=False),  # whether its goods are held: `order_state.Hold`
    Column("payment_status", Text),
    Column("amount_pence", BigInteger),
    Column("captured_pence", BigInteger),
    Column("refunded_pence", BigInteger),
    Column("shipment_status", Text),
    Index("customer_order_of_customer", "customer_id", "placed_at_ms"),
)

customer_notification = Table(
    "customer_notification",
    metadata,
    Column("order_id", Key, primary_key=True),
    Column("template", Key, primary_key=True),
)
