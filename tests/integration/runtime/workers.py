"""A service that applies numbers to its own table, run as a process of its own: `python -m` with two URLs and a prefix.

It shows order and single effects: each effect is a row whose position the database gives.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import text

from freehold import Migration, Retry, Service, Settings, Transaction, event, run
from freehold.broker import BrokerOptions

__all__ = ["Counted", "Numbered", "settings_for", "worker"]


@event("source.numbered", key="key")
class Numbered:
    key: str
    number: int


@event("worker.counted", key="key")
class Counted:
    key: str
    number: int


_TABLES = {
    "sqlite": ["CREATE TABLE effect (position INTEGER PRIMARY KEY, key TEXT NOT NULL, number INTEGER NOT NULL)"],
    "postgresql": [
        """CREATE TABLE effect (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, number integer NOT NULL
        )"""
    ],
}
worker = Service("worker", migrations=[Migration("100-effect", _TABLES)], retry=Retry(attempts=4, delay_seconds=0.05))


@worker.handles(Numbered)
async def apply(event: Numbered, tx: Transaction) -> None:
    if event.key == "poison":
        raise ValueError("planned")
    await tx.connection.execute(
        text("INSERT INTO effect (key, number) VALUES (:key, :number)"), {"key": event.key, "number": event.number}
    )
    tx.publish(Counted(event.key, event.number))


def settings_for(service: str, database: str, broker: str, prefix: str) -> Settings:
    """Settings with short leases: a test does not wait long for a take-over."""
    return Settings.load(
        service,
        environ={},
        database=database,
        broker=broker,
        broker_options=BrokerOptions(prefix=prefix, lease_seconds=2.0),
        lease_seconds=2.0,
    )


if __name__ == "__main__":
    database, broker, prefix = sys.argv[1:]
    asyncio.run(
        run(
            worker,
            settings={"worker": settings_for("worker", database, broker, prefix)},
            on_ready=lambda _: print("ready", flush=True),  # noqa: T201 - tells the test
        )
    )
