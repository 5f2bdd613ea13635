"""A service of every pattern on a counted database, and its loops, of which a flow does one round by hand.

No loop runs, time stands still unless it is moved, and the pool has one connection: what is counted is what one step
does, however busy the machine is. The broker is a file of its own, which is not counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast
from unittest.mock import patch

import sqlalchemy as sa
from tests.ledger.counters import Counters

from freehold import Retry, RunningService, Service, Settings, command, event
from freehold.audit.store import AUDIT
from freehold.broker import Batch, Broker, BrokerOptions, Consumer
from freehold.database import DatabaseOptions
from freehold.eventstore.store import EVENTS
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.deferred_runner import DeferredRunner
from freehold.leases.keeper import LeaseManager
from freehold.outbox.pace import RelayPace
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import OUTBOX
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.generation_runner import GenerationRunner
from freehold.projection.generations import begin_first
from freehold.projection.parked_stream import ParkedStreamRetrier
from freehold.projection.store import CHECKPOINTS
from freehold.runtime.adapters import open_broker
from freehold.saga import CallContext, Saga, SagaRunner, call, step
from freehold.testing import ManualClock
from freehold.transaction import Transaction

__all__ = [
    "Charging",
    "Failing",
    "Forwarded",
    "Ground",
    "Handled",
    "Order",
    "Posted",
    "Shipping",
    "declared",
    "file_broker",
    "ground",
    "settings_of",
]

_SERVICE: Final = "counted"
_FETCH_SECONDS_MAX: Final = 60.0
_WAIT_SECONDS_MAX: Final = 30.0


@event("counted.posted", key="name")
class Posted:
    """Nobody handles it."""

    name: str


@event("counted.handled", key="name")
class Handled:
    """Its handler does nothing: what is counted is Freehold's."""

    name: str


@event("counted.forwarded", key="name")
class Forwarded:
    """Its handler publishes one event."""

    name: str


@event("counted.failing", key="name")
class Failing:
    """Its handler fails, and again a second later, and is not tried any more."""

    name: str


@command("counted.ask", key="name")
class Ask:
    """It is answered."""

    name: str


@dataclass(frozen=True, slots=True)
class Order:
    """The state of the sagas."""

    name: str


async def _charge(_state: Order, _context: CallContext) -> None:
    """Stands for a request to a service outside."""


class Shipping(Saga[Order], name="counted.shipping", key="name"):
    """Two commands and a call between them."""

    first = step(Ask, no_compensation=True)
    charge = call(_charge, no_compensation=True, after=first)
    last = step(Ask, no_compensation=True, after=charge)


class Charging(Saga[Order], name="counted.charging", key="name"):
    """Four calls, one after the other."""

    first = call(_charge, no_compensation=True)
    second = call(_charge, no_compensation=True, after=first)
    third = call(_charge, no_compensation=True, after=second)
    fourth = call(_charge, no_compensation=True, after=third)


def declared() -> Service:
    """The service, with handlers that write nothing, and read models that write a row."""
    service = Service(_SERVICE)
    service.orchestrates(Shipping)
    service.orchestrates(Charging)

    @service.handles(Handled)
    async def handled(_message: Handled, _tx: Transaction) -> None:
        """Nothing."""

    @service.handles(Forwarded)
    async def forwarded(message: Forwarded, tx: Transaction) -> None:
        tx.publish(Posted(message.name))

    @service.handles(Failing, retry=Retry(attempts=2, delay_seconds=1.0, draw=lambda: 1.0))
    async def failing(_message: Failing, _tx: Transaction) -> None:
        raise ValueError("planned")

    @service.handles(Ask)
    async def ask(_message: Ask, _tx: Transaction) -> None:
        """Answered with nothing."""

    service.projects(_read_model("behind", inline=False))
    service.projects(_read_model("along", inline=True))
    return service


def _read_model(name: str, *, inline: bool) -> Projection:
    table = sa.Table(f"seen_{name}", sa.MetaData(), sa.Column("position", sa.BigInteger, primary_key=True))
    made = Projection(name, tables=(table,), categories={name}, inline=inline, partitions=1)

    @made.on(Posted)
    async def posted(_event: Posted, write: ProjectionContext) -> None:
        await write.sql.execute(f"INSERT INTO {write.name(table)} (position) VALUES ($1)", (write.recorded.position,))

    return made


class Ground:
    """The service, not one of its loops running, and counters of its database.

    relay, keeper, consumer, deferred, sagas, projection  loops, to do a round by hand.
    """

    def __init__(self, running: RunningService, counters: Counters, clock: ManualClock) -> None:
        self.running = running
        self.clock = clock
        self.counted: Mapping[str, int] = {}
        self._counters = counters
        make = running.loops.make
        keeper, relay = make("relay")
        (consumer,), (deferred,), (sagas,) = make("consumer"), make("deferred"), make("sagas")
        self.keeper, self.relay = cast("LeaseManager", keeper), cast("RelayRunner", relay)
        self.consumer, self.deferred = cast("ConsumerRunner", consumer), cast("DeferredRunner", deferred)
        self.sagas = cast("SagaRunner", sagas)
        self.head = 0
        self._prefix = ""
        self._names = 0
        self._member: Consumer | None = None
        self._projection: GenerationRunner | None = None

    @contextmanager
    def counting(self) -> Iterator[None]:
        """What is done in here is what the flow costs."""
        self._counters.begin()
        yield
        self.counted = self._counters.end()

    @property
    def projection(self) -> GenerationRunner:
        """The loop of the read model `behind`; it reads as far as `head`."""
        assert self._projection is not None
        return self._projection

    def begin_flow(self, prefix: str) -> None:
        """Have names begin again: which partitions they fall into must not depend on other flows."""
        self._prefix, self._names = prefix, 0

    def name(self) -> str:
        """A key that nothing else has."""
        self._names += 1
        return f"{self._prefix}-{self._names}"

    async def begin(self) -> None:
        """Take the leases, join the group, begin the read model."""
        await self.running.broker.open()
        self._member = await self.running.broker.subscribe(self.consumer._subscription)
        await self.keeper._ensure_vouch()
        await self.keeper._store.ensure([*self.keeper._names, self.keeper._member])
        while len(self.keeper.tokens) < self.running.stores[OUTBOX].partitions:
            await self.keeper._round()
            self.clock.advance(1.0)
        stores, transactions = self.running.stores, self.running.transactions
        declared = self.running.service.projections["behind"]
        self._projection = GenerationRunner(
            await begin_first(declared, stores),
            declared,
            transactions,
            stores[EVENTS],
            stores[CHECKPOINTS],
            ParkedStreamRetrier(declared, transactions, stores[EVENTS], stores[CHECKPOINTS], stores[AUDIT]),
            held=lambda: [0],
            head=lambda: self.head,
        )

    async def end(self) -> None:
        """Give back what `begin` took."""
        await self.keeper.release()

    async def pass_seconds(self, seconds: float) -> None:
        """Let time pass, and keep the leases."""
        self.clock.advance(seconds)
        await self.keeper._round()

    async def commit(self, *messages: object) -> None:
        """Publish events in one transaction."""
        async with self.running.transaction() as tx:
            for message in messages:
                tx.publish(message)

    async def publish_all(self) -> int:
        """Rounds of the relay until nothing is staged, and nothing owed."""
        moved = await self.relay._round()
        while await self.relay._round() or self.relay._pending_rounds:
            moved += 1
        return moved

    @contextmanager
    def in_a_backlog(self) -> Iterator[None]:
        """Rounds of the relay as its loop does them, with one message each, while there are more."""
        self.relay._loops, pace = True, self.relay._pace
        self.relay._pace = RelayPace(1)
        with patch.object(RelayPace, "moved"):
            yield
        self.relay._loops, self.relay._pace = False, pace

    async def fetched(self) -> Batch:
        """The next batch that the broker delivers; all that was staged is published before."""
        await self.publish_all()
        assert self._member is not None
        batch = await self._member.fetch(64, _FETCH_SECONDS_MAX)
        assert batch is not None, "nothing came from the broker"
        return batch

    async def take(self, batch: Batch) -> None:
        """Handle a batch as the consumer does, and ack it."""
        await self.consumer._process_all([batch])

    async def drained(self) -> None:
        """Have everything handled that is in progress, but for sagas' calls and what waits for its time."""
        while True:
            await self.publish_all()
            lags = await self.running.broker.lag(self.running.service.name)
            if not sum(each.pending for each in lags):
                return
            await self.take(await self.fetched())

    async def wanted(self, size: int) -> Batch:
        """The next batch of exactly so many messages; what comes before it is handled."""
        while len((batch := await self.fetched()).deliveries) != size:
            await self.take(batch)
        return batch


def settings_of(counters: Counters, directory: Path) -> Settings:
    """The service's settings. On PostgreSQL it has one connection: which of several has prepared what is chance. On
    SQLite each loop finds one.
    """
    options = DatabaseOptions(pool_timeout_seconds=_WAIT_SECONDS_MAX, lock_timeout_seconds=_WAIT_SECONDS_MAX)
    return Settings(
        service=_SERVICE,
        database=counters.url,
        broker=f"embedded:///{directory}/broker.db",
        database_options=replace(options, pool_size=16 if counters.url.startswith("sqlite") else 1),
    )


def file_broker(directory: Path) -> Broker:
    """A broker of one partition, so that what was published comes in one batch. It goes by the system's clock."""
    return open_broker(f"embedded:///{directory}/broker.db", BrokerOptions(partitions=1))


@asynccontextmanager
async def ground(counters: Counters, directory: Path, clock: ManualClock) -> AsyncIterator[Ground]:
    """A service on the counted database; its broker is in the directory. It hears no hints of other processes: when it
    listens for them, and says once a minute what it wants, is no part of a flow.
    """
    broker = file_broker(directory)
    settings = replace(settings_of(counters, directory), hints="none")
    running = RunningService(declared(), settings, broker=broker, roles=(), clock=clock, connects=False)
    try:
        async with running:
            made = Ground(running, counters, clock)
            await made.begin()
            yield made
            await made.end()
    finally:
        await broker.close()
