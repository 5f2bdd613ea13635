"""Commands to and events of notifications. Imports the messages of Freehold and money; the only module others may
import.
"""

from __future__ import annotations

from freehold.messages import command, event
from freehold_shop.money import Money

__all__ = ["NotificationSent", "SendConfirmation"]


@command("notifications.send-confirmation", version=1, key="order_id")
class SendConfirmation:
    """Send the customer an e-mail that the order is confirmed; once for an order."""

    order_id: str
    customer_id: str
    amount: Money


@event("notifications.notification-sent", version=1, key="order_id")
class NotificationSent:
    """An e-mail about the order was sent to the customer, from this template."""

    order_id: str
    template: str
