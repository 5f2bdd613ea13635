"""Read models: each equals a fold of the stored events, and streams have no gaps. Imports scratch and model."""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["MODEL_CHECKS"]

_OLD_ENOUGH = "(moment.quiet = 1 OR {0} < moment.settled_ms)"


def streams_are_whole(scratch: Scratch) -> Check:
    """The versions of a stream are 1, 2, 3 …, in the order of their positions."""
    return scratch.check(
        "streams-whole",
        "every stream of every service has its versions without a gap, in order",
        "SELECT stream, service || ' ' || what FROM broken_stream",
    )


def orders_fold(scratch: Scratch) -> Check:
    """The table of orders equals the fold of their events."""
    return _folds(scratch, "orders-fold", "orders", "order")


def returns_fold(scratch: Scratch) -> Check:
    """The table of returns equals the fold of the orders' events."""
    return _folds(scratch, "returns-fold", "order-return", "part of a return")


def summaries_fold(scratch: Scratch) -> Check:
    """The order summary equals the fold of the events up to its checkpoint."""
    return _folds(scratch, "order-summary-folds", "order-summary", "order summary")


def overview_folds(scratch: Scratch) -> Check:
    """Customer 360 equals the fold of the events up to its checkpoint."""
    return _folds(scratch, "customer-360-folds", "customer-360", "row of customer 360")


def overview_stores_once(scratch: Scratch) -> Check:
    """The overview has stored every message that it subscribes to once, as far as the broker still has them."""
    return scratch.check(
        "overview-keeps-once",
        "each message on the broker that the overview subscribes to is in its event store once",
        f"""SELECT message.id, message.type || ' is stored ' || coalesce(kept.copies, 0) || ' times'
            FROM message JOIN moment JOIN subscription
                ON subscription.topic = message.topic AND subscription.type = message.type
                AND subscription.service = 'overview'
            LEFT JOIN kept ON kept.id = message.id
            WHERE coalesce(kept.copies, 0) <> 1 AND {_OLD_ENOUGH.format("message.at_ms")}""",
    )


def overview_agrees(scratch: Scratch) -> Check:
    """The overview has the same data of an order as the services."""
    return scratch.check(
        "overview-agrees",
        f"the overview agrees with the services on {scratch.settled()} with payments, parcels, holds and e-mails",
        """SELECT service_fact.id, service_fact.kind || CASE WHEN overview_fact.id IS NULL
                THEN ' is not there' ELSE ' is ' || overview_fact.facts || ', not ' || service_fact.facts END
            FROM service_fact JOIN customer_order USING (order_id)
            LEFT JOIN overview_fact ON overview_fact.kind = service_fact.kind AND overview_fact.id = service_fact.id
            WHERE settled = 1 AND overview_fact.facts IS NOT service_fact.facts
            UNION ALL SELECT overview_fact.id, overview_fact.kind || ' is nowhere else'
            FROM overview_fact JOIN customer_order USING (order_id)
            WHERE settled = 1 AND NOT EXISTS (SELECT 1 FROM service_fact
                WHERE service_fact.kind = overview_fact.kind AND service_fact.id = overview_fact.id)""",
    )


def nothing_parked(scratch: Scratch) -> Check:
    """No read model has parked a stream."""
    return scratch.check(
        "nothing-parked",
        "no read model has parked a stream",
        "SELECT key, service || ' ' || coalesce(detail, '') FROM waiting WHERE place = 'parked'",
    )


def _folds(scratch: Scratch, name: str, model: str, what: str) -> Check:
    rows = scratch.value("SELECT count(*) FROM folded WHERE model = ?", (model,))
    return scratch.check(
        name,
        f"each {what} equals the fold of its events, {rows} in all",
        """SELECT folded.id, CASE WHEN modelled.id IS NULL THEN 'is missing' ELSE 'is something else' END
            FROM folded LEFT JOIN modelled ON modelled.model = folded.model AND modelled.id = folded.id
            WHERE folded.model = :model AND modelled.facts IS NOT folded.facts
            UNION ALL SELECT id, 'has no events' FROM modelled WHERE model = :model
            AND NOT EXISTS (SELECT 1 FROM folded WHERE folded.model = :model AND folded.id = modelled.id)""",
        {"model": model},
    )


MODEL_CHECKS = (
    streams_are_whole,
    orders_fold,
    returns_fold,
    summaries_fold,
    overview_folds,
    overview_stores_once,
    overview_agrees,
    nothing_parked,
)
