"""Commands to and events of payments. Imports the messages of Freehold and money; the only module others may import.

A command gets a reply. `PaymentRefunded` reports a refund, `PaymentChanged` every other result of a command; the
reaction to an event publishes an event of its own. Rejections: `declined`.
"""

from __future__ import annotations

from freehold.messages import command, event
from freehold_shop.money import Money

__all__ = [
    "CapturePayment",
    "HoldPayment",
    "PaymentCaptured",
    "PaymentChanged",
    "PaymentDeclined",
    "PaymentHeld",
    "PaymentRefunded",
    "RefundPayment",
    "VoidHold",
]


@command("payments.hold-payment", version=1, key="order_id")
class HoldPayment:
    """Reserve the amount with the provider. The reply: `PaymentHeld`, or rejected."""

    order_id: str
    customer_id: str
    amount: Money


@command("payments.void-hold", version=1, key="order_id")
class VoidHold:
    """Release a hold. No effect where nothing is held."""

    order_id: str


@command("payments.capture-payment", version=1, key="order_id")
class CapturePayment:
    """Capture the held amount. The reply: `PaymentCaptured`."""

    order_id: str


@command("payments.refund-payment", version=1, key="order_id")
class RefundPayment:
    """Refund a part of the captured amount, once for a (return, order). `PaymentRefunded` reports it."""

    order_id: str
    return_ref: str
    amount: Money


@event("payments.payment-held", version=1, key="order_id")
class PaymentHeld:
    """The amount is reserved with the provider."""

    order_id: str
    customer_id: str
    hold_id: str
    amount: Money


@event("payments.payment-declined", version=1, key="order_id")
class PaymentDeclined:
    """The provider declined the amount, for `reason`."""

    order_id: str
    reason: str


@event("payments.payment-captured", version=1, key="order_id")
class PaymentCaptured:
    """The amount is captured."""

    order_id: str
    amount: Money


@event("payments.payment-refunded", version=1, key="order_id")
class PaymentRefunded:
    """The amount is refunded to the customer."""

    order_id: str
    return_ref: str
    amount: Money


@event("payments.payment-changed", version=1, key="order_id")
class PaymentChanged:
    """The state of a payment after a command or a cancellation, where no other event reports it. For read models."""

    order_id: str
    status: str
    currency: str
    amount_pence: int
    captured_pence: int
    refunded_pence: int
