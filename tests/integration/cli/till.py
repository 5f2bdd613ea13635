"""Services for the command line to work on: a till that orchestrates sales, and a depot that picks goods."""

from __future__ import annotations

from dataclasses import dataclass

from freehold import Migration, Retry, Saga, Service, Transaction, command, event, local, step

TABLE = Migration("001-picked", {"": ["CREATE TABLE picked (sale text NOT NULL)"]})
till = Service("till")
depot = Service("depot", migrations=[TABLE])
seen: list[str] = []


@command("depot.pick", key="sale")
class Pick:
    sale: str


@command("depot.put-back", key="sale")
class PutBack:
    sale: str


@command("depot.pay", key="sale")
class Pay:
    sale: str


@event("till.sale-closed", key="sale")
class SaleClosed:
    sale: str
    cents: int


@dataclass(frozen=True, slots=True)
class Sale:
    sale: str


@till.orchestrates
class Selling(Saga[Sale], name="till.selling", key="sale"):
    pick = step(Pick, compensation=PutBack)
    pay = step(Pay, no_compensation=True, after=pick)


broken: list[Exception] = []
"""What the code of the till raises at present."""
following: list[str] = []
"""Sales that a booking starts."""


async def book(sale: Sale, tx: Transaction) -> None:
    for error in broken:
        raise error
    for key in following:
        await Selling.start(tx, Sale(key))


class Booking(Saga[Sale], name="till.booking", key="sale", hook_retry=Retry(attempts=2, delay_seconds=0.01)):
    pick = step(Pick, compensation=PutBack, timeout_seconds=300)
    book = local(book, after=pick)


@depot.handles(Pick)
async def pick(message: Pick, tx: Transaction) -> None:
    """Nothing to do."""


@depot.handles(PutBack)
async def put_back(message: PutBack, tx: Transaction) -> None:
    """Nothing to do."""


@depot.handles(SaleClosed, retry=Retry(attempts=1))
async def sale_closed(message: SaleClosed, tx: Transaction) -> None:
    if message.cents < 0:
        raise ValueError("planned")
    tx.publish(SaleNoted(message.sale))


@event("depot.sale-noted", key="sale")
class SaleNoted:
    sale: str
