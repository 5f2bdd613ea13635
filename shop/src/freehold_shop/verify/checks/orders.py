"""Orders: none is lost, none is a phantom, and each has what belongs to its status. Imports scratch and model."""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["ORDER_CHECKS"]


def no_phantom_orders(scratch: Scratch) -> Check:
    """Everything that a service or the provider has for an order belongs to an order that was placed."""
    return scratch.check(
        "no-phantom-orders",
        "every payment, reservation, parcel, e-mail, return, saga and ledger entry belongs to an order",
        """SELECT order_id, place FROM (
                SELECT order_id, 'in payments' AS place FROM payment
                UNION ALL SELECT order_id, 'in the ledger' FROM ledger
                UNION ALL SELECT order_id, 'in inventory' FROM reservation
                UNION ALL SELECT order_id, 'in shipping' FROM shipment
                UNION ALL SELECT order_id, 'in notifications' FROM notification
                UNION ALL SELECT order_id, 'among returns' FROM order_return
                UNION ALL SELECT order_id, 'among sagas' FROM saga)
            WHERE order_id NOT IN (SELECT order_id FROM customer_order)""",
    )


def no_lost_orders(scratch: Scratch) -> Check:
    """Every order whose placing was confirmed to the client exists."""
    return scratch.check(
        "no-lost-orders",
        f"each of {scratch.value('SELECT count(*) FROM request')} orders that were confirmed to a client exists",
        """SELECT order_id, 'was confirmed under key ' || key FROM request
            WHERE order_id NOT IN (SELECT order_id FROM customer_order)""",
    )


def sold_orders_are_complete(scratch: Scratch) -> Check:
    """A sold order is paid, its goods are committed and its parcel is prepared."""
    return scratch.check(
        "sold-orders-complete",
        "every sold order has its payment captured, its goods committed and its parcel prepared",
        """SELECT order_id, 'payment ' || coalesce(payment.status, 'missing')
                || ', goods ' || coalesce(reservation.status, 'missing')
                || ', parcel ' || coalesce(shipment.status, 'missing')
            FROM customer_order LEFT JOIN payment USING (order_id)
            LEFT JOIN reservation USING (order_id) LEFT JOIN shipment USING (order_id)
            WHERE settled = 1 AND sold = 1
            AND (coalesce(payment.status, '') <> 'captured' OR coalesce(reservation.status, '') <> 'committed'
                OR coalesce(shipment.status, '') NOT IN ('created', 'dispatched', 'delivered'))""",
    )


def cancelled_orders_hold_nothing(scratch: Scratch) -> Check:
    """A cancelled order has no goods, no parcel and no money anywhere."""
    return scratch.check(
        "cancelled-orders-hold-nothing",
        "no cancelled order has goods, a parcel or money",
        """SELECT order_id, 'payment ' || coalesce(payment.status, 'none')
                || ', goods ' || coalesce(reservation.status, 'none')
                || ', parcel ' || coalesce(shipment.status, 'none')
            FROM customer_order LEFT JOIN payment USING (order_id)
            LEFT JOIN reservation USING (order_id) LEFT JOIN shipment USING (order_id)
            WHERE settled = 1 AND customer_order.status = 'cancelled'
            AND (coalesce(payment.status, '') IN ('holding', 'held')
                OR coalesce(payment.captured_pence, 0) <> coalesce(payment.refunded_pence, 0)
                OR coalesce(reservation.status, '') IN ('held', 'committed')
                OR coalesce(shipment.status, '') IN ('created', 'dispatched', 'delivered'))""",
    )


def every_order_ended(scratch: Scratch) -> Check:
    """Every order and return has ended. Where the shop is busy, orders of the last minute may be in progress."""
    return scratch.check(
        "every-order-ended",
        f"every order and return has ended, of {scratch.value('SELECT count(*) FROM customer_order')} orders"
        + scratch.in_flight_words(),
        """SELECT order_id, status FROM customer_order, moment
            WHERE ended = 0 AND (moment.quiet = 1 OR placed_at_ms < moment.now_ms - 60000)
            AND order_id NOT IN (SELECT key FROM unsettled)
            UNION ALL SELECT order_id, 'return ' || return_ref FROM order_return, moment
            WHERE ended = 0 AND moment.quiet = 1""",
    )


ORDER_CHECKS = (
    no_lost_orders,
    no_phantom_orders,
    every_order_ended,
    sold_orders_are_complete,
    cancelled_orders_hold_nothing,
)
