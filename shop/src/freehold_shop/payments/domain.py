"""The rules of payments: which state allows what, and how requests to the provider are named. Imports nothing."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["BARRED", "CANCELLATION", "PaymentStatus", "capture_key", "hold_key", "refund_key", "void_key"]

BARRED = "cancelled-before"
"""The refusal of a hold for an order that was cancelled before the request for it came."""
CANCELLATION = "cancellation"
"""What stands for the return reference where a captured payment goes back because the order came to nothing."""


class PaymentStatus(StrEnum):
    """Where a payment is. `barred`: the order was cancelled before anything was held, and nothing will be."""

    HOLDING = "holding"
    HELD = "held"
    DECLINED = "declined"
    VOIDED = "voided"
    CAPTURED = "captured"
    BARRED = "barred"


# The provider has the effect once for a key, however often a handler is repeated: after a crash between the provider's
# answer and our commit, the repetition gets the same answer.
def hold_key(order_id: str) -> str:
    """The idempotency key of an order's hold."""
    return f"hold/{order_id}"


def void_key(order_id: str) -> str:
    """The idempotency key of giving it back."""
    return f"void/{order_id}"


def capture_key(order_id: str) -> str:
    """The idempotency key of the capture."""
    return f"capture/{order_id}"


def refund_key(order_id: str, return_ref: str) -> str:
    """The idempotency key of a refund: one for an order and a return."""
    return f"refund/{order_id}/{return_ref}"
