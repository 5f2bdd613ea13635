"""A service with one table of its own and one event, for the tests of a transaction's life."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from freehold import Migration, RunningService, Service, event
from freehold.outbox.store import OUTBOX
from freehold.sqlalchemy import connection

__all__ = ["Deposited", "Happened", "Order", "messages", "orders", "service"]


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "own_order"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    pieces: Mapped[int] = mapped_column(default=1)


@event("trial.happened", key="name")
class Happened:
    name: str


@event("trial.deposited", key="account")
class Deposited:
    account: str
    pieces: int


def service() -> Service:
    create = "CREATE TABLE own_order (order_id TEXT PRIMARY KEY, pieces INTEGER NOT NULL)"
    return Service("trial", migrations=[Migration("001-order", {"": [create]})])


async def orders(running: RunningService) -> int:
    """How many rows everybody sees."""
    async with running.transaction() as tx:
        found = await connection(tx).scalar(select(func.count()).select_from(Order))
        return int(found or 0)


async def messages(running: RunningService) -> int:
    """How many messages wait in the outbox."""
    return (await running.stores[OUTBOX].stats()).pending
