"""Tables of the payments' database. Imports SQLAlchemy and Freehold's migrations."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from freehold import Migration
from freehold_shop.columns import BY_CODE_POINT

__all__ = ["MIGRATIONS", "metadata", "payment", "refund"]

metadata = MetaData()

payment = Table(
    "payment",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("status", Text),
    Column("currency", Text),
    Column("amount_pence", BigInteger),
    Column("captured_pence", BigInteger),
    Column("refunded_pence", BigInteger),
    Column("hold_id", Text),
    Column("capture_id", Text),
    Column("reason", Text),  # why it was declined
    Column("changed_at_ms", BigInteger),
)

refund = Table(
    "refund",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("return_ref", Text, primary_key=True),
    Column("amount_pence", BigInteger),
    Column("refund_id", Text),
    Column("at_ms", BigInteger),
)

MIGRATIONS = (
    Migration(
        "001-payments",
        {
            "": (
                """CREATE TABLE payment (
                    order_id TEXT PRIMARY KEY,
                    customer_id TEXT NOT NULL,
                    status TEXT NOT NULL,
                    currency TEXT NOT NULL,
                    amount_pence BIGINT NOT NULL CHECK (amount_pence >= 0),
                    captured_pence BIGINT NOT NULL DEFAULT 0,
                    refunded_pence BIGINT NOT NULL DEFAULT 0,
                    hold_id TEXT,
                    capture_id TEXT,
                    reason TEXT,
                    changed_at_ms BIGINT NOT NULL,
                    CHECK (captured_pence IN (0, amount_pence)),
                    CHECK (refunded_pence BETWEEN 0 AND captured_pence)
                )""",
                """CREATE TABLE refund (
                    order_id TEXT NOT NULL,
                    return_ref TEXT NOT NULL,
                    amount_pence BIGINT NOT NULL CHECK (amount_pence > 0),
                    refund_id TEXT NOT NULL,
                    at_ms BIGINT NOT NULL,
                    PRIMARY KEY (order_id, return_ref)
                )""",
            ),
            "mariadb": (
                f"""CREATE TABLE IF NOT EXISTS payment (
                    order_id VARCHAR(255) PRIMARY KEY,
                    customer_id TEXT NOT NULL,
                    status TEXT NOT NULL,
                    currency TEXT NOT NULL,
                    amount_pence BIGINT NOT NULL CHECK (amount_pence >= 0),
                    captured_pence BIGINT NOT NULL DEFAULT 0,
                    refunded_pence BIGINT NOT NULL DEFAULT 0,
                    hold_id TEXT,
                    capture_id TEXT,
                    reason TEXT,
                    changed_at_ms BIGINT NOT NULL,
                    CHECK (captured_pence IN (0, amount_pence)),
                    CHECK (refunded_pence BETWEEN 0 AND captured_pence)
                ) {BY_CODE_POINT}""",
                f"""CREATE TABLE IF NOT EXISTS refund (
                    order_id VARCHAR(255) NOT NULL,
                    return_ref VARCHAR(255) NOT NULL,
                    amount_pence BIGINT NOT NULL CHECK (amount_pence > 0),
                    refund_id TEXT NOT NULL,
                    at_ms BIGINT NOT NULL,
                    PRIMARY KEY (order_id, return_ref)
                ) {BY_CODE_POINT}""",
            ),
        },
    ),
)
