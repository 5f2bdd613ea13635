"""Statements over all lines of an order at once, whatever their number, for SQLite and PostgreSQL.

The lines go in as one JSON document, which the database turns into rows. Rows of `stock` are locked ordered by sku, so
that transactions over the same products wait for each other and never in a circle. Imports SQLAlchemy and the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    ColumnElement,
    Executable,
    Subquery,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)

from freehold_shop.inventory.tables import stock, stock_movement
from freehold_shop.upsert import insert_for

__all__ = ["LineStatements", "line_statements"]


@dataclass(frozen=True, slots=True)
class LineStatements:
    """Statements that take `lines`, the document of `domain.lines_document`.

    available  sku and free quantity of the products, locked until the transaction ends.
    move       add `on_hand` and `reserved` (factors) times the quantity to the stock.
    receive    put the quantities on the shelf, of new products too.
    record     write the movement down: factors as in `move`, `reason`, `reference`, `at_ms`.
    """

    available: Executable
    move: Executable
    receive: Executable
    record: Executable


@cache
def line_statements(dialect: str) -> LineStatements:
    """The statements for an engine."""
    lines = _lines(dialect)
    locked = (
        select(stock.c.sku, lines.c.quantity)
        .join(lines, lines.c.sku == stock.c.sku)
        .order_by(stock.c.sku)
        .with_for_update(of=stock)
        .subquery("locked")
    )
    on_hand, reserved = _factor("on_hand"), _factor("reserved")
    received = insert_for(stock, dialect).from_select(
        ["sku", "on_hand", "reserved"],
        select(lines.c.sku, lines.c.quantity, literal_column("0")).where(true()).order_by(lines.c.sku),
    )
    return LineStatements(
        available=select(stock.c.sku, stock.c.on_hand - stock.c.reserved)
        .join(lines, lines.c.sku == stock.c.sku)
        .order_by(stock.c.sku)
        .with_for_update(of=stock),
        move=update(stock)
        .where(stock.c.sku == locked.c.sku)
        .values(
            on_hand=stock.c.on_hand + locked.c.quantity * on_hand,
            reserved=stock.c.reserved + locked.c.quantity * reserved,
        ),
        receive=received.on_conflict_do_update(
            index_elements=[stock.c.sku], set_={"on_hand": stock.c.on_hand + received.excluded.on_hand}
        ),
        record=insert(stock_movement).from_select(
            ["sku", "delta_on_hand", "delta_reserved", "reason", "reference", "at_ms"],
            select(
                lines.c.sku,
                lines.c.quantity * on_hand,
                lines.c.quantity * reserved,
                bindparam("movement_reason", type_=Text),
                bindparam("movement_reference", type_=Text),
                bindparam("movement_at_ms", type_=BigInteger),
            ),
        ),
    )


def _factor(name: str) -> BindParameter[int]:
    return bindparam(f"{name}_factor", type_=BigInteger)


def _lines(dialect: str) -> Subquery:
    """The JSON document as rows of (sku, quantity)."""
    document = bindparam("lines", type_=Text)
    sku: ColumnElement[str]
    quantity: ColumnElement[int]
    if dialect == "postgresql":
        rows = func.json_array_elements(cast(document, JSON)).table_valued(column("value", JSON), name="line_json")
        sku, quantity = literal_column("line_json.value ->> 0"), literal_column("(line_json.value ->> 1)::bigint")
    else:
        rows = func.json_each(document).table_valued(column("value"), name="line_json")
        sku, quantity = literal_column("line_json.value ->> 0"), literal_column("line_json.value ->> 1")
    return select(sku.label("sku"), quantity.label("quantity")).select_from(rows).subquery("line")
