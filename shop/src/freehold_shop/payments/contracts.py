"""Commands to and events of payments. Imports the messages of Freehold and money; the only module others may import.

A command is answered and publishes nothing, but for the refund; the reaction to an event publishes. Refusals:
`declined`.
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
    """Reserve the amount with the provider. Answered by `PaymentHeld`, or refused."""

    order_id: str
    customer_id: str
    amount: Money


@command("payments.void-hold", version=1, key="order_id")
class VoidHold:
    """Give a hold back. Nothing held: nothing happens."""

    order_id: str


@command("payments.capture-payment", version=1, key="order_id")
class CapturePayment:
    """Take the amount that is held. Answered by `PaymentCaptured`."""

    order_id: str


@command("payments.refund-payment", version=1, key="order_id")
class RefundPayment:
    """Give part of what was captured back, once for a (return, order). Answered to everybody by `PaymentRefunded`."""

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
    """The provider refused the amount, for this reason."""

    order_id: str
    reason: str


@event("payments.payment-captured", version=1, key="order_id")
class PaymentCaptured:
    """The amount is ours."""

    order_id: str
    amount: Money


@event("payments.payment-refunded", version=1, key="order_id")
class PaymentRefunded:
    """The amount went back to the customer."""

    order_id: str
    return_ref: str
    amount: Money


@event("payments.payment-changed", version=1, key="order_id")
class PaymentChanged:
    """How a payment stands where no other event tells it: what came of a command, or of a cancellation. For copies."""

    order_id: str
    status: str
    currency: str
    amount_pence: int
    captured_pence: int
    refunded_pence: int
