"""The statuses of a payment, and the idempotency keys of requests to the provider. Imports nothing."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["BARRED", "CANCELLATION", "PaymentStatus", "capture_key", "hold_key", "refund_key", "void_key"]

BARRED = "cancelled-before"
"""The rejection of a hold for an order that was cancelled before its request came."""
CANCELLATION = "cancellation"
"""The return reference of a refund because the order was cancelled."""


class PaymentStatus(StrEnum):
    """The status of a payment. `barred`: the order was cancelled before a hold, and none is accepted any more."""

    HOLDING = "holding"
    HELD = "held"
    DECLINED = "declined"
    VOIDED = "voided"
    CAPTURED = "captured"
    BARRED = "barred"


# The provider has one effect for a key, however often a handler is repeated: after a crash between the provider's
# response and our commit, the repetition gets the same response.
def hold_key(order_id: str) -> str:
    """The idempotency key of an order's hold."""
    return f"hold/{order_id}"


def void_key(order_id: str) -> str:
    """The idempotency key of the hold's release."""
    return f"void/{order_id}"


def capture_key(order_id: str) -> str:
    """The idempotency key of the capture."""
    return f"capture/{order_id}"


def refund_key(order_id: str, return_ref: str) -> str:
    """The idempotency key of a refund: one for an order and a return."""
    return f"refund/{order_id}/{return_ref}"
