"""Messages: every decision was published, every message was handled once by each subscriber, and none waits.

The broker deletes messages that are old or handled by all; those that it still has are compared one by one. Imports
scratch and model.
"""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["MESSAGE_CHECKS"]

# While the shop is busy, a message that was sent a moment ago may still be in transit.
_OLD_ENOUGH = "(moment.quiet = 1 OR {0} < moment.settled_ms)"
_WAITED_LONG = "(moment.quiet = 1 OR since_ms < moment.now_ms - 60000)"


def messages_handled_once(scratch: Scratch) -> Check:
    """Every message on the broker has exactly one receipt in each service that subscribes to its type."""
    return scratch.check(
        "messages-handled-once",
        f"each of {scratch.value('SELECT count(DISTINCT id) FROM message')} messages on the broker has one receipt in"
        " each service that subscribes to it",
        f"""SELECT message.id, message.type || ' in ' || subscription.service
                || CASE WHEN copies IS NULL THEN ' has no receipt' ELSE ' has ' || copies || ' receipts' END
            FROM message JOIN moment
            JOIN subscription ON subscription.topic = message.topic
                AND (subscription.type = message.type OR (subscription.type = '*' AND message.kind = 'reply'))
            LEFT JOIN receipt ON receipt.service = subscription.service AND receipt.receipt_key = message.receipt_key
            WHERE coalesce(copies, 0) <> 1 AND {_OLD_ENOUGH.format("message.at_ms")}""",
    )


def order_events_published(scratch: Scratch) -> Check:
    """The broker has the events of each order's placing and end, as far back as it has messages."""
    return scratch.check(
        "order-events-published",
        "each order's placing and end are on the broker" + scratch.memory_words(),
        """WITH wanted AS (
                SELECT order_id, placed_at_ms AS at_ms, 'orders.order-placed' AS type FROM customer_order
                UNION ALL SELECT order_id, changed_at_ms,
                    CASE status WHEN 'cancelled' THEN 'orders.order-cancelled' ELSE 'orders.order-confirmed' END
                FROM customer_order WHERE settled = 1)
            SELECT order_id, 'no ' || wanted.type FROM wanted, broker_span, restored_span, moment
            WHERE (broker_span.complete = 1 OR wanted.at_ms > broker_span.first_at_ms)
            AND wanted.at_ms > restored_span.first_at_ms
            AND (moment.quiet = 1 OR wanted.at_ms < moment.settled_ms)
            AND order_id NOT IN (SELECT key FROM unsettled)
            AND NOT EXISTS (SELECT 1 FROM message WHERE message.key = order_id AND message.type = wanted.type)""",
    )


def outboxes_drained(scratch: Scratch) -> Check:
    """No message waits to be published; where the shop is busy, none has waited for more than a minute."""
    return _nothing_waits(scratch, "outboxes-drained", "outbox", "every outbox is empty")


def nothing_deferred(scratch: Scratch) -> Check:
    """No message waits for a later attempt; where the shop is busy, none has waited for more than a minute."""
    return _nothing_waits(scratch, "nothing-deferred", "deferred", "no message is deferred")


def no_dead_letters(scratch: Scratch) -> Check:
    """There are no dead letters."""
    return _nothing_waits(scratch, "no-dead-letters", "dead-letter", "there are no dead letters")


def no_leftover_timers(scratch: Scratch) -> Check:
    """No message is scheduled for an order that has ended."""
    return scratch.check(
        "no-leftover-timers",
        "no message is scheduled for an order that has ended",
        """SELECT waiting.key, service || ' ' || detail FROM waiting
            JOIN customer_order ON customer_order.order_id = waiting.key
            WHERE place = 'timer' AND settled = 1""",
    )


def _nothing_waits(scratch: Scratch, name: str, place: str, holds: str) -> Check:
    return scratch.check(
        name,
        holds,
        f"""SELECT id, service || coalesce(' ' || detail, '') FROM waiting, moment
            WHERE place = :place AND (place = 'dead-letter' OR {_WAITED_LONG})""",
        {"place": place},
    )


MESSAGE_CHECKS = (
    messages_handled_once,
    order_events_published,
    outboxes_drained,
    nothing_deferred,
    no_dead_letters,
    no_leftover_timers,
)
