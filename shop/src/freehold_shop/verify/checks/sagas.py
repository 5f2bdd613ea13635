"""Sagas: each order of an orchestrated checkout has one, in a terminal state that fits. Imports scratch and model."""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["SAGA_CHECKS"]


def one_saga_an_order(scratch: Scratch) -> Check:
    """An orchestrated order has exactly one saga, a choreographed one has none."""
    return scratch.check(
        "one-saga-an-order",
        f"one saga for each orchestrated order, {scratch.value('SELECT count(*) FROM saga')} in all",
        """SELECT customer_order.order_id, count(saga.id) || ' sagas, checkout ' || checkout
            FROM customer_order LEFT JOIN saga ON saga.order_id = customer_order.order_id
            GROUP BY customer_order.order_id, checkout
            HAVING count(saga.id) <> CASE WHEN checkout = 'saga' THEN 1 ELSE 0 END""",
    )


def sagas_have_ended(scratch: Scratch) -> Check:
    """A saga whose order has ended is in a terminal state, and none waits for an operator."""
    return scratch.check(
        "sagas-ended",
        "every saga is in a terminal state" + scratch.in_flight_words(),
        """SELECT saga.id, saga.status || coalesce(' ' || failure, '') FROM saga
            LEFT JOIN customer_order USING (order_id) JOIN moment
            WHERE saga.status NOT IN ('completed', 'compensated', 'terminated')
            AND (saga.status = 'needs-attention' OR settled = 1 OR moment.quiet = 1)""",
    )


def sagas_agree_with_orders(scratch: Scratch) -> Check:
    """A completed saga belongs to a sold order, a compensated one to a cancelled order."""
    return scratch.check(
        "sagas-agree-with-orders",
        "completed sagas belong to sold orders, compensated ones to cancelled orders",
        """SELECT saga.id, saga.status || ', order ' || customer_order.status
            FROM saga JOIN customer_order USING (order_id)
            WHERE settled = 1 AND (
                (saga.status = 'completed' AND ended = 0)
                OR (saga.status = 'compensated' AND customer_order.status <> 'cancelled'))""",
    )


SAGA_CHECKS = (one_saga_an_order, sagas_have_ended, sagas_agree_with_orders)
