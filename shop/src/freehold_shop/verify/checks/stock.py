"""Goods: none appear, none are lost, none are sold twice. Imports scratch and model."""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["STOCK_CHECKS"]


def stock_never_negative(scratch: Scratch) -> Check:
    """The stock is never negative, and never less than what is reserved."""
    return scratch.check(
        "stock-never-negative",
        f"0 ≤ reserved ≤ on hand for each of {scratch.value('SELECT count(*) FROM stock')} products",
        """SELECT sku, on_hand || ' on hand, ' || reserved || ' reserved' FROM stock
            WHERE on_hand < 0 OR reserved < 0 OR reserved > on_hand""",
    )


def movements_fold_to_stock(scratch: Scratch) -> Check:
    """Received - committed + returned = on hand, and likewise reserved: the sum of the movements is the stock."""
    return scratch.check(
        "stock-conserved",
        "received - committed + returned = on hand for each product",
        """WITH folded AS (SELECT sku, sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM moved GROUP BY sku)
            SELECT sku, stock.on_hand || ' on hand and ' || stock.reserved || ' reserved, movements give '
                || coalesce(folded.on_hand, 0) || ' and ' || coalesce(folded.reserved, 0)
            FROM stock LEFT JOIN folded USING (sku)
            WHERE stock.on_hand <> coalesce(folded.on_hand, 0) OR stock.reserved <> coalesce(folded.reserved, 0)
            UNION ALL SELECT sku, 'moved, but has no stock' FROM folded
            WHERE NOT EXISTS (SELECT 1 FROM stock WHERE stock.sku = folded.sku)""",
    )


def reserved_is_held(scratch: Scratch) -> Check:
    """The reserved quantity of a product is the sum of its active reservations."""
    return scratch.check(
        "reserved-is-held",
        "reserved = the sum of active reservations for each product",
        """WITH held AS (SELECT sku, sum(pieces) AS pieces FROM held_line GROUP BY sku)
            SELECT stock.sku, reserved || ' reserved, ' || coalesce(pieces, 0) || ' held by reservations'
            FROM stock LEFT JOIN held USING (sku) WHERE reserved <> coalesce(pieces, 0)""",
    )


def goods_left_for_sold_orders(scratch: Scratch) -> Check:
    """The pieces of each sold order left the stock once, and those of any other order never."""
    return scratch.check(
        "goods-left-once",
        f"exactly the pieces of sold orders left the stock, for each of {scratch.settled()}",
        """WITH gone AS (SELECT reference, -sum(on_hand) AS pieces FROM moved_by_reference
                WHERE reason IN ('committed', 'committed-late') GROUP BY reference)
            SELECT order_id, coalesce(gone.pieces, 0) || ' pieces left, status ' || status
            FROM customer_order LEFT JOIN gone ON gone.reference = order_id
            WHERE settled = 1 AND coalesce(gone.pieces, 0) <>
                CASE WHEN sold = 1 THEN customer_order.pieces ELSE 0 END""",
    )


def goods_came_back_for_returns(scratch: Scratch) -> Check:
    """The pieces of each return were restocked once; those of a cancelled order never left, so none came back."""
    return scratch.check(
        "goods-came-back-once",
        "exactly the pieces of returns were restocked",
        """WITH back AS (SELECT reference, sum(on_hand) AS pieces FROM moved_by_reference
                WHERE reason = 'returned' GROUP BY reference)
            SELECT return_ref || '/' || order_id, coalesce(back.pieces, 0) || ' of ' || order_return.pieces
            FROM order_return JOIN customer_order USING (order_id)
            LEFT JOIN back ON back.reference = return_ref || '/' || order_id
            WHERE settled = 1 AND coalesce(back.pieces, 0) <>
                CASE WHEN status = 'cancelled' THEN 0 ELSE order_return.pieces END
            UNION ALL SELECT reference, 'restocked without a return' FROM back
            WHERE NOT EXISTS (SELECT 1 FROM order_return WHERE return_ref || '/' || order_id = reference)""",
    )


def right_products_left(scratch: Scratch) -> Check:
    """Of each product as much left the stock as was sold. Only checked when every ended order is settled."""
    if scratch.value("SELECT count(*) FROM customer_order WHERE settled = 0 AND ended = 1"):
        return Check("right-products-left", ok=True, detail="not checked: orders ended while the data were read")
    return scratch.check(
        "right-products-left",
        "pieces sold = pieces that left the stock, for each product",
        """WITH gone AS (SELECT sku, -sum(on_hand) AS pieces FROM moved
                WHERE reason IN ('committed', 'committed-late') GROUP BY sku),
                product AS (SELECT sku FROM sold UNION SELECT sku FROM gone)
            SELECT sku, coalesce(sold.pieces, 0) || ' sold, ' || coalesce(gone.pieces, 0) || ' left'
            FROM product LEFT JOIN sold USING (sku) LEFT JOIN gone USING (sku)
            WHERE coalesce(sold.pieces, 0) <> coalesce(gone.pieces, 0)""",
    )


STOCK_CHECKS = (
    stock_never_negative,
    movements_fold_to_stock,
    reserved_is_held,
    goods_left_for_sold_orders,
    goods_came_back_for_returns,
    right_products_left,
)
