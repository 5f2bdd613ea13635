"""Two services in memory, a source and its reader, whose loops are turned by hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from freehold import Projection, ProjectionContext, RunningService, Service, Settings, Transaction, event
from freehold.broker import Delivery, OutgoingMessage, PublishConfirmed, PublishOutcome
from freehold.conformance.outbox import take_partitions
from freehold.consistency import ConsistencyToken, Freshness
from freehold.consistency.store import PROGRESS
from freehold.database import DatabaseOptions
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.deferred_runner import DeferredRunner
from freehold.inbox.pattern import dispatcher_of, router_of
from freehold.inbox.retry import MessagesReleased
from freehold.inbox.store import INBOX
from freehold.messages import decode_envelope
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.watermark import WatermarkStamper
from freehold.policy import Retry
from freehold.testing import ManualClock

__all__ = ["LANE", "Told", "Turned", "overheard", "turned"]

LANE = "teller/0"


@event("teller.told", key="key")
class Told:
    key: str
    number: int


overheard = Projection("overheard", version=1)
"""A read model of what the reader kept; its runner does not run."""


@overheard.on(Told)
async def _overhear(_message: Told, _write: ProjectionContext) -> None:
    return


@dataclass
class Log:
    """A broker's one partition. Answers as `outcomes` say by key; what is not `PublishConfirmed` there is not kept."""

    documents: list[bytes] = field(default_factory=list)
    outcomes: dict[str, PublishOutcome] = field(default_factory=dict)

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        answers = [self.outcomes.get(message.key, PublishConfirmed()) for message in messages]
        pairs = zip(messages, answers, strict=True)
        self.documents += [message.document for message, answer in pairs if answer == PublishConfirmed()]
        return answers

    def said(self) -> list[tuple[int | None, int | None]]:
        """Position and watermark of everything that is there."""
        envelopes = [decode_envelope(document) for document in self.documents]
        return [(each.position, each.watermark) for each in envelopes]


@dataclass
class HandedOut:
    topic: str
    partition: int
    deliveries: Sequence[Delivery]

    async def ack(self, count: int, *, counted: bool = True) -> None:
        raise AssertionError


@dataclass
class Turned:
    """The source's relay and the reader's consumer, one turn at a time. Both databases have one partition."""

    clock: ManualClock
    source: RunningService
    reader: RunningService
    consumer: ConsumerRunner
    deferred: DeferredRunner
    log: Log = field(default_factory=Log)
    leases: Mapping[int, int] = field(default_factory=dict)
    read: int = 0

    async def tell(self, *keys: str) -> ConsistencyToken:
        async with self.source.transaction() as tx:
            for number, key in enumerate(keys):
                tx.publish(Told(key, number))
        return tx.token

    def relay(self) -> RelayRunner:
        return RelayRunner(
            "teller",
            self.source.stores,
            self.log,  # type: ignore[arg-type] # the relay publishes, and nothing else
            lambda: self.leases,
            clock=self.clock,
            lanes=WatermarkStamper("teller", 1, self.clock),
            refused=Retry(attempts=1),
        )

    async def publish(self) -> None:
        await self.relay()._round()

    async def consume(self) -> None:
        """Deliver what is new as one batch; a stop may end it."""
        documents = self.log.documents[self.read :]
        deliveries = [Delivery(each, 1, f"0/{self.read + number}") for number, each in enumerate(documents)]
        done = [0]
        with contextlib.suppress(MessagesReleased):
            await self.consumer._handle([HandedOut("teller.events", 0, deliveries)], done)
        self.read += done[0]

    async def try_deferred(self) -> None:
        for message in await self.reader.stores[INBOX].claim_due("listener", 16, 60.0):
            await self.deferred._handle_claimed(message)

    async def watermark(self) -> int:
        rows = await self.reader.stores[PROGRESS].progress("listener", [LANE])
        return rows[0].watermark if rows else 0

    async def kept(self) -> int:
        rows = await self.reader.stores[PROGRESS].progress("listener", [LANE])
        return rows[0].appended_position if rows else 0

    async def wait(self, token: ConsistencyToken, *projections: str) -> Freshness:
        return await self.reader.freshness.wait(token, projections=projections, limit_seconds=0.0)


@asynccontextmanager
async def turned(handle: Callable[[Told, Transaction], Awaitable[None]]) -> AsyncIterator[Turned]:
    clock = ManualClock()
    listener = Service("listener", retry=Retry(attempts=3, delay_seconds=1.0, delay_seconds_max=1.0))
    listener.projects(overheard)

    @listener.handles(Told)
    async def told(message: Told, tx: Transaction) -> None:
        await handle(message, tx)

    source = RunningService(Service("teller"), _settings("teller"), roles=(), clock=clock)
    reader = RunningService(listener, _settings("listener"), roles=(), clock=clock)
    async with source, reader:
        dispatcher, reads = dispatcher_of(reader.context), router_of(reader.context)
        consumer = ConsumerRunner(dispatcher, reads, reader.broker, frozenset({"teller.events"}))
        made = Turned(clock, source, reader, consumer, DeferredRunner(dispatcher, reads))
        made.leases = await take_partitions(source.stores)
        yield made


def _settings(service: str) -> Settings:
    return Settings.load(
        service,
        environ={},
        database=f"memory://{uuid4().hex}",
        broker="memory://",
        database_options=DatabaseOptions(partitions=1),
    )
