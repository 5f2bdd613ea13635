"""Notifications: e-mails to customers, by command of an orchestrated checkout and by events.

The provider sends one e-mail for a key, so a repetition after a crash sends no second one. Imports Freehold,
its own modules and the contracts of orders.
"""

from __future__ import annotations

from freehold import Retry, Service
from freehold.transaction import Transaction
from freehold_shop.calls import providers
from freehold_shop.moments import moment_ms
from freehold_shop.notifications.contracts import NotificationSent, SendConfirmation
from freehold_shop.notifications.tables import MIGRATIONS
from freehold_shop.orders.contracts import CheckoutMode, OrderCancelled, OrderConfirmed
from freehold_shop.providers.errors import ProviderRefused
from freehold_shop.upsert import insert_once

__all__ = ["notifications"]

CONFIRMATION = "order-confirmed"
CANCELLATION = "order-cancelled"

_INSERT = """
INSERT INTO notification (order_id, template, customer_id, email_id, sent_at_ms) VALUES ($1, $2, $3, $4, $5)"""

notifications = Service(
    "notifications",
    migrations=MIGRATIONS,
    retry=Retry(attempts=70, delay_seconds=0.2, delay_seconds_max=15.0, never=(ProviderRefused,)),
)


@notifications.handles(SendConfirmation)
async def send_confirmation(command: SendConfirmation, tx: Transaction) -> None:
    """Orchestrated: send the e-mail that the saga requests."""
    await _send(tx, command.order_id, command.customer_id, CONFIRMATION)


@notifications.handles(OrderConfirmed)
async def notify_of_confirmation(event: OrderConfirmed, tx: Transaction) -> None:
    """Choreographed: notify the customer of a confirmed order."""
    if event.checkout is CheckoutMode.CHOREOGRAPHED:
        await _send(tx, event.order_id, event.customer_id, CONFIRMATION)


@notifications.handles(OrderCancelled)
async def notify_of_cancellation(event: OrderCancelled, tx: Transaction) -> None:
    """Notify the customer of a cancelled order, in both kinds of checkout."""
    await _send(tx, event.order_id, event.customer_id, CANCELLATION)


async def _send(tx: Transaction, order_id: str, customer_id: str, template: str) -> None:
    client = await providers()
    sent = await client.send_email(
        to_ref=customer_id, template=template, order_id=order_id, idempotency_key=f"{template}/{order_id}"
    )
    if await insert_once(tx, _INSERT, (order_id, template, customer_id, sent.email_id, moment_ms(tx))):
        tx.publish(NotificationSent(order_id, template))
