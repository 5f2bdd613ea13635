"""Read models: each is what a fold of the stored events gives, and streams are whole. Imports scratch and model."""

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
    """The table of orders is what their events come to."""
    return _folds(scratch, "orders-fold", "orders", "order")


def returns_fold(scratch: Scratch) -> Check:
    """The table of returns is what the orders' events come to."""
    return _folds(scratch, "returns-fold", "order-return", "part of a return")


def summaries_fold(scratch: Scratch) -> Check:
    """The order summary is what the events come to that it has seen."""
    return _folds(scratch, "order-summary-folds", "order-summary", "order summary")


def overview_folds(scratch: Scratch) -> Check:
    """Customer 360 is what the events come to that it has seen."""
    return _folds(scratch, "customer-360-folds", "customer-360", "row of customer 360")


def overview_heard_everything(scratch: Scratch) -> Check:
    """Every message that the overview follows is kept once, as far as the broker remembers."""
    return scratch.check(
        "overview-keeps-once",
        "each message on the broker that the overview follows is in its store once",
        f"""SELECT message.id, message.type || ' is kept ' || coalesce(kept.copies, 0) || ' times'
            FROM message JOIN moment JOIN subscription
                ON subscription.topic = message.topic AND subscription.type = message.type
                AND subscription.service = 'overview'
            LEFT JOIN kept ON kept.id = message.id
            WHERE coalesce(kept.copies, 0) <> 1 AND {_OLD_ENOUGH.format("message.at_ms")}""",
    )


def overview_agrees(scratch: Scratch) -> Check:
    """What the overview has heard of an order is what the services have written down."""
    return scratch.check(
        "overview-agrees",
        f"the overview knows {scratch.settled()} as their services, with payments, parcels, holds and e-mails",
        """SELECT told_fact.id, told_fact.kind || CASE WHEN heard_fact.id IS NULL
                THEN ' is not there' ELSE ' is ' || heard_fact.facts || ', not ' || told_fact.facts END
            FROM told_fact JOIN customer_order USING (order_id)
            LEFT JOIN heard_fact ON heard_fact.kind = told_fact.kind AND heard_fact.id = told_fact.id
            WHERE settled = 1 AND heard_fact.facts IS NOT told_fact.facts
            UNION ALL SELECT heard_fact.id, heard_fact.kind || ' is nowhere else'
            FROM heard_fact JOIN customer_order USING (order_id)
            WHERE settled = 1 AND NOT EXISTS (SELECT 1 FROM told_fact
                WHERE told_fact.kind = heard_fact.kind AND told_fact.id = heard_fact.id)""",
    )


def nothing_parked(scratch: Scratch) -> Check:
    """No read model passes over a stream that it could not handle."""
    return scratch.check(
        "nothing-parked",
        "no read model has parked a stream",
        "SELECT key, service || ' ' || coalesce(detail, '') FROM waiting WHERE place = 'parked'",
    )


def _folds(scratch: Scratch, name: str, model: str, what: str) -> Check:
    rows = scratch.value("SELECT count(*) FROM folded WHERE model = ?", (model,))
    return scratch.check(
        name,
        f"each {what} is what its events come to, {rows} in all",
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
    overview_heard_everything,
    overview_agrees,
    nothing_parked,
)
