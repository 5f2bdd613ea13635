"""One run of a choreography: its services on databases of their own, and every message between them in the hands of the
run. Testing: imports the runtime.

Nothing runs by itself: the stage takes what a transaction has staged from the outbox, and delivers one message at a
time through the service's own inbox. The messages of one key from one topic reach a consumer in order, as on a broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.errors import FreeholdError
from freehold.inbox.dispatcher import Dispatcher, HandlerFailed
from freehold.inbox.pattern import PATTERN, dispatcher_of, router_of
from freehold.inbox.work import HandlerCall, MessageRouter
from freehold.messages import Envelope, decode_envelope
from freehold.origin import describe
from freehold.outbox.store import OUTBOX
from freehold.pattern import Phase
from freehold.ports import Stores
from freehold.runtime import RunningService
from freehold.runtime.adapters import open_broker
from freehold.runtime.patterns import patterns_of, service_context, stores_of
from freehold.schedule.schedule_runner import send_due
from freehold.schedule.store import SCHEDULE
from freehold.service import Service
from freehold.settings import Settings
from freehold.testing.choices import Choices
from freehold.testing.clock import ManualClock
from freehold.transaction import Transaction, Transactions

__all__ = ["MessageFault", "Stage", "StuckMessage"]

_ROWS_MAX: Final = 10_000
_STEPS_MAX: Final = 2_000
_STUCK_MAX: Final = 3
_Close = Callable[[], Awaitable[None]]


class MessageFault(StrEnum):
    """What happens to a message on its way to one consumer."""

    OK = "ok"
    TWICE = "twice"
    """It is delivered again at once, and once more at the end."""
    FAILS = "fails"
    """Its handler fails after its work, which is rolled back; then it is delivered again."""
    LATE = "late"
    """It arrives, with what follows for its key, when nothing else is left: as if it was lost, and sent again."""
    AFTER_DEADLINE = "after-deadline"
    """As late, but after the next scheduled message is due, and after what follows from that."""


class StuckMessage(Exception):
    """A handler fails again and again, or there is no end."""


class _PlannedFailure(Exception):
    """What a handler raises in a simulated run."""


@dataclass(slots=True)
class _Message:
    """A message on its way to one consumer.

    held       why it does not arrive yet.
    met        its fault was chosen.
    failed_at  the progress of the run when its handler last raised, of itself; None where it has not.
    stuck      how often it raised without any progress in between.
    """

    number: int
    consumer: str
    envelope: Envelope
    document: bytes
    held: MessageFault | None = None
    met: bool = False
    failed_at: int | None = None
    stuck: int = 0

    def __str__(self) -> str:
        return f"{self.envelope.type} → {self.consumer}"


@dataclass(slots=True)
class _Actor:
    """A service, how far its outbox was read, and when its next scheduled message is due."""

    context: ServiceContext
    close: _Close
    dispatcher: Dispatcher
    router: MessageRouter
    topics: frozenset[str]
    seen: int = 0
    due: float | None = None


class Stage:
    """What a choreography sees of its run. `clock` is that of all services: it moves when a deadline is due."""

    def __init__(self, choices: Choices) -> None:
        self.clock = ManualClock()
        self.lines: list[tuple[str, str]] = []
        self._choices = choices
        self._actors: dict[str, _Actor] = {}
        self._queues: dict[tuple[str, str, str], deque[_Message]] = {}
        self._at_end: list[_Message] = []
        self._numbers = 0
        self._progress = 0

    def choose(self, about: str, *options: str) -> str:
        """Return one of these outcomes: each is explored, and none counts as a fault. For doubles of what a handler
        calls: `stage.choose("card", "accepted", "declined")`.
        """
        chosen = self._choices.choose(about, options, free=True)
        self.tell(about, f"is {chosen}")
        return chosen

    def stores(self, service: str) -> Stores:
        """The stores of a service, to look into its database: `stage.stores("orders")[SQL]`."""
        return self._actors[service].context.stores

    @asynccontextmanager
    async def transaction(self, service: str) -> AsyncIterator[Transaction]:
        """A transaction of a service, as of a request to it. What it sends is on its way after the commit."""
        async with self._actors[service].context.resource(Transactions).begin() as tx:
            yield tx
        sent = await self._collect(service)
        if sent:
            self.tell(service, f"publishes {', '.join(sent)}")

    def tell(self, who: str, what: str) -> None:
        """Add a line to the story of the run."""
        self.lines.append((who, what))

    @contextmanager
    def without_faults(self) -> Iterator[None]:
        """Have nothing fail inside this block, and forget its story."""
        choices, self._choices = self._choices, Choices.of({})
        try:
            yield
        finally:
            self._choices = choices
            self.lines.clear()

    async def open(
        self,
        services: Sequence[Service],
        url: Callable[[str], str],
        settings: Mapping[str, Any],
        *,
        prepared: bool = False,
    ) -> None:
        """Open all services. `prepared`: on databases that were opened before, which need no further check. Raises
        their errors.
        """
        for service in services:
            own = Settings(service=service.name, database=url(service.name), broker="memory://exploration", **settings)
            if prepared:
                context, close = await self._opened(service, own)
            else:
                running = RunningService(service, own, roles=(), connects=False, clock=self.clock)
                await running.start()
                context, close = running.context, running.stop
            actor = _Actor(context, close, dispatcher_of(context), router_of(context), context.of(PATTERN).topics)
            self._actors[service.name] = actor
            rows = await context.stores[OUTBOX].unsent(_ROWS_MAX)
            actor.seen = max((row.staged.position for row in rows), default=0)
            await self._look(actor)

    async def _opened(
        self, service: Service, settings: Settings
    ) -> tuple[ServiceContext, Callable[[], Awaitable[None]]]:
        stores = stores_of(service, settings, self.clock)
        await stores.database.open()
        broker = open_broker(settings.broker)  # some checks ask it what it can do; nothing is published
        context = service_context(service, stores, settings, clock=self.clock, broker=broker)
        for pattern in patterns_of(service):
            for check in pattern.checks:
                if check.phase is Phase.OPENED:
                    await check.run(context)

        async def close() -> None:
            await context.close()
            await stores.database.close()

        return context, close

    async def close(self) -> None:
        """Close all services."""
        for actor in self._actors.values():
            await actor.close()
        self._actors.clear()

    async def run(self) -> None:
        """Deliver messages, and have deadlines be due, until nothing is left. Raises `StuckMessage`."""
        for _ in range(_STEPS_MAX):
            heads = self._heads()
            deadlines = self._deadlines()
            if heads:
                await self._step(heads, deadlines)
            elif self._release(MessageFault.LATE) or self._retry(anyway=False):
                continue
            elif deadlines:
                await self._deadline(min(deadlines, key=lambda name: (deadlines[name], name)))
            elif self._release(MessageFault.AFTER_DEADLINE) or self._retry(anyway=True):
                continue
            elif self._at_end:
                await self._deliver(self._at_end.pop(0), "once more: ")
            else:
                return
        raise StuckMessage(f"there is no end after {_STEPS_MAX} steps")

    async def _step(self, heads: Sequence[_Message], deadlines: Mapping[str, float]) -> None:
        options = [f"{head}" for head in heads] + [f"deadline of {name}" for name in sorted(deadlines)]
        options = [
            f"{option} ({number})" if options.count(option) > 1 else option for number, option in enumerate(options)
        ]
        index = options.index(self._choices.choose("next", options)) if len(options) > 1 else 0
        if index >= len(heads):
            await self._deadline(sorted(deadlines)[index - len(heads)])
            return
        message = heads[index]
        fault = MessageFault.OK if message.met else self._fault(message, deadlines)
        message.met = True
        if fault in {MessageFault.LATE, MessageFault.AFTER_DEADLINE}:
            message.held = fault
            self.tell(message.consumer, f"does not get {message.envelope.type} yet ({fault.value})")
            return
        if not await self._deliver(message, fails=fault is MessageFault.FAILS):
            return
        self._queue(message).popleft()
        if fault is MessageFault.TWICE:
            await self._deliver(message, "again: ")
            self._at_end.append(message)

    def _fault(self, message: _Message, deadlines: Mapping[str, float]) -> MessageFault:
        options = [each.value for each in MessageFault if each is not MessageFault.AFTER_DEADLINE or deadlines]
        return MessageFault(self._choices.choose(str(message), options))

    async def _deliver(self, message: _Message, again: str = "", *, fails: bool = False) -> bool:
        """Handle a message in its consumer's transaction. False: that was rolled back, and it comes again."""
        actor = self._actors[message.consumer]
        work = self._work(message)
        call = work.call
        if fails and call is not None:
            work = replace(work, call=_failing(call), batch=None)
        try:
            await actor.dispatcher.handle([work])
        except (HandlerFailed, FreeholdError) as failure:
            error = failure.error if isinstance(failure, HandlerFailed) else failure
            planned = isinstance(error, _PlannedFailure)
            why = "its handler fails" if planned else f"its handler raises {describe(error)}"
            self.tell(message.consumer, f"{message.envelope.type}: {why}, rolled back")
            if not planned:
                message.held = MessageFault.FAILS
                message.stuck = message.stuck + 1 if message.failed_at == self._progress else 0
                message.failed_at = self._progress
            return False
        self._progress += 1
        sent = await self._collect(message.consumer)
        follows = f"; publishes {', '.join(sent)}" if sent else ""
        self.tell(message.consumer, f"{again}handles {message.envelope.type}{follows}")
        return True

    async def _deadline(self, service: str) -> None:
        """Let the time pass until the next scheduled message of a service is due."""
        actor = self._actors[service]
        if actor.due is not None and actor.due > self.clock.monotonic():
            self.clock.advance(actor.due - self.clock.monotonic())
        await send_due(actor.context.stores, 1)
        self._progress += 1
        sent = await self._collect(service)
        self.tell(service, f"a deadline is due: {', '.join(sent)}")
        for message in self._held(MessageFault.AFTER_DEADLINE):
            message.held = MessageFault.LATE  # what follows from the deadline is before it

    def _deadlines(self) -> Mapping[str, float]:
        """When the next scheduled message is due, by service."""
        return {name: actor.due for name, actor in self._actors.items() if actor.due is not None}

    async def _collect(self, service: str) -> Sequence[str]:
        """Put what a service has staged on its way; returns the types."""
        actor = self._actors[service]
        rows = await actor.context.stores[OUTBOX].unsent(_ROWS_MAX)
        await self._look(actor)
        new = [row.staged for row in rows if row.staged.position > actor.seen]
        types = []
        for row in sorted(new, key=lambda each: each.position):
            actor.seen = row.position
            envelope = decode_envelope(row.message.document)
            types.append(envelope.type)
            for name, consumer in self._actors.items():
                if row.message.topic in consumer.topics:
                    self._send(name, row.message.topic, row.message.key, envelope, row.message.document)
        return types

    async def _look(self, actor: _Actor) -> None:
        seconds = await actor.context.stores[SCHEDULE].next_due_seconds()
        actor.due = None if seconds is None else self.clock.monotonic() + seconds

    def _send(self, consumer: str, topic: str, key: str, envelope: Envelope, document: bytes) -> None:
        self._numbers += 1
        message = _Message(self._numbers, consumer, envelope, document)
        if self._routed(message) is not None:
            self._queues.setdefault((consumer, topic, key), deque()).append(message)

    def _routed(self, message: _Message) -> HandlerCall | None:
        router, topic = self._actors[message.consumer].router, message.envelope.topic
        return router.route(message.document, topic=topic, location=str(message.number))

    def _work(self, message: _Message) -> HandlerCall:
        work = self._routed(message)
        if work is None:
            raise StuckMessage(f"{message} has no handler")
        return work

    def _queue(self, message: _Message) -> deque[_Message]:
        return next(queue for queue in self._queues.values() if message in queue)

    def _heads(self) -> Sequence[_Message]:
        """The messages that may arrive next, the oldest first."""
        heads = [queue[0] for queue in self._queues.values() if queue and queue[0].held is None]
        return sorted(heads, key=lambda message: message.number)

    def _release(self, fault: MessageFault) -> bool:
        """Let messages arrive that were held. False: there are none."""
        released = self._held(fault)
        for message in released:
            message.held = None
        return bool(released)

    def _retry(self, *, anyway: bool) -> bool:
        """Let messages arrive again whose handlers raised: after something else happened, or `anyway`. False: there are
        none. Raises `StuckMessage` for one that nothing helps.
        """
        failed = self._held(MessageFault.FAILS)
        again = [message for message in failed if anyway or message.failed_at != self._progress]
        for message in again:
            if message.stuck >= _STUCK_MAX:
                raise StuckMessage(f"{message}: its handler raises each time; the message would become a dead letter")
            message.held = None
        return bool(again)

    def _held(self, fault: MessageFault) -> Sequence[_Message]:
        return [queue[0] for queue in self._queues.values() if queue and queue[0].held is fault]


def _failing(call: Callable[[Transaction], Any]) -> Callable[[Transaction], Any]:
    async def fail(tx: Transaction) -> None:
        await call(tx)
        raise _PlannedFailure("planned")

    return fail
