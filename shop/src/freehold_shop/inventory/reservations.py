"""Reserving, committing, releasing and expiring stock, each in the caller's transaction. Imports the tables and rules.

A reservation leaves `held` once, by a conditional update: of commit, release and expiry one wins and the others find
nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.inbox.outcome import Rejected
from freehold.transaction import Transaction
from freehold_shop.inventory.contracts import ExpireReservation, StockLine
from freehold_shop.inventory.domain import (
    COMMIT,
    COMMIT_LATE,
    EXPIRE,
    INSUFFICIENT_STOCK,
    RECEIVE,
    RELEASE,
    RESERVE,
    TAKE_BACK,
    Movement,
    ReservationStatus,
    lines_document,
    lines_of,
    merge_lines,
    shortages,
)
from freehold_shop.inventory.statements import line_statements
from freehold_shop.inventory.tables import reservation, stock_receipt
from freehold_shop.moments import moment_ms
from freehold_shop.settings import settings
from freehold_shop.upsert import claim_row

__all__ = ["ReturnTooEarly", "commit", "expire", "receive", "release", "reserve", "take_back"]

_LEAVE_HELD = (
    update(reservation)
    .where(
        reservation.c.order_id == bindparam("wanted_order_id"),
        reservation.c.status == literal(ReservationStatus.HELD.value),
    )
    .returning(reservation.c.lines, reservation.c.expiry_id)
)


_TAKE_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended('inventory.stock', 0))")


class ReturnTooEarly(Exception):
    """Goods came back before the order's confirmation was handled here; it is on its way, so try again."""


async def reserve(tx: Transaction, order_id: str, wanted: Sequence[StockLine]) -> Rejected | None:
    """Hold all lines or none. None: they are held. A second time for the same order changes nothing."""
    await _take_turn(tx)
    lines = merge_lines(wanted)
    expiry_id = tx.schedule(ExpireReservation(order_id), delay_seconds=settings().hold_seconds)
    claimed = await claim_row(
        tx.connection,
        reservation,
        {
            "order_id": order_id,
            "status": ReservationStatus.HELD.value,
            "lines": lines_document(lines),
            "expiry_id": str(expiry_id),
            "changed_at_ms": moment_ms(tx),
        },
    )
    if not claimed:
        await tx.cancel(expiry_id)
        return await _repeat(tx.connection, order_id)
    document = lines_document(lines)
    statements = line_statements(tx.connection.dialect.name)
    rows = await tx.connection.execute(statements.available, {"lines": document})
    short = shortages(lines, {row[0]: row[1] for row in rows})
    if short:
        await tx.cancel(expiry_id)
        await _set_status(tx, order_id, ReservationStatus.REFUSED)
        return _insufficient(len(short), len(lines))
    await _move(tx, RESERVE, document, order_id)
    return None


async def commit(tx: Transaction, order_id: str) -> bool:
    """Take what is held off the shelf. Where the hold has expired, take it from free stock; False: that is gone."""
    await _take_turn(tx)
    row = await _leave_held(tx, order_id, ReservationStatus.COMMITTED)
    if row is not None:
        await _move(tx, COMMIT, row.lines, order_id)
        return True
    found = await tx.connection.execute(select(reservation).where(reservation.c.order_id == order_id).with_for_update())
    late = found.one_or_none()
    if late is None or late.status != ReservationStatus.EXPIRED:
        return late is not None and late.status == ReservationStatus.COMMITTED
    statements = line_statements(tx.connection.dialect.name)
    rows = await tx.connection.execute(statements.available, {"lines": late.lines})
    if shortages(lines_of(late.lines), {row[0]: row[1] for row in rows}):
        await _set_status(tx, order_id, ReservationStatus.LOST)
        return False
    await _set_status(tx, order_id, ReservationStatus.COMMITTED)
    await _move(tx, COMMIT_LATE, late.lines, order_id)
    return True


async def release(tx: Transaction, order_id: str) -> bool:
    """Give back what is held. False: nothing is."""
    await _take_turn(tx)
    row = await _leave_held(tx, order_id, ReservationStatus.RELEASED)
    if row is None:
        return False
    await _move(tx, RELEASE, row.lines, order_id)
    return True


async def expire(tx: Transaction, order_id: str) -> bool:
    """Give back what was held too long. False: it was committed or released in time."""
    await _take_turn(tx)
    row = await _leave_held(tx, order_id, ReservationStatus.EXPIRED, cancel_timer=False)
    if row is None:
        return False
    await _move(tx, EXPIRE, row.lines, order_id)
    return True


async def take_back(tx: Transaction, order_id: str, return_ref: str, lines: Sequence[StockLine]) -> None:
    """Put returned goods of an order on the shelf. Raises `ReturnTooEarly` where they have not left it yet."""
    await _take_turn(tx)
    found = await tx.connection.execute(select(reservation.c.status).where(reservation.c.order_id == order_id))
    match found.scalar_one_or_none():
        case ReservationStatus.COMMITTED.value:
            await _move(tx, TAKE_BACK, lines_document(merge_lines(lines)), f"{return_ref}/{order_id}")
        case ReservationStatus.HELD.value | ReservationStatus.EXPIRED.value:
            raise ReturnTooEarly(order_id)
        case _:
            return  # the goods never left: the order was cancelled


async def receive(tx: Transaction, receipt_ref: str, lines: Sequence[StockLine]) -> bool:
    """Put a delivery on the shelf, once for a reference. False: it was received before."""
    await _take_turn(tx)
    claimed = await claim_row(
        tx.connection,
        stock_receipt,
        {
            "receipt_ref": receipt_ref,
        },
    )
    if not claimed:
        return False
    document = lines_document(merge_lines(lines))
    statements = line_statements(tx.connection.dialect.name)
    await tx.connection.execute(statements.receive, {"lines": document})
    await _record(tx, RECEIVE, document, receipt_ref)
    return True


async def _take_turn(tx: Transaction) -> None:
    """Wait for other transactions that move stock to end.

    One transaction handles a batch of orders, and most orders have some popular product: side by side they would wait
    for each other's rows in a circle. SQLite has one writer at a time anyway.
    """
    if tx.connection.dialect.name == "postgresql":
        await tx.connection.execute(_TAKE_TURN)


async def _leave_held(
    tx: Transaction, order_id: str, status: ReservationStatus, *, cancel_timer: bool = True
) -> Any | None:
    """Move a held reservation on; its row (lines, expiry_id), or None where it is not held any more."""
    found = await tx.connection.execute(
        _LEAVE_HELD, {"wanted_order_id": order_id, "status": status.value, "changed_at_ms": moment_ms(tx)}
    )
    row = found.one_or_none()
    if row is not None and cancel_timer and row.expiry_id is not None:
        await tx.cancel(UUID(row.expiry_id))
    return row


async def _move(tx: Transaction, movement: Movement, document: str, reference: str) -> None:
    statements = line_statements(tx.connection.dialect.name)
    await tx.connection.execute(
        statements.move,
        {"lines": document, "on_hand_factor": movement.on_hand, "reserved_factor": movement.reserved},
    )
    await _record(tx, movement, document, reference)


async def _record(tx: Transaction, movement: Movement, document: str, reference: str) -> None:
    await tx.connection.execute(
        line_statements(tx.connection.dialect.name).record,
        {
            "lines": document,
            "on_hand_factor": movement.on_hand,
            "reserved_factor": movement.reserved,
            "movement_reason": movement.reason.value,
            "movement_reference": reference,
            "movement_at_ms": moment_ms(tx),
        },
    )


async def _set_status(tx: Transaction, order_id: str, status: ReservationStatus) -> None:
    await tx.connection.execute(
        update(reservation)
        .where(reservation.c.order_id == order_id)
        .values(status=status.value, changed_at_ms=moment_ms(tx))
    )


async def _repeat(connection: AsyncConnection, order_id: str) -> Rejected | None:
    found = await connection.execute(select(reservation.c.status).where(reservation.c.order_id == order_id))
    if found.scalar_one() == ReservationStatus.REFUSED.value:
        return Rejected(INSUFFICIENT_STOCK)
    return None


def _insufficient(short: int, lines: int) -> Rejected:
    return Rejected(INSUFFICIENT_STOCK, f"{short} of {lines} products are not there in the quantity wanted")
