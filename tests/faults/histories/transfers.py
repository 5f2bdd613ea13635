"""A saga that moves money between the accounts of two services. All of them as a process: `python -m … DATABASE BROKER
PREFIX`, where the first argument is the URL of a database with `{service}` in it.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from sqlalchemy import text
from tests.integration.runtime.workers import settings_for

from freehold import Migration, Rejected, Runtime, Saga, Service, Settings, Transaction, command, step

INITIAL = {"a1": 20, "a2": 20, "b1": 20, "b2": 20}
CLOSED = "b2"
"""This account takes no money: a transfer to it is compensated."""
_TABLE = ["CREATE TABLE account (name VARCHAR(10) PRIMARY KEY, balance INTEGER NOT NULL)"]


def _service(name: str, letter: str) -> Service:
    rows = [f"INSERT INTO account VALUES ('{each}', {money})" for each, money in INITIAL.items() if each[0] == letter]
    return Service(name, migrations=[Migration("100-accounts", {"": [*_TABLE, *rows]})])


givers, takers, teller = _service("givers", "a"), _service("takers", "b"), Service("teller")


@command("givers.debit", key="name")
class Debit:
    name: str
    amount: int


@command("givers.refund", key="name")
class Refund:
    name: str
    amount: int


@command("takers.credit", key="to")
class Credit:
    to: str
    amount: int


@givers.handles(Debit)
async def debit(request: Debit, tx: Transaction) -> Rejected | None:
    changed = await tx.connection.execute(
        text("UPDATE account SET balance = balance - :amount WHERE name = :name AND balance >= :amount"),
        {"name": request.name, "amount": request.amount},
    )
    return None if changed.rowcount else Rejected("too-little")


@givers.handles(Refund)
async def refund(request: Refund, tx: Transaction) -> None:
    await _add(tx, request.name, request.amount)


@takers.handles(Credit)
async def credit(request: Credit, tx: Transaction) -> Rejected | None:
    if request.to == CLOSED:
        return Rejected("closed")
    await _add(tx, request.to, request.amount)
    return None


async def _add(tx: Transaction, name: str, amount: int) -> None:
    await tx.connection.execute(
        text("UPDATE account SET balance = balance + :amount WHERE name = :name"), {"name": name, "amount": amount}
    )


@dataclass(frozen=True, slots=True)
class Order:
    name: str
    to: str
    amount: int


@teller.orchestrates
class Transfer(Saga[Order], name="teller.transfer", key="name"):
    debit = step(Debit, compensation=Refund)
    credit = step(Credit, pivot=True, after=debit)


SERVICES = (givers, takers, teller)


def settings_of(database: str, broker: str, prefix: str) -> dict[str, Settings]:
    """The settings of all three; each has a database of its own."""
    return {each.name: settings_for(each.name, database.format(service=each.name), broker, prefix) for each in SERVICES}


async def main(database: str, broker: str, prefix: str) -> None:
    async with Runtime(*SERVICES, settings=settings_of(database, broker, prefix)):
        print("ready", flush=True)  # noqa: T201 - tells the test
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
