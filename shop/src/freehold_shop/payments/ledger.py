"""Holding, capturing, voiding and refunding, each in the caller's transaction. Imports tables, rules and the provider.

The row is locked first, then the provider is asked, then the answer is written. When the transaction fails after the
provider answered, the repetition asks with the same key and gets the same answer, so the row catches up. A provider
that does not answer raises `ProviderUnavailable`: the message is tried again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, insert, select, update

from freehold.errors import ConcurrencyConflict
from freehold.inbox.outcome import Rejected
from freehold.transaction import Transaction
from freehold_shop.calls import providers
from freehold_shop.moments import moment_ms
from freehold_shop.money import Money
from freehold_shop.payments.contracts import PaymentCaptured, PaymentHeld
from freehold_shop.payments.domain import (
    BARRED,
    CANCELLATION,
    PaymentStatus,
    capture_key,
    hold_key,
    refund_key,
    void_key,
)
from freehold_shop.payments.tables import payment, refund
from freehold_shop.providers.wire import Declined, Held
from freehold_shop.upsert import claim_row

__all__ = ["capture", "give_back", "hold", "refund_part", "void"]

_LOCK = select(payment).where(payment.c.order_id == bindparam("wanted_order_id")).with_for_update()
_WRITE = update(payment).where(payment.c.order_id == bindparam("wanted_order_id"))


async def hold(tx: Transaction, order_id: str, customer_id: str, amount: Money) -> PaymentHeld | Rejected:
    """Reserve the amount with the provider; a decline is an answer. A second time for an order changes nothing."""
    if not await _claim(tx, order_id, customer_id, amount, PaymentStatus.HOLDING):
        return _repeat_hold(await _locked(tx, order_id))
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
            await _write(tx, order_id, status=PaymentStatus.HELD.value, hold_id=hold_id)
            return PaymentHeld(order_id, customer_id, hold_id, amount)
        case Declined(reason=reason):
            await _write(tx, order_id, status=PaymentStatus.DECLINED.value, reason=reason)
            return Rejected("declined", reason)


async def capture(tx: Transaction, order_id: str) -> PaymentCaptured | Rejected:
    """Take what is held."""
    row = await _locked(tx, order_id)
    if row is None or row.status in {PaymentStatus.VOIDED, PaymentStatus.BARRED, PaymentStatus.DECLINED}:
        return Rejected("nothing-held")
    amount = Money(row.amount_pence, row.currency)
    if row.status != PaymentStatus.CAPTURED:
        client = await providers()
        captured = await client.capture(row.hold_id, idempotency_key=capture_key(order_id))
        await _write(
            tx,
            order_id,
            status=PaymentStatus.CAPTURED.value,
            capture_id=captured.capture_id,
            captured_pence=captured.amount_pence,
        )
    return PaymentCaptured(order_id, amount)


async def give_back(tx: Transaction, order_id: str, customer_id: str) -> None:
    """The order came to nothing: void what is held, refund what was captured, bar what was not requested yet."""
    row = await _locked(tx, order_id)
    if row is None:
        if not await _claim(tx, order_id, customer_id, Money(0), PaymentStatus.BARRED):
            raise ConcurrencyConflict(f"the payment of order {order_id} was begun at this moment", hint="try again")
    elif row.status == PaymentStatus.HELD:
        client = await providers()
        await client.void(row.hold_id, idempotency_key=void_key(order_id))
        await _write(tx, order_id, status=PaymentStatus.VOIDED.value)
    elif row.status == PaymentStatus.CAPTURED and row.refunded_pence < row.captured_pence:
        await _refund(tx, row, CANCELLATION, row.captured_pence - row.refunded_pence)


async def void(tx: Transaction, order_id: str) -> None:
    """Give a hold back. Nothing held: nothing happens, the inbox bars the request that may still come."""
    row = await _locked(tx, order_id)
    if row is not None and row.status == PaymentStatus.HELD:
        client = await providers()
        await client.void(row.hold_id, idempotency_key=void_key(order_id))
        await _write(tx, order_id, status=PaymentStatus.VOIDED.value)


async def refund_part(tx: Transaction, order_id: str, return_ref: str, amount: Money) -> bool:
    """Give part of a captured payment back, once for a return. False: that much is not left of it."""
    row = await _locked(tx, order_id)
    known = await tx.connection.execute(
        select(refund.c.amount_pence).where(refund.c.order_id == order_id, refund.c.return_ref == return_ref)
    )
    if known.first() is not None:
        return True
    if row is None or row.captured_pence - row.refunded_pence < amount.pence:
        return False
    await _refund(tx, row, return_ref, amount.pence)
    return True


async def _refund(tx: Transaction, row: Any, return_ref: str, amount_pence: int) -> None:
    client = await providers()
    refunded = await client.refund(
        row.capture_id, amount_pence=amount_pence, idempotency_key=refund_key(row.order_id, return_ref)
    )
    await tx.connection.execute(
        insert(refund).values(
            order_id=row.order_id,
            return_ref=return_ref,
            amount_pence=amount_pence,
            refund_id=refunded.refund_id,
            at_ms=moment_ms(tx),
        )
    )
    await _write(tx, row.order_id, refunded_pence=row.refunded_pence + amount_pence)


async def _claim(tx: Transaction, order_id: str, customer_id: str, amount: Money, status: PaymentStatus) -> bool:
    """Make the row, unless there is one. A concurrent transaction that makes it is waited for."""
    return await claim_row(
        tx.connection,
        payment,
        {
            "order_id": order_id,
            "customer_id": customer_id,
            "status": status.value,
            "currency": amount.currency,
            "amount_pence": amount.pence,
            "captured_pence": 0,
            "refunded_pence": 0,
            "changed_at_ms": moment_ms(tx),
        },
    )


async def _locked(tx: Transaction, order_id: str) -> Any | None:
    found = await tx.connection.execute(_LOCK, {"wanted_order_id": order_id})
    return found.one_or_none()


async def _write(tx: Transaction, order_id: str, **values: object) -> None:
    await tx.connection.execute(_WRITE, {"wanted_order_id": order_id, "changed_at_ms": moment_ms(tx), **values})


def _repeat_hold(row: Any) -> PaymentHeld | Rejected:
    match PaymentStatus(row.status):
        case PaymentStatus.HELD | PaymentStatus.CAPTURED:
            amount = Money(row.amount_pence, row.currency)
            return PaymentHeld(row.order_id, row.customer_id, row.hold_id, amount)
        case PaymentStatus.DECLINED:
            return Rejected("declined", row.reason)
        case PaymentStatus.BARRED | PaymentStatus.VOIDED | PaymentStatus.HOLDING:
            return Rejected(BARRED)
