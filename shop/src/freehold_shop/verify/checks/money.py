"""Money: the provider has captured, less refunds, what orders were sold for. Imports scratch and model."""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["MONEY_CHECKS"]

# The revenue of an order: its total if it was sold, less its returns.
_WORTH = """
SELECT customer_order.order_id, customer_order.settled,
    CASE WHEN sold = 1 THEN total_pence ELSE 0 END
    - coalesce((SELECT sum(refund_pence) FROM order_return
                WHERE order_return.order_id = customer_order.order_id AND order_return.ended = 1
                AND status <> 'cancelled'), 0) AS worth
FROM customer_order
"""


def money_per_order(scratch: Scratch) -> Check:
    """Captured - refunded = confirmed - returned, for each order, at the provider."""
    return scratch.check(
        "money-per-order",
        f"captured - refunded = confirmed - returned for each of {scratch.settled()}",
        f"""SELECT expected.order_id, 'has ' || (coalesce(captured_pence, 0) - coalesce(refunded_pence, 0))
                || 'p instead of ' || worth || 'p'
            FROM ({_WORTH}) AS expected LEFT JOIN ledger USING (order_id)
            WHERE settled = 1 AND coalesce(captured_pence, 0) - coalesce(refunded_pence, 0) <> worth""",
    )


def money_in_total(scratch: Scratch) -> Check:
    """The same in total, by the provider's own totals; without the orders that are not settled, on both sides."""
    kept, worth, unsettled = (
        scratch.value("SELECT coalesce(sum(captured_pence - refunded_pence), 0) FROM ledger_total"),
        scratch.value(f"SELECT coalesce(sum(worth), 0) FROM ({_WORTH}) WHERE settled = 1"),
        scratch.value(
            """SELECT coalesce(sum(captured_pence - refunded_pence), 0)
               FROM ledger JOIN customer_order USING (order_id) WHERE settled = 0"""
        ),
    )
    words = f"captured - refunded = {kept - unsettled}p, confirmed - returned = {worth}p"
    return Check("money-in-total", ok=kept - unsettled == worth, detail=words)


def payments_agree_with_provider(scratch: Scratch) -> Check:
    """The payments service has the same amounts as the provider."""
    return scratch.check(
        "payments-agree-with-provider",
        "each payment's captured and refunded amounts are those in the provider's ledger",
        """SELECT payment.order_id, payment.captured_pence || 'p - ' || payment.refunded_pence || 'p here, '
                || coalesce(ledger.captured_pence, 0) || 'p - ' || coalesce(ledger.refunded_pence, 0) || 'p there'
            FROM payment LEFT JOIN ledger USING (order_id) JOIN customer_order USING (order_id)
            WHERE settled = 1 AND (payment.captured_pence <> coalesce(ledger.captured_pence, 0)
                OR payment.refunded_pence <> coalesce(ledger.refunded_pence, 0)
                OR payment.refunded_pence <> payment.refund_rows_pence)""",
    )


def holds_only_in_flight(scratch: Scratch) -> Check:
    """No money is on hold for an order that has ended."""
    return scratch.check(
        "holds-only-in-flight",
        "no money is on hold for an order that has ended",
        """SELECT order_id, (held_pence - ledger.captured_pence - voided_pence) || 'p held'
            FROM ledger JOIN customer_order USING (order_id)
            WHERE settled = 1 AND held_pence - ledger.captured_pence - voided_pence <> 0""",
    )


def prices_add_up(scratch: Scratch) -> Check:
    """An order's total is the sum of its lines."""
    return scratch.check(
        "prices-add-up",
        "each order's total is the sum of its lines",
        "SELECT order_id, total_pence || 'p, lines ' || line_pence || 'p' FROM customer_order"
        " WHERE total_pence <> line_pence",
    )


MONEY_CHECKS = (
    money_per_order,
    money_in_total,
    payments_agree_with_provider,
    holds_only_in_flight,
    prices_add_up,
)
