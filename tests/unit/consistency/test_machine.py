"""Whatever happens between outbox, relay, broker and consumer: what a wait calls fresh was handled, or given up.

Relays that lose their leases and publish all the same, brokers that refuse or lose confirmations, handlers that fail,
batches that come again: hypothesis picks. In the end everything mends, and every token becomes fresh.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from freehold import RunningService, Service, Settings, Transaction, event
from freehold.broker import Delivery, OutgoingMessage, PublishConfirmed, PublishFailed, PublishOutcome
from freehold.conformance.outbox import take_partitions
from freehold.consistency import ConsistencyToken, Fresh
from freehold.database import DatabaseOptions
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import MessageRejected, Unavailable
from freehold.ids import stable_hash
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.deferred_runner import DeferredRunner
from freehold.inbox.pattern import dispatcher_of, router_of
from freehold.inbox.store import INBOX
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import OUTBOX, OutboxBatch
from freehold.outbox.watermark import StampedBatch, WatermarkStamper
from freehold.policy import Retry
from freehold.testing import ManualClock

T = TypeVar("T")
KEYS = tuple("abcd")
OUTBOX_PARTITIONS, BROKER_PARTITIONS = 2, 1
keys = st.sampled_from(KEYS)


@event("machine.noted", key="key")
class Noted:
    key: str
    number: int


@dataclass
class Log:
    """A broker that does what its port allows: partitions by key, and failures as the machine says."""

    lines: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    refused: set[str] = field(default_factory=set)
    unavailable: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    away: bool = False
    knows_again: bool = False
    ids: set[UUID] = field(default_factory=set)

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        if self.away:
            raise Unavailable("planned")
        outcomes: list[PublishOutcome] = []
        for message in messages:
            if message.key in self.refused:
                outcomes.append(PublishFailed(MessageRejected("planned")))
            elif message.key in self.unavailable:
                outcomes.append(PublishFailed(Unavailable("planned")))
            elif self.knows_again and message.id in self.ids:
                outcomes.append(PublishConfirmed(duplicate=True))
            else:
                self.ids.add(message.id)
                self.lines[stable_hash(message.key) % BROKER_PARTITIONS].append(message.document)
                outcomes.append(PublishFailed(Unavailable("lost")) if message.key in self.lost else PublishConfirmed())
        return outcomes


@dataclass
class HandedOut:
    topic: str
    partition: int
    deliveries: Sequence[Delivery]

    async def ack(self, count: int, *, counted: bool = True) -> None:
        raise AssertionError


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.log = Log()
        self.failing: set[str] = set()
        self.handled: set[UUID] = set()
        self.written: list[tuple[ConsistencyToken, frozenset[UUID]]] = []
        self.positions: dict[int, int] = defaultdict(int)
        self.frozen: tuple[dict[int, int], OutboxBatch, StampedBatch] | None = None
        self.number = 0
        self.do(self._open())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _open(self) -> None:
        reader = Service("reader", retry=Retry(attempts=3, delay_seconds=1.0, delay_seconds_max=1.0))

        @reader.handles(Noted)
        async def note(noted: Noted, tx: Transaction) -> None:
            if noted.key in self.failing:
                raise ValueError
            assert tx.cause is not None
            cause = tx.cause.id
            tx.staging.after_commit(lambda: self.handled.add(cause))

        self.source = RunningService(Service("machine"), _settings("machine"), roles=(), clock=self.clock)
        self.reader = RunningService(reader, _settings("reader"), roles=(), clock=self.clock)
        await self.source.start()
        await self.reader.start()
        self.lanes = WatermarkStamper("machine", OUTBOX_PARTITIONS, self.clock)
        await self._take_over("first")
        dispatcher, reads = dispatcher_of(self.reader.context), router_of(self.reader.context)
        self.consumer = ConsumerRunner(dispatcher, reads, self.reader.broker, frozenset({"machine.events"}))
        self.deferred = DeferredRunner(dispatcher, reads)

    async def _take_over(self, owner: str) -> None:
        self.leases = await take_partitions(self.source.stores, owner)
        self.relay = RelayRunner(
            "machine",
            self.source.stores,
            self.log,  # type: ignore[arg-type] # the relay publishes, and nothing else
            lambda: self.leases,
            clock=self.clock,
            limit=4,
            lanes=self.lanes,
            refused=Retry(attempts=2, delay_seconds=1.0, delay_seconds_max=1.0),
        )

    @rule(chosen=st.lists(keys, min_size=1, max_size=4))
    def write(self, chosen: list[str]) -> None:
        async def work() -> None:
            async with self.source.transaction() as tx:
                ids = []
                for key in chosen:
                    self.number += 1
                    ids.append(tx.publish(Noted(key, self.number)))
            self.written.append((tx.token, frozenset(ids)))

        self.do(work())

    @rule(knows_again=st.booleans())
    def publish(self, knows_again: bool) -> None:
        """`knows_again`: what the broker has already is dropped, with what it says of the lane."""
        self.log.knows_again = knows_again
        self.do(self.relay._round())

    @rule(refused=keys)
    def publish_and_be_refused(self, refused: str) -> None:
        self.log.refused = {refused}
        self.do(self.relay._round())
        self._mend_broker()

    @rule(unavailable=keys, lost=st.booleans())
    def publish_in_part(self, unavailable: str, lost: bool) -> None:
        self.log.unavailable, self.log.lost = {unavailable}, set(KEYS) if lost else set()
        self.do(self.relay._round())
        self._mend_broker()

    @rule(lost=keys)
    def publish_and_hear_nothing(self, lost: str) -> None:
        """A key is stored, and its confirmation does not come."""
        self.log.lost = {lost}
        self.do(self.relay._round())
        self._mend_broker()

    @rule()
    def freeze(self) -> None:
        """A relay stops after its fetch; another one takes over."""

        async def work() -> None:
            fetched = await self.source.stores[OUTBOX].fetch(self.leases, 4)
            self.frozen = (self.leases, fetched, self.lanes.stamp(fetched))
            await self._take_over("another")

        self.do(work())

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def thaw(self) -> None:
        """It goes on, and does not know."""

        async def work() -> None:
            assert self.frozen is not None
            leases, fetched, stamped = self.frozen
            outcomes = await self.log.publish(stamped.messages, 1.0)
            stored = [
                row for row, each in zip(fetched.rows, outcomes, strict=False) if isinstance(each, PublishConfirmed)
            ]
            await self.source.stores[OUTBOX].remove(leases, stored, stamped.pending_watermarks(fetched, outcomes))
            self.frozen = None

        self.do(work())

    @rule(limit=st.integers(1, 5), again=st.booleans())
    def consume(self, limit: int, again: bool) -> None:
        for partition in range(BROKER_PARTITIONS):
            self.do(self._consume(partition, limit, again=again))

    @rule(failing=st.sets(keys, min_size=2, max_size=3), limit=st.integers(2, 5))
    def consume_badly(self, failing: set[str], limit: int) -> None:
        self.failing = failing
        for partition in range(BROKER_PARTITIONS):
            self.do(self._consume(partition, limit, again=False))
        self.failing = set()

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def try_deferred(self) -> None:
        self.do(self._try_deferred())

    @invariant()
    def fresh_is_true(self) -> None:
        gone = self.handled | self.do(self._dead())
        for token, ids in self.written:
            if self.do(self._is_fresh(token)):
                assert ids <= gone, (token.text, ids - gone)

    def teardown(self) -> None:
        self._mend_broker()
        # Thirty writes of four, four a round, and what is rescheduled and deferred by then.
        for _ in range(30 + 15):
            self.clock.advance(1.0)
            self.do(self.relay._round())
            for partition in range(BROKER_PARTITIONS):
                self.do(self._consume(partition, 50, again=False))
            self.do(self._try_deferred())
        self.fresh_is_true()
        late = [token.text for token, _ in self.written if not self.do(self._is_fresh(token))]
        self.do(self.source.stop())
        self.do(self.reader.stop())
        self.runner.close()
        assert not late

    async def _consume(self, partition: int, limit: int, *, again: bool) -> None:
        """A batch, which comes once more when `again`."""
        begin = self.positions[partition]
        documents = self.log.lines[partition][begin : begin + limit]
        if not documents:
            return
        deliveries = [Delivery(each, 1, f"{partition}/{begin + n}") for n, each in enumerate(documents)]
        ended = [0]
        await self.consumer._handle([HandedOut("machine.events", partition, deliveries)], ended)
        (done,) = ended
        if not again:
            self.positions[partition] = begin + done

    async def _try_deferred(self) -> None:
        for message in await self.reader.stores[INBOX].claim_due("reader", 16, 60.0):
            await self.deferred._handle_claimed(message)

    async def _dead(self) -> set[UUID]:
        found: set[UUID] = set()
        for running in (self.source, self.reader):
            for letter in await running.stores[DEAD_LETTERS].find(DeadLetterFilter(limit=1000)):
                if letter.message_id is not None:
                    found.add(letter.message_id)
        return found

    async def _is_fresh(self, token: ConsistencyToken) -> bool:
        return isinstance(await self.reader.freshness.wait(token, limit_seconds=0.0), Fresh)

    def _mend_broker(self) -> None:
        self.log.refused, self.log.unavailable, self.log.lost = set(), set(), set()


def _settings(service: str) -> Settings:
    return Settings.load(
        service,
        environ={},
        database=f"memory://{uuid4().hex}",
        broker="memory://",
        database_options=DatabaseOptions(partitions=OUTBOX_PARTITIONS),
    )


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
