"""Holding, capturing, voiding and refunding, each in the caller's transaction. Imports rules and the provider.

Each locks the row, sends the request to the provider and then writes the response. When the transaction fails after
the provider has responded, the retry sends the same key, gets the same response and writes it. A provider that does
not respond raises `ProviderUnavailable`: the message is retried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freehold import ConcurrencyConflict, Rejected
from freehold.transaction import Transaction
from freehold_shop.calls import providers
from freehold_shop.moments import moment_ms
from freehold_shop.money import Money
from freehold_shop.payments.contracts import PaymentCaptured, PaymentChanged, PaymentHeld
from freehold_shop.payments.domain import (
    BARRED,
    CANCELLATION,
    PaymentStatus,
    capture_key,
    hold_key,
    refund_key,
    void_key,
)
from freehold_shop.providers.wire import Declined, Held
from freehold_shop.upsert import insert_once

__all__ = ["cancel", "capture", "hold", "refund_part", "void"]

_FIND = """
SELECT order_id, customer_id, status, currency, amount_pence, captured_pence, refunded_pence,
    hold_id, capture_id, reason
FROM payment WHERE order_id = $1"""
_LOCK = _FIND + " FOR UPDATE"  # SQLite does not have it: its one writer is this transaction
_CLAIM = """
INSERT INTO payment (order_id, customer_id, status, currency, amount_pence, changed_at_ms)
VALUES ($1, $2, $3, $4, $5, $6)"""
_NOTE_HELD = "UPDATE payment SET status = 'held', hold_id = $3, changed_at_ms = $2 WHERE order_id = $1"
_NOTE_DECLINED = "UPDATE payment SET status = 'declined', reason = $3, changed_at_ms = $2 WHERE order_id = $1"
_NOTE_VOIDED = "UPDATE payment SET status = 'voided', changed_at_ms = $2 WHERE order_id = $1"
_NOTE_CAPTURED = """
UPDATE payment SET status = 'captured', capture_id = $3, captured_pence = $4, changed_at_ms = $2 WHERE order_id = $1"""
_NOTE_REFUNDED = "UPDATE payment SET refunded_pence = refunded_pence + $3, changed_at_ms = $2 WHERE order_id = $1"
_FIND_REFUND = "SELECT amount_pence FROM refund WHERE order_id = $1 AND return_ref = $2"
_KEEP_REFUND = """
INSERT INTO refund (order_id, return_ref, amount_pence, refund_id, at_ms) VALUES ($1, $2, $3, $4, $5)"""


@dataclass(frozen=True, slots=True)
class _Payment:
    """A row of `_FIND`. The provider's ids and the reason are None until the status that has them."""

    order_id: str
    customer_id: str
    status: str
    currency: str
    amount_pence: int
    captured_pence: int
    refunded_pence: int
    hold_id: Any
    capture_id: Any
    reason: Any


async def hold(
    tx: Transaction, order_id: str, customer_id: str, amount: Money, *, publish: bool
) -> PaymentHeld | Rejected:
    """Reserve the amount with the provider; a decline is a result. Repeating it for an order changes nothing.

    `publish`: publish the success as `PaymentChanged`, for callers that publish no event of their own.
    """
    if not await _claim(tx, order_id, customer_id, amount, PaymentStatus.HOLDING):
        row = await _locked(tx, order_id)
        if row is None:
            raise ConcurrencyConflict(f"the payment of order {order_id} was changed at this moment", hint="try again")
        return _repeat_hold(row)
    client = await providers()
    answer = await client.hold(
        order_id=order_id,
        customer_ref=customer_id,
        amount_pence=amount.pence,
        currency=amount.currency,
        idempotency_key=hold_key(order_id),
    )
    match answer:
        case Held(hold_id=hold_id):
            await _note(tx, _NOTE_HELD, order_id, hold_id)
            if publish:
                _publish(tx, order_id, PaymentStatus.HELD, amount)
            return PaymentHeld(order_id, customer_id, hold_id, amount)
        case Declined(reason=reason):
            await _note(tx, _NOTE_DECLINED, order_id, reason)
            _publish(tx, order_id, PaymentStatus.DECLINED, amount)
            return Rejected("declined", reason)


async def capture(tx: Transaction, order_id: str, *, publish: bool) -> PaymentCaptured | Rejected:
    """Capture the held amount; `publish` as in `hold`."""
    row = await _locked(tx, order_id)
    if row is None or row.status in {PaymentStatus.VOIDED, PaymentStatus.BARRED, PaymentStatus.DECLINED}:
        return Rejected("nothing-held")
    amount = Money(row.amount_pence, row.currency)
    if row.status != PaymentStatus.CAPTURED:
        client = await providers()
        captured = await client.capture(row.hold_id, idempotency_key=capture_key(order_id))
        await _note(tx, _NOTE_CAPTURED, order_id, captured.capture_id, captured.amount_pence)
        if publish:
            _publish(tx, order_id, PaymentStatus.CAPTURED, amount, captured.amount_pence)
    return PaymentCaptured(order_id, amount)


async def cancel(tx: Transaction, order_id: str, customer_id: str) -> None:
    """Cancel the payment of a cancelled order: void a hold, refund a capture, bar a hold that may still be requested.
    Raises `ConcurrencyConflict` where the hold is being requested at this moment.
    """
    row = await _locked(tx, order_id)
    if row is None:
        if not await _claim(tx, order_id, customer_id, Money(0), PaymentStatus.BARRED):
            raise ConcurrencyConflict(f"the payment of order {order_id} was begun at this moment", hint="try again")
        _publish(tx, order_id, PaymentStatus.BARRED, Money(0))
    elif row.status == PaymentStatus.HELD:
        await _void(tx, row)
    elif row.status == PaymentStatus.CAPTURED and row.refunded_pence < row.captured_pence:
        await _refund(tx, row, CANCELLATION, row.captured_pence - row.refunded_pence)


async def void(tx: Transaction, order_id: str) -> None:
    """Release a hold. No effect where nothing is held; the inbox cancels a request that may still come."""
    row = await _locked(tx, order_id)
    if row is not None and row.status == PaymentStatus.HELD:
        await _void(tx, row)


async def refund_part(tx: Transaction, order_id: str, return_ref: str, amount: Money) -> bool:
    """Refund a part of a captured payment, once for a return. False: less than that is left of it."""
    row = await _locked(tx, order_id)
    if await tx.sql.fetch(_FIND_REFUND, (order_id, return_ref)):
        return True
    if row is None or row.captured_pence - row.refunded_pence < amount.pence:
        return False
    await _refund(tx, row, return_ref, amount.pence)
    return True


async def _void(tx: Transaction, row: _Payment) -> None:
    client = await providers()
    await client.void(row.hold_id, idempotency_key=void_key(row.order_id))
    await _note(tx, _NOTE_VOIDED, row.order_id)
    _publish(tx, row.order_id, PaymentStatus.VOIDED, Money(row.amount_pence, row.currency))


async def _refund(tx: Transaction, row: _Payment, return_ref: str, amount_pence: int) -> None:
    client = await providers()
    refunded = await client.refund(
        row.capture_id, amount_pence=amount_pence, idempotency_key=refund_key(row.order_id, return_ref)
    )
    await tx.sql.execute(_KEEP_REFUND, (row.order_id, return_ref, amount_pence, refunded.refund_id, moment_ms(tx)))
    await _note(tx, _NOTE_REFUNDED, row.order_id, amount_pence)
    amount = Money(row.amount_pence, row.currency)
    _publish(tx, row.order_id, PaymentStatus.CAPTURED, amount, row.captured_pence, row.refunded_pence + amount_pence)


async def _claim(tx: Transaction, order_id: str, customer_id: str, amount: Money, status: PaymentStatus) -> bool:
    """Insert the row. False: there is one. Waits for a concurrent transaction that inserts it."""
    values = (order_id, customer_id, status.value, amount.currency, amount.pence, moment_ms(tx))
    return await insert_once(tx, _CLAIM, values)


async def _locked(tx: Transaction, order_id: str) -> _Payment | None:
    rows = await tx.sql.fetch(_FIND if tx.connection.dialect.name == "sqlite" else _LOCK, (order_id,))
    return _Payment(*rows[0]) if rows else None


async def _note(tx: Transaction, statement: str, order_id: str, *values: object) -> None:
    await tx.sql.execute(statement, (order_id, moment_ms(tx), *values))


def _publish(
    tx: Transaction,
    order_id: str,
    status: PaymentStatus,
    amount: Money,
    captured_pence: int = 0,
    refunded_pence: int = 0,
) -> None:
    """Publish the state of the payment, for read models of other services."""
    tx.publish(PaymentChanged(order_id, status.value, amount.currency, amount.pence, captured_pence, refunded_pence))


def _repeat_hold(row: _Payment) -> PaymentHeld | Rejected:
    match PaymentStatus(row.status):
        case PaymentStatus.HELD | PaymentStatus.CAPTURED:
            amount = Money(row.amount_pence, row.currency)
            return PaymentHeld(row.order_id, row.customer_id, row.hold_id, amount)
        case PaymentStatus.DECLINED:
            return Rejected("declined", row.reason)
        case PaymentStatus.BARRED | PaymentStatus.VOIDED | PaymentStatus.HOLDING:
            return Rejected(BARRED)
