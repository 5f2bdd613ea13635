"""Stock and reservations in the database, one implementation for each engine. Imports the rules and the statements.

One transaction at a time moves stock: it first takes the turn, an advisory lock of PostgreSQL and a row that is locked
on MariaDB; SQLite has one writer anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from freehold import SqlConnection
from freehold.transaction import Transaction
from freehold_shop.inventory import statements
from freehold_shop.inventory.domain import RECEIVE, Movement, ReservationStatus
from freehold_shop.moments import moment_ms
from freehold_shop.upsert import insert_once, insert_sql

__all__ = ["Claim", "Ended", "Shelf", "shelf_of"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A reservation to be made. `lines` is a document of `domain.lines_document`."""

    order_id: str
    lines: str
    expiry_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A reservation that has just left `held`; `expiry_id` is its timer."""

    expiry_id: str | None


class Shelf(Protocol):
    """Stock and reservations in a transaction. Methods that do not take the turn need it to be taken before."""

    async def take_turn(self) -> None:
        """Wait until other transactions that move stock have ended."""

    async def claim(self, claim: Claim) -> bool:
        """Take the turn and insert a reservation that is `held`, without moving stock. False: the order has one."""

    async def end_hold(self, order_id: str, status: ReservationStatus, movement: Movement) -> Ended | None:
        """Take the turn, change a held reservation's status and move its stock. None: it is not held any more."""

    async def move(self, movement: Movement, lines: str, reference: str) -> None:
        """Move stock and record the movement."""

    async def move_if_there(self, movement: Movement, lines: str, reference: str) -> int:
        """Like `move`, if there is free stock for all lines; returns for how many there is not."""

    async def receive(self, lines: str, reference: str) -> None:
        """Add a stock receipt to the stock, also of new products."""


def shelf_of(tx: Transaction) -> Shelf:
    """The shelf in this transaction, for its engine."""
    at_ms = moment_ms(tx)
    match tx.connection.dialect.name:
        case "postgresql":
            return _PostgresShelf(tx.sql, at_ms)
        case dialect:
            return _StepwiseShelf(tx, _STATEMENTS[dialect], at_ms)


@dataclass(frozen=True, slots=True)
class _PostgresShelf:
    sql: SqlConnection
    at_ms: int

    async def take_turn(self) -> None:
        await self.sql.fetch(statements.POSTGRES_TAKE_TURN)

    async def claim(self, claim: Claim) -> bool:
        return bool(await self.sql.execute(statements.POSTGRES_CLAIM, _claim_values(claim, self.at_ms)))

    async def end_hold(self, order_id: str, status: ReservationStatus, movement: Movement) -> Ended | None:
        values = (*_movement_values(order_id, movement, order_id, self.at_ms), status.value)
        rows = await self.sql.fetch(statements.POSTGRES_LEAVE_HELD, values)
        if not rows:  # it may have been inserted while we waited for the turn
            await self.take_turn()
            rows = await self.sql.fetch(statements.POSTGRES_LEAVE_HELD, values)
        return Ended(rows[0][0]) if rows else None

    async def move(self, movement: Movement, lines: str, reference: str) -> None:
        await self.sql.execute(statements.POSTGRES_MOVE, _movement_values(lines, movement, reference, self.at_ms))

    async def move_if_there(self, movement: Movement, lines: str, reference: str) -> int:
        rows = await self.sql.fetch(
            statements.POSTGRES_MOVE_IF_THERE, _movement_values(lines, movement, reference, self.at_ms)
        )
        return int(rows[0][0])

    async def receive(self, lines: str, reference: str) -> None:
        await self.sql.execute(statements.POSTGRES_RECEIVE, _movement_values(lines, RECEIVE, reference, self.at_ms))


_STATEMENTS: Final = {"sqlite": statements.SQLITE, "mariadb": statements.MARIADB}
_CLAIM: Final = {dialect: insert_sql(dialect, "reservation", statements.RESERVATION_COLUMNS) for dialect in _STATEMENTS}


@dataclass(frozen=True, slots=True)
class _StepwiseShelf:
    """SQLite and MariaDB: first the turn, then one statement after the other. Each reads what committed before it."""

    tx: Transaction
    statements: statements.Statements
    at_ms: int

    async def take_turn(self) -> None:
        if self.statements.take_turn:
            await self.tx.sql.fetch(self.statements.take_turn)

    async def claim(self, claim: Claim) -> bool:
        await self.take_turn()
        return await insert_once(self.tx, _CLAIM[self.tx.connection.dialect.name], _claim_values(claim, self.at_ms))

    async def end_hold(self, order_id: str, status: ReservationStatus, movement: Movement) -> Ended | None:
        await self.take_turn()
        rows = await self.tx.sql.fetch(statements.RESERVATION_FIND_HELD, (order_id,))
        if not rows:
            return None
        lines, expiry_id = rows[0]
        await self.tx.sql.execute(statements.RESERVATION_SET_STATUS, (order_id, status.value, self.at_ms))
        await self.move(movement, lines, order_id)
        return Ended(expiry_id)

    async def move(self, movement: Movement, lines: str, reference: str) -> None:
        values = _movement_values(lines, movement, reference, self.at_ms)
        await self.tx.sql.execute(self.statements.move, values[:3])
        await self.tx.sql.execute(self.statements.record, values)

    async def move_if_there(self, movement: Movement, lines: str, reference: str) -> int:
        short = int((await self.tx.sql.fetch(self.statements.count_short, (lines,)))[0][0])
        if not short:
            await self.move(movement, lines, reference)
        return short

    async def receive(self, lines: str, reference: str) -> None:
        await self.tx.sql.execute(self.statements.receive, (lines,))
        values = _movement_values(lines, RECEIVE, reference, self.at_ms)
        await self.tx.sql.execute(self.statements.record, values)


def _claim_values(claim: Claim, at_ms: int) -> tuple[object, ...]:
    return (claim.order_id, ReservationStatus.HELD.value, claim.lines, claim.expiry_id, at_ms)


def _movement_values(source: str, movement: Movement, reference: str, at_ms: int) -> tuple[object, ...]:
    """The parameters of a movement. `source` is the document of the lines, or the order that has them."""
    return (source, movement.on_hand, movement.reserved, movement.reason.value, reference, at_ms)
