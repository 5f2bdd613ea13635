"""The books of the payment provider and the e-mail provider: what is allowed, and what it changes.

Everything here is synchronous: nothing else runs between the decision, the write to the ledger and the change of the
state, so two requests with one idempotency key have one effect. Payments and e-mails have separate keys, as two
providers have; the book knows the last `KEYS_MAX` keys, as a real provider knows them for a day. Memory grows by about
a kilobyte for each payment. Imports the wire types and the ledger.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import islice
from uuid import uuid4

import msgspec

from freehold_shop.providers.ledger import Ledger
from freehold_shop.providers.wire import (
    Captured,
    Declined,
    DeclineRules,
    EmailRequest,
    EmailSent,
    EntryKind,
    Held,
    HoldRequest,
    LedgerEntry,
    OrderTotals,
    Refunded,
    RefundRequest,
    SummaryPage,
    Voided,
)

__all__ = ["Answer", "Book", "Refusal"]

KEYS_MAX = 500_000

Answer = Held | Declined | Captured | Voided | Refunded | EmailSent


class _Scope(Enum):
    PAYMENTS = 1
    EMAILS = 2


class Refusal(Exception):
    """The operation is not allowed; nothing was written."""

    def __init__(self, status: int, code: str, title: str) -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title


@dataclass(slots=True)
class _Hold:
    entry: LedgerEntry
    capture_id: str = ""
    voided: bool = False
    refunded_pence: int = 0


class Book:
    """The state folded from the ledger, and the operations that extend it."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        """Read the whole ledger; raises `LedgerDamaged`."""
        self._ledger = ledger
        self._now = now
        self._holds: dict[str, _Hold] = {}
        self._hold_ids_by_capture: dict[str, str] = {}
        self._sequences_by_key: OrderedDict[tuple[_Scope, str], int] = OrderedDict()
        self._totals: dict[str, OrderTotals] = {}
        self._sum = OrderTotals("")
        self._counted_for_nth = 0
        for entry in ledger.recover():
            self._apply(entry)

    def hold(self, request: HoldRequest, key: str, declines: DeclineRules) -> Answer:
        """Reserve the amount, or decline by the rules."""
        digest = _digest("hold", request)
        if (known := self._known(_Scope.PAYMENTS, key, digest)) is not None:
            return known
        reason = self._decline_reason(request, declines)
        declined = reason is not None
        return self._record(
            EntryKind.DECLINE if declined else EntryKind.HOLD,
            key,
            digest,
            order_id=request.order_id,
            customer_ref=request.customer_ref,
            amount_pence=request.amount_pence,
            currency=request.currency,
            hold_id="" if declined else _new_id("hold"),
            reason=reason or "",
        )

    def capture(self, hold_id: str, key: str) -> Answer:
        """Capture the whole hold."""
        digest = _digest("capture", hold_id)
        if (known := self._known(_Scope.PAYMENTS, key, digest)) is not None:
            return known
        hold = self._open_hold(hold_id)
        return self._record_for(hold, EntryKind.CAPTURE, key, digest, capture_id=_new_id("capture"))

    def void(self, hold_id: str, key: str) -> Answer:
        """Release the hold."""
        digest = _digest("void", hold_id)
        if (known := self._known(_Scope.PAYMENTS, key, digest)) is not None:
            return known
        return self._record_for(self._open_hold(hold_id), EntryKind.VOID, key, digest)

    def refund(self, capture_id: str, request: RefundRequest, key: str) -> Answer:
        """Refund a part of a capture, never more than was captured."""
        digest = _digest("refund", (capture_id, request))
        if (known := self._known(_Scope.PAYMENTS, key, digest)) is not None:
            return known
        hold_id = self._hold_ids_by_capture.get(capture_id)
        if hold_id is None:
            raise Refusal(404, "capture-unknown", "there is no such capture")
        hold = self._holds[hold_id]
        if hold.refunded_pence + request.amount_pence > hold.entry.amount_pence:
            raise Refusal(409, "refund-above-captured", "more would be refunded than was captured")
        return self._record_for(
            hold,
            EntryKind.REFUND,
            key,
            digest,
            amount_pence=request.amount_pence,
            capture_id=capture_id,
            refund_id=_new_id("refund"),
        )

    def email(self, request: EmailRequest, key: str) -> Answer:
        """Send an e-mail."""
        digest = _digest("email", request)
        if (known := self._known(_Scope.EMAILS, key, digest)) is not None:
            return known
        return self._record(
            EntryKind.EMAIL,
            key,
            digest,
            order_id=request.order_id,
            customer_ref=request.to_ref,
            template=request.template,
            email_id=_new_id("email"),
        )

    def summary(self, after: int, limit: int) -> SummaryPage:
        """Totals of at most `limit` orders after the first `after` ones."""
        orders = list(islice(self._totals.values(), after, after + limit))
        reached = after + len(orders)
        return SummaryPage(
            orders=orders,
            next_after=reached if reached < len(self._totals) else None,
            sequence=self._ledger.sequence,
            held_pence=self._sum.held_pence,
            captured_pence=self._sum.captured_pence,
            refunded_pence=self._sum.refunded_pence,
            voided_pence=self._sum.voided_pence,
        )

    def _known(self, scope: _Scope, key: str, digest: str) -> Answer | None:
        sequence = self._sequences_by_key.get((scope, key))
        if sequence is None:
            return None
        entry = self._ledger.entry(sequence)
        if entry.request_digest != digest:
            raise Refusal(422, "idempotency-key-reused", "the idempotency key belongs to another request")
        return _answer(entry)

    def _open_hold(self, hold_id: str) -> _Hold:
        hold = self._holds.get(hold_id)
        if hold is None:
            raise Refusal(404, "hold-unknown", "there is no such hold")
        if hold.voided:
            raise Refusal(409, "hold-voided", "the hold is voided")
        if hold.capture_id:
            raise Refusal(409, "hold-captured", "the hold is captured")
        return hold

    def _decline_reason(self, request: HoldRequest, declines: DeclineRules) -> str | None:
        if request.customer_ref in declines.customer_refs:
            return "customer-refused"
        if request.country in declines.countries:
            return "card-country-refused"
        if declines.amount_above_pence is not None and request.amount_pence > declines.amount_above_pence:
            return "amount-above-limit"
        if declines.every_nth and (self._counted_for_nth + 1) % declines.every_nth == 0:
            return "insufficient-funds"
        return None

    def _record_for(
        self, hold: _Hold, kind: EntryKind, key: str, digest: str, amount_pence: int | None = None, **ids: str
    ) -> Answer:
        held = hold.entry
        return self._record(
            kind,
            key,
            digest,
            order_id=held.order_id,
            customer_ref=held.customer_ref,
            amount_pence=held.amount_pence if amount_pence is None else amount_pence,
            currency=held.currency,
            hold_id=held.hold_id,
            **ids,
        )

    def _record(
        self, kind: EntryKind, key: str, digest: str, *, order_id: str, amount_pence: int = 0, **fields: str
    ) -> Answer:
        entry = LedgerEntry(
            sequence=self._ledger.sequence + 1,
            at=self._now(),
            kind=kind,
            order_id=order_id,
            idempotency_key=key,
            request_digest=digest,
            amount_pence=amount_pence,
            **fields,
        )
        self._ledger.append(entry)
        self._apply(entry)
        return _answer(entry)

    def _apply(self, entry: LedgerEntry) -> None:
        scope = _Scope.EMAILS if entry.kind is EntryKind.EMAIL else _Scope.PAYMENTS
        self._sequences_by_key[scope, entry.idempotency_key] = entry.sequence
        if len(self._sequences_by_key) > KEYS_MAX:
            self._sequences_by_key.popitem(last=False)
        totals = self._totals.setdefault(entry.order_id, OrderTotals(entry.order_id))
        for sums in (totals, self._sum):
            _add(sums, entry)
        match entry.kind:
            case EntryKind.HOLD:
                self._holds[entry.hold_id] = _Hold(entry)
                self._counted_for_nth += 1
            case EntryKind.DECLINE:
                self._counted_for_nth += entry.reason == "insufficient-funds"
            case EntryKind.CAPTURE:
                self._holds[entry.hold_id].capture_id = entry.capture_id
                self._hold_ids_by_capture[entry.capture_id] = entry.hold_id
            case EntryKind.VOID:
                self._holds[entry.hold_id].voided = True
            case EntryKind.REFUND:
                self._holds[entry.hold_id].refunded_pence += entry.amount_pence
            case EntryKind.EMAIL:
                pass


def _add(sums: OrderTotals, entry: LedgerEntry) -> None:
    match entry.kind:
        case EntryKind.HOLD:
            sums.held_pence += entry.amount_pence
        case EntryKind.DECLINE:
            sums.declines += 1
        case EntryKind.CAPTURE:
            sums.captured_pence += entry.amount_pence
        case EntryKind.VOID:
            sums.voided_pence += entry.amount_pence
        case EntryKind.REFUND:
            sums.refunded_pence += entry.amount_pence
        case EntryKind.EMAIL:
            sums.emails += 1


def _answer(entry: LedgerEntry) -> Answer:
    match entry.kind:
        case EntryKind.HOLD:
            return Held(entry.hold_id)
        case EntryKind.DECLINE:
            return Declined(entry.reason)
        case EntryKind.CAPTURE:
            return Captured(entry.capture_id, entry.hold_id, entry.amount_pence)
        case EntryKind.VOID:
            return Voided(entry.hold_id)
        case EntryKind.REFUND:
            return Refunded(entry.refund_id, entry.capture_id, entry.amount_pence)
        case EntryKind.EMAIL:
            return EmailSent(entry.email_id)


def _digest(operation: str, request: object) -> str:
    return hashlib.blake2b(msgspec.json.encode((operation, request)), digest_size=12).hexdigest()


def _new_id(kind: str) -> str:
    return f"{kind}-{uuid4().hex}"
