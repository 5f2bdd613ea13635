"""Reserving, committing, releasing and expiring stock, each in the caller's transaction. Imports the shelf and rules.

A reservation leaves `held` once, by a conditional update: one of commit, release and expiry wins, and the others have
no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from freehold import Rejected
from freehold.transaction import Transaction
from freehold_shop.inventory.contracts import ExpireReservation, StockLine
from freehold_shop.inventory.domain import (
    COMMIT,
    COMMIT_LATE,
    EXPIRE,
    INSUFFICIENT_STOCK,
    RELEASE,
    RESERVE,
    RESTOCK,
    Movement,
    ReservationStatus,
    lines_document,
    merge_lines,
)
from freehold_shop.inventory.shelf import Claim, shelf_of
from freehold_shop.inventory.statements import RECEIPT_CLAIM, RESERVATION_FIND, RESERVATION_SET_STATUS
from freehold_shop.moments import moment_ms
from freehold_shop.settings import settings
from freehold_shop.upsert import insert_once

__all__ = ["ReturnTooEarly", "commit", "expire", "receive", "release", "reserve", "restock"]


class ReturnTooEarly(Exception):
    """Goods came back before the order's confirmation was handled here; it will come, so retry."""


async def reserve(tx: Transaction, order_id: str, wanted: Sequence[StockLine]) -> Rejected | None:
    """Hold all lines or none. None: they are held. Repeating it for the same order changes nothing."""
    lines = merge_lines(wanted)
    document = lines_document(lines)
    shelf = shelf_of(tx)
    expiry_id = tx.schedule(ExpireReservation(order_id), delay_seconds=settings().hold_seconds)
    if not await shelf.claim(Claim(order_id, document, str(expiry_id))):
        await tx.cancel(expiry_id)
        return await _repeat(tx, order_id)
    short = await shelf.move_if_there(RESERVE, document, order_id)
    if short:
        await tx.cancel(expiry_id)
        await _set_status(tx, order_id, ReservationStatus.REFUSED)
        return Rejected(INSUFFICIENT_STOCK, f"{short} of {len(lines)} products have too little free stock")
    return None


async def commit(tx: Transaction, order_id: str) -> bool:
    """Remove the held goods from the stock. Where the hold has expired, use free stock; False: too little is left."""
    if await _end_hold(tx, order_id, ReservationStatus.COMMITTED, COMMIT):
        return True
    found = await tx.sql.fetch(RESERVATION_FIND, (order_id,))
    if not found:
        return False
    status, document = found[0]
    if status != ReservationStatus.EXPIRED:
        return bool(status == ReservationStatus.COMMITTED)
    if await shelf_of(tx).move_if_there(COMMIT_LATE, document, order_id):
        await _set_status(tx, order_id, ReservationStatus.LOST)
        return False
    await _set_status(tx, order_id, ReservationStatus.COMMITTED)
    return True


async def release(tx: Transaction, order_id: str) -> bool:
    """Release the held goods. False: none are held."""
    return await _end_hold(tx, order_id, ReservationStatus.RELEASED, RELEASE)


async def expire(tx: Transaction, order_id: str) -> bool:
    """Release goods whose hold is over. False: it was committed or released in time."""
    return await shelf_of(tx).end_hold(order_id, ReservationStatus.EXPIRED, EXPIRE) is not None


async def restock(tx: Transaction, order_id: str, return_ref: str, lines: Sequence[StockLine]) -> None:
    """Add returned goods of an order to the stock. Raises `ReturnTooEarly` where they have not left it yet."""
    shelf = shelf_of(tx)
    await shelf.take_turn()
    found = await tx.sql.fetch(RESERVATION_FIND, (order_id,))
    match found[0][0] if found else None:
        case ReservationStatus.COMMITTED.value:
            await shelf.move(RESTOCK, lines_document(merge_lines(lines)), f"{return_ref}/{order_id}")
        case ReservationStatus.HELD.value | ReservationStatus.EXPIRED.value:
            raise ReturnTooEarly(order_id)
        case _:
            return  # the goods never left: the order was cancelled


async def receive(tx: Transaction, receipt_ref: str, lines: Sequence[StockLine]) -> bool:
    """Add a stock receipt to the stock, once for a reference. False: it was received before."""
    shelf = shelf_of(tx)
    await shelf.take_turn()
    if not await insert_once(tx, RECEIPT_CLAIM, (receipt_ref,)):
        return False
    await shelf.receive(lines_document(merge_lines(lines)), receipt_ref)
    return True


async def _end_hold(tx: Transaction, order_id: str, status: ReservationStatus, movement: Movement) -> bool:
    """End a held reservation before its time is over, and cancel its timer. False: it is not held any more."""
    ended = await shelf_of(tx).end_hold(order_id, status, movement)
    if ended is None:
        return False
    if ended.expiry_id is not None:
        await tx.cancel(UUID(ended.expiry_id))
    return True


async def _set_status(tx: Transaction, order_id: str, status: ReservationStatus) -> None:
    await tx.sql.execute(RESERVATION_SET_STATUS, (order_id, status.value, moment_ms(tx)))


async def _repeat(tx: Transaction, order_id: str) -> Rejected | None:
    status, _ = (await tx.sql.fetch(RESERVATION_FIND, (order_id,)))[0]
    return Rejected(INSUFFICIENT_STOCK) if status == ReservationStatus.REFUSED else None
