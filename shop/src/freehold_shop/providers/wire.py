"""The requests and responses of the providers, and the entries of their ledger.

Amounts are whole pence (minor units). Imports msgspec only.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

__all__ = [
    "IDEMPOTENCY_HEADER",
    "NEXT_AFTER_HEADER",
    "Captured",
    "DeclineRules",
    "Declined",
    "EmailRequest",
    "EmailRules",
    "EmailSent",
    "EntryKind",
    "Held",
    "HoldRequest",
    "LedgerEntry",
    "OrderTotals",
    "Problem",
    "RefundRequest",
    "Refunded",
    "Rules",
    "SummaryPage",
    "Voided",
]

IDEMPOTENCY_HEADER = "Idempotency-Key"
NEXT_AFTER_HEADER = "Next-After"
"""Header of a page of entries: the `after` of the next page."""

AMOUNT_PENCE_MAX = 1_000_000_000_000
Amount = Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_PENCE_MAX)]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
CurrencyCode = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
CountryName = Annotated[str, msgspec.Meta(max_length=64)]
Latency = Annotated[float, msgspec.Meta(ge=0, le=600)]
EveryNth = Annotated[int, msgspec.Meta(ge=0)]


class HoldRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request to reserve an amount on a customer's card. `country` is the card's."""

    order_id: Reference
    customer_ref: Reference
    amount_pence: Amount
    currency: CurrencyCode
    country: CountryName = ""


class RefundRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request to refund a captured amount, or a part of it."""

    amount_pence: Amount


class EmailRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request to send an e-mail; `to_ref` names the receiver, it is no address."""

    to_ref: Reference
    template: Reference
    order_id: Reference


class Held(msgspec.Struct, frozen=True, tag_field="status", tag="held"):
    """The amount is reserved until it is captured or voided."""

    hold_id: str


class Declined(msgspec.Struct, frozen=True, tag_field="status", tag="declined"):
    """The card is declined, finally: a result, not an error. `hold_id` is always None."""

    reason: str
    hold_id: None = None


class Captured(msgspec.Struct, frozen=True, tag_field="status", tag="captured"):
    """The whole hold is captured."""

    capture_id: str
    hold_id: str
    amount_pence: int


class Voided(msgspec.Struct, frozen=True, tag_field="status", tag="voided"):
    """The hold is released, nothing was captured."""

    hold_id: str


class Refunded(msgspec.Struct, frozen=True, tag_field="status", tag="refunded"):
    """The amount of the capture that is refunded."""

    refund_id: str
    capture_id: str
    amount_pence: int


class EmailSent(msgspec.Struct, frozen=True, tag_field="status", tag="sent"):
    """The e-mail is sent."""

    email_id: str


class Problem(msgspec.Struct, frozen=True):
    """An error response, as in RFC 9457; `code` is the stable word for programs."""

    title: str
    status: int
    code: str
    detail: str = ""
    type: str = "about:blank"


class EntryKind(StrEnum):
    """What a ledger entry records."""

    HOLD = "hold"
    DECLINE = "decline"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    EMAIL = "email"


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One effect. `sequence` counts from 1 without gaps; `request_digest` identifies the request."""

    sequence: int
    at: datetime
    kind: EntryKind
    order_id: str
    idempotency_key: str
    request_digest: str
    customer_ref: str = ""
    amount_pence: int = 0
    currency: str = ""
    hold_id: str = ""
    capture_id: str = ""
    refund_id: str = ""
    email_id: str = ""
    reason: str = ""
    template: str = ""


class OrderTotals(msgspec.Struct, gc=False):
    """The sums of all effects for one order; a capture or a void does not reduce `held_pence`."""

    order_id: str
    held_pence: int = 0
    captured_pence: int = 0
    refunded_pence: int = 0
    voided_pence: int = 0
    declines: int = 0
    emails: int = 0

    @property
    def open_pence(self) -> int:
        """The amount on hold now."""
        return self.held_pence - self.captured_pence - self.voided_pence


class SummaryPage(msgspec.Struct, frozen=True):
    """A page of orders in the order of their first entry; `next_after` is None at the end.

    `sequence` and the totals are those of the whole ledger at the time of the response.
    """

    orders: list[OrderTotals]
    next_after: int | None
    sequence: int
    held_pence: int
    captured_pence: int
    refunded_pence: int
    voided_pence: int


class DeclineRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which holds are declined; the first rule that matches, in this order, names the reason."""

    customer_refs: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    amount_above_pence: int | None = None
    every_nth: EveryNth = 0
    """Of all hold requests that no other rule declined, each n-th; 0 is none, 1 is all."""


class EmailRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The behaviour of the e-mail provider."""

    latency_seconds: Latency = 0.0
    down: bool = False
    lose_answers: EveryNth = 0


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The behaviour of the providers; the fields at the top are the payment provider's.

    `down` answers 503 with no effect. `lose_answers` = n executes each n-th request and closes the connection instead
    of responding; 0 is none, 1 is all. Latency comes before the effect.
    """

    declines: DeclineRules = DeclineRules()
    latency_seconds: Latency = 0.0
    down: bool = False
    lose_answers: EveryNth = 0
    emails: EmailRules = EmailRules()
