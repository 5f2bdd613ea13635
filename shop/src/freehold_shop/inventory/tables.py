"""Tables of the inventory's database. Imports SQLAlchemy and Freehold's migrations.

`stock.reserved` is the sum of the held reservations. Each change of `stock` writes a row of `stock_movement` in the
same transaction, so the sum of the movements is the stock. The constraints are the last defence against overselling.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT

__all__ = ["MIGRATIONS", "metadata", "reservation", "stock", "stock_movement", "stock_receipt"]

metadata = MetaData()

stock = Table(
    "stock",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("on_hand", BigInteger),
    Column("reserved", BigInteger),
)

reservation = Table(
    "reservation",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("status", Text),
    Column("lines", Text),  # JSON: [[sku, quantity], …], one entry a product, ordered by sku
    Column("expiry_id", Text),  # the scheduled message, while it is held
    Column("changed_at_ms", BigInteger),
)

stock_receipt = Table("stock_receipt", metadata, Column("receipt_ref", Text, primary_key=True))

stock_movement = Table(
    "stock_movement",
    metadata,
    Column("position", BigInteger, primary_key=True),
    Column("sku", Text),
    Column("delta_on_hand", BigInteger),
    Column("delta_reserved", BigInteger),
    Column("reason", Text),
    Column("reference", Text),  # order id, return or receipt reference
    Column("at_ms", BigInteger),
)

_COMMON = (
    """CREATE TABLE stock (
        sku TEXT PRIMARY KEY,
        on_hand BIGINT NOT NULL CHECK (on_hand >= 0),
        reserved BIGINT NOT NULL CHECK (reserved >= 0),
        CHECK (reserved <= on_hand)
    )""",
    """CREATE TABLE reservation (
        order_id TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        lines TEXT NOT NULL,
        expiry_id TEXT,
        changed_at_ms BIGINT NOT NULL
    )""",
    "CREATE INDEX reservation_held ON reservation (order_id) WHERE status = 'held'",
    "CREATE TABLE stock_receipt (receipt_ref TEXT PRIMARY KEY)",
)


_MARIADB = (
    f"""CREATE TABLE IF NOT EXISTS stock (
        sku VARCHAR(255) PRIMARY KEY,
        on_hand BIGINT NOT NULL CHECK (on_hand >= 0),
        reserved BIGINT NOT NULL CHECK (reserved >= 0),
        CHECK (reserved <= on_hand)
    ) {BY_CODE_POINT}""",
    f"""CREATE TABLE IF NOT EXISTS reservation (
        order_id VARCHAR(255) PRIMARY KEY,
        status TEXT NOT NULL,
        `lines` LONGTEXT NOT NULL,
        expiry_id TEXT,
        changed_at_ms BIGINT NOT NULL
    ) {BY_CODE_POINT}""",
    f"CREATE TABLE IF NOT EXISTS stock_receipt (receipt_ref VARCHAR(255) PRIMARY KEY) {BY_CODE_POINT}",
    f"""CREATE TABLE IF NOT EXISTS stock_movement (
        position BIGINT AUTO_INCREMENT PRIMARY KEY,
        sku VARCHAR(255) NOT NULL,
        delta_on_hand BIGINT NOT NULL,
        delta_reserved BIGINT NOT NULL,
        reason VARCHAR(255) NOT NULL,
        reference TEXT NOT NULL,
        at_ms BIGINT NOT NULL
    ) {BY_CODE_POINT}""",
    # The row that a transaction locks before it moves stock.
    "CREATE TABLE IF NOT EXISTS stock_turn (id INTEGER PRIMARY KEY)",
    "INSERT INTO stock_turn (id) VALUES (1) ON DUPLICATE KEY UPDATE id = id",
)


def _movement(position: str) -> str:
    return f"""CREATE TABLE stock_movement (
        position {position},
        sku TEXT NOT NULL,
        delta_on_hand BIGINT NOT NULL,
        delta_reserved BIGINT NOT NULL,
        reason TEXT NOT NULL,
        reference TEXT NOT NULL,
        at_ms BIGINT NOT NULL
    )"""


MIGRATIONS = (
    Migration(
        "001-inventory",
        {
            "sqlite": (*_COMMON, _movement("INTEGER PRIMARY KEY")),
            "postgresql": (*_COMMON, _movement("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")),
            "mariadb": _MARIADB,
        },
    ),
)
