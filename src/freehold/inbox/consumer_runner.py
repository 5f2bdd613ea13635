"""The runner that reads messages from the broker and handles them. Pattern: imports the foundation, the ports and its
package.

A batch is handled in one transaction and acked after the commit. While it is in progress, other batches become ready,
and share the next one; partitions whose handlers are slow share none (`handling_times`). If a transaction fails, its
messages are handled one by one. A message that was delivered before is never handled together with others: if it
crashes its consumer again, it is known which message it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Mapping, Sequence

from freehold.broker import Batch, Broker, Consumer, Noticing, Subscription
from freehold.crash_points import crash_point
from freehold.errors import FreeholdError, LeaseLost, Unavailable
from freehold.failures import CrashLimit
from freehold.inbox.batches import came_before, delivery_count_max, groups_of, place_of
from freehold.inbox.dispatcher import Counters, Dispatcher, HandlerFailed
from freehold.inbox.handling_times import TOGETHER_SECONDS
from freehold.inbox.pace import ConsumerPace
from freehold.inbox.retry import DatabaseAway, FailureHandler, MessagesReleased
from freehold.inbox.turn import Turn
from freehold.inbox.work import HandlerCall, MessageRouter
from freehold.lifecycle import Runner
from freehold.outages import BROKER, Wait
from freehold.policy import OUTAGE, TROUBLE
from freehold.tasks import TaskGroup, contained, first_of

__all__ = ["ConsumerRunner"]

_log = logging.getLogger("freehold.inbox")
_PATIENCE_SECONDS = 1.0
"""How long messages are held while the database is unavailable: long enough for a restart of it."""
_DELIVERIES_IN_PARALLEL = 2
"""Messages that were delivered more often are handled while no others are fetched. Otherwise a message that crashes the
process would raise the delivery counts of others with its own, until they were dead-lettered in its place."""


class ConsumerRunner(Runner):
    """Reads the topics of a service as one member of its group, with several workers on different partitions.

    batch_limit         messages in one transaction, at most.
    crash_attempts_max  a message that was delivered more often, and never finished, becomes a dead letter.

    Messages that several partitions have ready are handled in one transaction, where their handlers are quick, the
    database has one writer, or there is one worker: then no other would handle them sooner. A transaction that is not
    full keeps other workers from fetching until it has ended, or for `TOGETHER_SECONDS`: what becomes ready meanwhile
    shares the next one.
    """

    needs = BROKER

    def __init__(
        self,
        dispatcher: Dispatcher,
        router: MessageRouter,
        broker: Broker,
        topics: frozenset[str],
        *,
        workers: int = 4,
        batch_limit: int = 64,
        crash_attempts_max: int = 5,
        fetch_wait_seconds: float = 5.0,
    ) -> None:
        super().__init__(f"consumer {dispatcher.consumer}", clock=dispatcher.context.clock)
        self._dispatcher = dispatcher
        self._router = router
        self._broker = broker
        self._subscription = Subscription(group=dispatcher.consumer, topics=topics)
        self._workers = workers
        self._batch_limit = batch_limit
        self._crashes = CrashLimit(crash_attempts_max)
        self._suspect_from = max(1, min(_DELIVERIES_IN_PARALLEL, crash_attempts_max - 1)) + 1
        self._fetch_wait_seconds = fetch_wait_seconds
        self._failure_handler = FailureHandler(
            dispatcher, self._stop, self._database_wait, patience_seconds=_PATIENCE_SECONDS
        )
        self._wait: Wait | None = None
        self._consumer: Consumer | None = None
        self._acking = TaskGroup()
        self._gate = asyncio.Lock()
        self._pace = ConsumerPace(self.clock)
        self._set_aside: Batch | None = None
        self._times = dispatcher.times
        self._redeliveries: dict[str, int] = {}
        self._in_parallel = workers > 1 and dispatcher.context.database.features.concurrent_writers

    @property
    def counters(self) -> Counters:
        """The counts since the start."""
        return self._dispatcher.counters

    @property
    def notice(self) -> str:
        """Why this member gets no messages: it could not join its group, or the notice of its broker's consumer."""
        consumer: object = self._consumer
        if consumer is None and isinstance(self.last_error, Unavailable):
            return f"has not joined its group: {self.last_error.message}"
        return consumer.notice if isinstance(consumer, Noticing) else ""

    def _leaving(self) -> bool:
        """Whether this member must fetch nothing more."""
        return self.stopping or self._failure_handler.away.is_set()

    async def run(self) -> None:
        """Be a member of the group until stopped, but only while the database is available.

        During an outage this process holds no partitions, so members with a database take them over. If it ends during
        the outage, it holds no messages whose release would have to reach the broker.
        """
        try:
            while await self._database_there():
                await self._be_member()
        finally:
            self._database_wait().given_up()

    async def _be_member(self) -> None:
        """Be a member until a stop, or until the database is unavailable for longer than messages are held."""
        consumer = self._consumer = await self._broker.subscribe(self._subscription)
        leaving = asyncio.create_task(self._until_leaving())
        try:
            async with TaskGroup() as workers:
                self._acking = workers
                for number in range(self._workers):
                    workers.create_task(self._worker(consumer, leaving), name=f"{self.name} {number}")
        finally:
            leaving.cancel()
            self._consumer = None
            aside, self._set_aside = self._set_aside, None
            if aside is not None:
                await self._ack(aside, 0, counted=False)
            with contextlib.suppress(FreeholdError):
                await consumer.close()

    async def _worker(self, consumer: Consumer, leaving: asyncio.Task[None]) -> None:
        """Work until stopped. An earlier end is an error: the other workers would silently continue without it."""
        with contained("a worker"):
            await self._work(consumer, leaving)

    async def _work(self, consumer: Consumer, leaving: asyncio.Task[None]) -> None:
        outages = 0
        while not self._leaving():
            await self._until_reachable(leaving)
            async with Turn(self._gate, self.clock) as turn:
                if self._leaving():
                    break
                try:
                    batches = await self._fetch(consumer, leaving)
                except Unavailable as error:
                    outages += 1
                    self.waits_for(BROKER, error, again_seconds=OUTAGE.delay_seconds_max)
                    batches = None
                crash_point("inbox.fetched")
                if batches:
                    # While a message that may crash the process is handled, no others are fetched.
                    if delivery_count_max(batches) < self._suspect_from:
                        turn.pass_on(after_seconds=TOGETHER_SECONDS if self._more_may_join(batches) else 0.0)
                    await self._process_all(batches)
            if batches is None:
                await self.wait(OUTAGE.after(outages))
                continue
            outages = 0
            self.healthy()

    async def _until_leaving(self) -> None:
        await first_of(self._stop.wait(), self._failure_handler.away.wait())

    async def _database_there(self) -> bool:
        """Wait until the database accepts writes. False: a stop came first."""
        wait = self._database_wait()
        try:
            for outages in itertools.count(1):
                if self.stopping:
                    break
                problem = await self._failure_handler.database_problem()
                if problem is None:
                    wait.over()
                    return True
                self.last_error = problem
                wait.failed(problem, again_seconds=OUTAGE.delay_seconds_max)
                await self.wait(OUTAGE.after(outages))
        finally:
            self._failure_handler.away.clear()
        return False

    def _database_wait(self) -> Wait:
        """The one wait for the database that all workers share: a healthy worker does not end it for the others."""
        if self._wait is None:
            self._wait = self.outages.wait_of(self.name)
        return self._wait

    async def _until_reachable(self, leaving: asyncio.Task[None]) -> None:
        """Wait while the database is unavailable: messages fetched then could not be handled, but would be counted."""
        if self._failure_handler.reachable.is_set():
            return
        reachable = asyncio.create_task(self._failure_handler.reachable.wait())
        try:
            await asyncio.wait([reachable, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            reachable.cancel()

    async def _process_all(self, batches: Sequence[Batch]) -> None:
        begun = self.clock.monotonic()
        for group in groups_of(batches):
            await self._process(group)
        self._pace.handled(self.clock.monotonic() - begun, may_rest=self._more_may_join(batches))

    async def _fetch(self, consumer: Consumer, leaving: asyncio.Task[None]) -> Sequence[Batch]:
        """Fetch batches. A stop cancels the fetch, and releases what it fetched without counting the attempt."""
        batches: list[Batch] = []
        scope = asyncio.timeout(None)

        def end(_: asyncio.Task[None]) -> None:
            scope.reschedule(0.0)

        try:
            async with scope:
                leaving.add_done_callback(end)
                try:
                    await self._gather(consumer, batches)
                finally:
                    leaving.remove_done_callback(end)
        except BaseException as error:
            await self._ack_all(batches, [0] * len(batches), counted=False)
            if isinstance(error, TimeoutError) and scope.expired():
                return ()
            raise
        return batches

    async def _gather(self, consumer: Consumer, batches: list[Batch]) -> None:
        """Fetch a batch, and others that share its transaction. One worker at a time, so that they stay together."""
        rest_seconds = self._pace.rest_seconds()
        if rest_seconds > 0 and self._set_aside is None:
            await self.rest(rest_seconds)
            if self._leaving():
                return
        first, self._set_aside = self._set_aside, None
        if first is None:
            first = await consumer.fetch(self._batch_limit, self._fetch_wait_seconds)
        if first is None:
            return
        batches.append(first)
        self._pace.came()
        while (room := self._room(batches)) and not came_before(batches[-1]) and self._are_quick(batches):
            try:
                more = await consumer.fetch(room, 0.0)
            except FreeholdError:
                break  # the fetched batches are handled; the next fetch raises the error again
            if more is None:
                break
            if not came_before(more) and not self._are_quick([*batches, more]):
                self._set_aside = more  # the next worker begins with it, before it fetches anything
                break
            batches.append(more)

    def _room(self, batches: Sequence[Batch]) -> int:
        """How many messages their transaction can take in addition."""
        return max(0, self._batch_limit - sum(len(batch.deliveries) for batch in batches))

    def _are_quick(self, batches: Sequence[Batch]) -> bool:
        """Whether their handlers are expected to end soon. On a database with one writer all would wait anyway."""
        return not self._in_parallel or self._times.are_quick(batches)

    def _more_may_join(self, batches: Sequence[Batch]) -> bool:
        """Whether the messages that become ready now are better handled together, after these batches."""
        return bool(self._room(batches)) and self._times.are_quick(batches)

    async def _process(self, batches: Sequence[Batch]) -> None:
        """Handle batches, and ack each as far as it was handled. A message that could not even be deferred blocks its
        own partition only.
        """
        done = [0] * len(batches)
        try:
            await self._handle(batches, done)
        except MessagesReleased as reason:
            left = sum(len(batch.deliveries) for batch in batches) - sum(done)
            state = "the database is away" if isinstance(reason, DatabaseAway) else "stopped during an outage"
            name = self.outages.titled(self.name)
            _log.info("%s: %s; %d messages are released; the attempt is not counted", name, state, left)
            await self._ack_all(batches, done, counted=False)
        except Exception as error:  # noqa: BLE001 - one partition must not stop the others
            for batch, count in zip(batches, done, strict=True):
                self._acking.create_task(self._redeliver_later(batch, count, error))
        except BaseException:
            # A handler that does not end within the drain time may hang for good: its attempt is counted. No other end
            # is the message's fault.
            counted = self.stopping and await self._failure_handler.database_problem() is None
            await self._ack_all(batches, done, counted=counted)
            raise
        else:
            for batch in batches:
                self._times.note_passed(place_of(batch))
                self.no_trouble_at(place_of(batch))
                self._redeliveries.pop(place_of(batch), None)
            await self._ack_all(batches, done)

    async def _redeliver_later(self, batch: Batch, done: int, error: Exception) -> None:
        """Let the unhandled messages of a batch be delivered again after a delay; after a stop at once, to another
        member.
        """
        if done < len(batch.deliveries):
            self.trouble_at(place_of(batch), error)
            times = self._redeliveries[place_of(batch)] = self._redeliveries.get(place_of(batch), 0) + 1
            seconds = TROUBLE.after(times)
            title, trace = self.outages.titled(self.name), self._dispatcher.context.failures.traceback(error)
            text = "%s: the result of messages of %s cannot be recorded (%s); retry in %.1f s"
            _log.error(text, title, place_of(batch), _class_name(error), seconds)
            _log.debug("%s: %s waits%s", title, place_of(batch), trace)
            await first_of(self._until_leaving(), self.clock.sleep(seconds))
        await self._ack(batch, done, counted=not isinstance(error, Unavailable))

    async def _ack_all(self, batches: Sequence[Batch], done: Sequence[int], *, counted: bool = True) -> None:
        acks = (self._ack(batch, count, counted=counted) for batch, count in zip(batches, done, strict=True))
        await asyncio.gather(*acks)

    async def _ack(self, batch: Batch, done: int, *, counted: bool) -> None:
        try:
            await (batch.ack(done) if counted else batch.ack(done, counted=False))
        except (LeaseLost, Unavailable) as error:
            # The present holder of the partition gets the same messages; the receipts show that they were handled.
            name = self.outages.titled(self.name)
            _log.info(
                "%s: %s partition %d will be delivered again (%s)", name, batch.topic, batch.partition, error.message
            )

    async def _handle(self, batches: Sequence[Batch], done: list[int]) -> None:
        """Handle batches. `done` is set to the number of finished deliveries of each, counted from its first."""
        watermarks: dict[str, int] = {}
        together: list[HandlerCall] = []
        for number, batch in enumerate(batches):
            works = [
                self._router.route(
                    each.document,
                    topic=batch.topic,
                    location=each.location,
                    place=place_of(batch),
                    delivery_count=each.delivery_count,
                    watermarks=watermarks,
                )
                for each in batch.deliveries
            ]
            again = next((n for n, each in enumerate(batch.deliveries) if each.delivery_count <= 1), len(works))
            suspect = True
            for work in works[:again]:
                if work is not None:
                    suspect = await self._isolated(work, suspect=suspect)
                done[number] += 1
            together.extend(work for work in works[again:] if work is not None)
        await self._together(together, watermarks)
        done[:] = [len(batch.deliveries) for batch in batches]

    async def _isolated(self, work: HandlerCall, *, suspect: bool) -> bool:
        """Handle a message that was delivered before; returns whether the next may be the one that crashes the process.

        The messages before the crashing one have receipts from an earlier delivery, and it has none. So the first
        message without a receipt is the crashing one, and the others of the batch were only delivered with it.
        """
        if suspect and self._crashes.reached(work.delivery_count - 1):
            return not await self._failure_handler.dead_letter_crashed(work, self._crashes)
        await self._failure_handler.handle_one(work)
        return suspect

    async def _together(self, works: Sequence[HandlerCall], watermarks: Mapping[str, int]) -> None:
        """Handle the rest of the batches in one transaction. All watermarks of the batches are reached with it."""
        if not works:
            await self._failure_handler.run_through_outages(lambda: self._dispatcher.advance(watermarks))
            return
        try:
            await self._failure_handler.run_through_outages(
                lambda: self._dispatcher.handle(works, watermarks=watermarks)
            )
        except MessagesReleased:
            raise
        except Exception as error:  # noqa: BLE001 - handling the messages one by one shows which one fails
            failure = error
        else:
            return
        # Outside of `except`: an exception from here on must not have this one as its context.
        await self._one_by_one(works, failure)
        await self._failure_handler.run_through_outages(lambda: self._dispatcher.advance(watermarks))

    async def _one_by_one(self, works: Sequence[HandlerCall], error: Exception) -> None:
        if len(works) == 1:
            await self._failure_handler.handle_one(works[0], error=self._failure_handler.cause(error))
            return
        title, name = self.outages.titled(self.name), _class_name(error)
        _log.info("%s: %d messages failed together (%s); they are handled one by one", title, len(works), name)
        for work in works:
            await self._failure_handler.handle_one(work)


def _class_name(error: Exception) -> str:
    """The class of an error, of the handler's own where it is one."""
    return type(error.error if isinstance(error, HandlerFailed) else error).__name__
