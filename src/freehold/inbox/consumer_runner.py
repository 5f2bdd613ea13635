"""The loop that brings messages from the broker to the handlers. Pattern: imports the foundation, the ports, its
package.

A batch is handled in one transaction and acknowledged after its commit; where it pays, batches of several partitions
share one. Where that fails, the messages are handled one by one. A message that was delivered before is never batched:
if it crashes its consumer again, it is known which one it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.broker import Batch, Broker, Consumer, Noticing, Subscription
from freehold.errors import FreeholdError, LeaseLost, Unavailable
from freehold.failures import CrashLimit
from freehold.inbox.batches import came_before, delivery_count_max, groups_of, place_of
from freehold.inbox.dispatcher import Counters, Dispatcher, HandlerFailed
from freehold.inbox.retry import DatabaseAway, FailureHandler, HandedBack
from freehold.inbox.work import HandlerCall, MessageRouter
from freehold.lifecycle import Runner, contained
from freehold.outages import BROKER, Wait
from freehold.policy import OUTAGE, TROUBLE

__all__ = ["ConsumerRunner"]

_log = logging.getLogger("freehold.inbox")
_PATIENCE_SECONDS = 1.0
"""For how long messages are held while the database is away: a restart of it may take as long."""
_BUSY_PART = 0.25
"""A fetch that waits less than this part of the linger says that more will come soon."""
_ATTEMPTS_SIDE_BY_SIDE = 2
"""What is delivered more often is handled while nothing else is delivered: or a message that ends the process would
have the counts of others rise with its own, until they were taken for it."""


class ConsumerRunner(Runner):
    """Reads the topics of a service as one member of its group, with several batches of different partitions at once.

    `batch_limit` bounds what one transaction handles. What several partitions have ready goes together in one, unless
    another worker is free to take it and the database lets them write side by side. With `linger_seconds` it always
    does, and where messages come faster than that, it passes between two fetches that do not fill `batch_limit`, so
    that one transaction handles more; a message that comes after an idle time never waits, and a stop or `wake` ends
    the wait. A message that is delivered
    more than `crash_attempts_max` times and never finished probably crashes its consumer, and becomes a dead letter.
    """

    needs = BROKER

    def __init__(
        self,
        dispatcher: Dispatcher,
        reader: MessageRouter,
        broker: Broker,
        topics: frozenset[str],
        *,
        workers: int = 4,
        batch_limit: int = 64,
        crash_attempts_max: int = 5,
        fetch_wait_seconds: float = 5.0,
        linger_seconds: float = 0.0,
    ) -> None:
        super().__init__(f"consumer {dispatcher.consumer}", clock=dispatcher.context.clock)
        self._dispatcher = dispatcher
        self._reader = reader
        self._broker = broker
        self._subscription = Subscription(group=dispatcher.consumer, topics=topics)
        self._workers = workers
        self._batch_limit = batch_limit
        self._crashes = CrashLimit(crash_attempts_max)
        self._doubtful_from = max(1, min(_ATTEMPTS_SIDE_BY_SIDE, crash_attempts_max - 1)) + 1
        self._fetch_wait_seconds = fetch_wait_seconds
        self._linger_seconds = linger_seconds
        self._attempts = FailureHandler(dispatcher, self._stop, self._database_wait, patience_seconds=_PATIENCE_SECONDS)
        self._wait: Wait | None = None
        self._consumer: Consumer | None = None
        self._acking = asyncio.TaskGroup()
        self._gate = asyncio.Lock()
        self._fetch_at = 0.0
        self._handling = 0
        self._held_up: dict[str, int] = {}
        self._side_by_side = dispatcher.context.database.features.concurrent_writers and not linger_seconds

    @property
    def counters(self) -> Counters:
        """What was done since the start."""
        return self._dispatcher.counters

    @property
    def notice(self) -> str:
        """What keeps messages from this member: it could not join its group, or what its member says."""
        consumer: object = self._consumer
        if consumer is None and isinstance(self.last_error, Unavailable):
            return f"has not joined its group: {self.last_error.message}"
        return consumer.notice if isinstance(consumer, Noticing) else ""

    def _leaving(self) -> bool:
        """Whether nothing more is to be fetched by this member."""
        return self.stopping or self._attempts.away.is_set()

    async def run(self) -> None:
        """Be a member of the group until stopped, while the database is there: who cannot handle holds no partitions.

        So others take them over who can, and a process that ends while its database is away holds nothing that the
        broker would have to be told of.
        """
        try:
            while await self._database_there():
                await self._be_member()
        finally:
            self._database_wait().given_up()

    async def _be_member(self) -> None:
        """Until a stop, or an outage of the database that lasts."""
        consumer = self._consumer = await self._broker.subscribe(self._subscription)
        try:
            async with asyncio.TaskGroup() as workers:
                self._acking = workers
                for number in range(self._workers):
                    workers.create_task(self._worker(consumer), name=f"{self.name} {number}")
        finally:
            self._consumer = None
            with contextlib.suppress(FreeholdError):
                await consumer.close()

    async def _worker(self, consumer: Consumer) -> None:
        """Work until stopped; whatever ends it earlier is an error, or the others would go on without it, unseen."""
        with contained("a worker"):
            await self._work(consumer)

    async def _work(self, consumer: Consumer) -> None:
        outages = 0
        stopped = asyncio.create_task(self._until_leaving())
        try:
            while not self._leaving():
                await self._until_reachable(stopped)
                async with self._gate:
                    if self._leaving():
                        break
                    try:
                        batches = await self._fetch(consumer, stopped)
                    except Unavailable as error:
                        outages += 1
                        self.waits_for(BROKER, error, again_seconds=OUTAGE.delay_seconds_max)
                        batches = None
                    doubtful = delivery_count_max(batches or ()) >= self._doubtful_from
                    if batches and doubtful:
                        await self._take_all(batches)
                if batches is None:
                    await self._pause(outages)
                    continue
                outages = 0
                if not doubtful:
                    await self._take_all(batches)
                self.healthy()
        finally:
            stopped.cancel()

    async def _until_leaving(self) -> None:
        events = [asyncio.ensure_future(each.wait()) for each in (self._stop, self._attempts.away)]
        try:
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in events:
                each.cancel()

    async def _database_there(self) -> bool:
        """Wait until the database takes what is written; false where a stop came first."""
        wait = self._database_wait()
        try:
            for outages in itertools.count(1):
                if self.stopping:
                    break
                problem = await self._attempts.database_problem()
                if problem is None:
                    wait.over()
                    return True
                self.last_error = problem
                wait.failed(problem, again_seconds=OUTAGE.delay_seconds_max)
                await self._pause(outages)
        finally:
            self._attempts.away.clear()
        return False

    def _database_wait(self) -> Wait:
        """The wait of all workers together, which none of them ends for the others by being well."""
        if self._wait is None:
            self._wait = self.outages.wait_of(self.name)
        return self._wait

    async def _until_reachable(self, stopped: asyncio.Task[Any]) -> None:
        """What is fetched while the database is away could not be handled, and would only be counted."""
        if self._attempts.reachable.is_set():
            return
        reachable = asyncio.create_task(self._attempts.reachable.wait())
        try:
            await asyncio.wait([reachable, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            reachable.cancel()

    async def _take_all(self, batches: Sequence[Batch]) -> None:
        self._handling += 1
        try:
            for group in groups_of(batches):
                await self._take(group)
        finally:
            self._handling -= 1

    async def _fetch(self, consumer: Consumer, stopped: asyncio.Task[Any]) -> Sequence[Batch]:
        """Fetch, but for a stop: a fetch is given up then, and what it took counts for no attempt."""
        batches: list[Batch] = []
        fetching = asyncio.create_task(self._gather(consumer, batches))
        try:
            await asyncio.wait([fetching, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not fetching.done():
                fetching.cancel()
                await asyncio.wait({fetching})
                if fetching.cancelled():
                    await self._ack_all(batches, [0] * len(batches), counted=False)
                elif not self._leaving():
                    fetching.exception()  # looked at: whoever cancelled this worker is told of something else
        if fetching.cancelled() and self._leaving():
            return ()
        fetching.result()
        return batches

    async def _gather(self, consumer: Consumer, batches: list[Batch]) -> None:
        """Fetch a batch, and what goes along with it; one worker at a time, or the ready ones would be scattered."""
        pause_seconds = self._fetch_at - self.clock.monotonic()
        if pause_seconds > 0:
            await self.wait(pause_seconds)
            if self._leaving():
                return
        looked_at = self.clock.monotonic()
        first = await consumer.fetch(self._batch_limit, self._fetch_wait_seconds)
        if first is None:
            return
        batches.append(first)
        busy = self.clock.monotonic() - looked_at < self._linger_seconds * _BUSY_PART
        room = self._batch_limit - len(first.deliveries)
        while room > 0 and not came_before(batches[-1]) and not self._others_are_free():
            try:
                more = await consumer.fetch(room, 0.0)
            except FreeholdError:
                break  # what was fetched is handled, and the next fetch raises it again
            if more is None:
                break
            batches.append(more)
            room -= len(more.deliveries)
        if room > 0 and busy:
            self._fetch_at = self.clock.monotonic() + self._linger_seconds

    def _others_are_free(self) -> bool:
        """Whether another worker may take what is ready, and handle it while this one handles what it has."""
        return self._side_by_side and self._handling < self._workers - 1

    async def _take(self, batches: Sequence[Batch]) -> None:
        """Handle batches and ack them, as far as each came. What could not even be put off blocks its partition,
        and no other.
        """
        done = [0] * len(batches)
        try:
            await self._handle(batches, done)
        except HandedBack as reason:
            left = sum(len(batch.deliveries) for batch in batches) - sum(done)
            why = "the database is away" if isinstance(reason, DatabaseAway) else "stopped while the database was away"
            name = self.outages.titled(self.name)
            _log.info("%s: %s; %d messages are released; the attempt is not counted", name, why, left)
            await self._ack_all(batches, done, counted=False)
        except Exception as error:  # noqa: BLE001 - the other partitions go on
            for batch, count in zip(batches, done, strict=True):
                self._acking.create_task(self._hold_up(batch, count, error))
        except BaseException:
            # A handler that does not end before the stop does may hang for good. What else ends it says nothing of it.
            counted = self.stopping and await self._attempts.database_problem() is None
            await self._ack_all(batches, done, counted=counted)
            raise
        else:
            for batch in batches:
                self.no_trouble_at(place_of(batch))
                self._held_up.pop(place_of(batch), None)
            await self._ack_all(batches, done)

    async def _hold_up(self, batch: Batch, done: int, error: Exception) -> None:
        """Have what was not handled come again a little later; a stop has it come at once, to somebody else."""
        if done < len(batch.deliveries):
            self.trouble_at(place_of(batch), error)
            name = type(error.error if isinstance(error, HandlerFailed) else error).__name__
            times = self._held_up[place_of(batch)] = self._held_up.get(place_of(batch), 0) + 1
            seconds = TROUBLE.after(times)
            title, trace = self.outages.titled(self.name), self._dispatcher.context.failures.traceback(error)
            text = "%s: the result of messages of %s cannot be recorded (%s); retry in %.1f s"
            _log.error(text, title, place_of(batch), name, seconds)
            _log.debug("%s: %s waits%s", title, place_of(batch), trace)
            stopper = asyncio.ensure_future(self._until_leaving())
            sleeper = asyncio.ensure_future(self.clock.sleep(seconds))
            try:
                await asyncio.wait({stopper, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopper.cancel()
                sleeper.cancel()
        await self._ack(batch, done, counted=not isinstance(error, Unavailable))

    async def _ack_all(self, batches: Sequence[Batch], done: Sequence[int], *, counted: bool = True) -> None:
        acks = (self._ack(batch, count, counted=counted) for batch, count in zip(batches, done, strict=True))
        await asyncio.gather(*acks)

    async def _ack(self, batch: Batch, done: int, *, counted: bool) -> None:
        try:
            await (batch.ack(done) if counted else batch.ack(done, counted=False))
        except (LeaseLost, Unavailable) as error:
            # Whoever has the partition now is handed the same messages; the receipts tell that they were handled.
            name = self.outages.titled(self.name)
            _log.info(
                "%s: %s partition %d will be delivered again (%s)", name, batch.topic, batch.partition, error.message
            )

    async def _handle(self, batches: Sequence[Batch], done: list[int]) -> None:
        """Note in `done` how many deliveries of each batch, from the first on, have come to an end."""
        heard: dict[str, int] = {}
        together: list[HandlerCall] = []
        for number, batch in enumerate(batches):
            works = [
                self._reader.read(
                    each.document, topic=batch.topic, location=each.location, attempt=each.delivery_count, heard=heard
                )
                for each in batch.deliveries
            ]
            again = next((n for n, each in enumerate(batch.deliveries) if each.delivery_count <= 1), len(works))
            suspicious = True
            for work in works[:again]:
                if work is not None:
                    suspicious = await self._isolated(work, suspicious=suspicious)
                done[number] += 1
            together.extend(work for work in works[again:] if work is not None)
        await self._together(together, heard)
        done[:] = [len(batch.deliveries) for batch in batches]

    async def _isolated(self, work: HandlerCall, *, suspicious: bool) -> bool:
        """Handle a message that was delivered before; returns whether the next may be the one that kills.

        The messages before the one that kills have receipts from an earlier round, and it has none: the first without
        one is it, and the others of the batch are innocent, however often they were delivered with it.
        """
        if suspicious and self._crashes.reached(work.attempt - 1):
            return not await self._attempts.dead_letter_crashed(work, self._crashes)
        await self._attempts.alone(work)
        return suspicious

    async def _together(self, works: Sequence[HandlerCall], heard: Mapping[str, int]) -> None:
        """Handle what is left of a batch; with it, everything that the batch said of its lanes is reached."""
        if not works:
            await self._attempts.hold(lambda: self._dispatcher.advance(heard))
            return
        try:
            await self._attempts.hold(lambda: self._dispatcher.handle(works, heard=heard))
        except HandedBack:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found out one by one
            failure = error
        else:
            return
        # Outside of `except`: what is raised from here on must not count as raised from this.
        await self._one_by_one(works, failure)
        await self._attempts.hold(lambda: self._dispatcher.advance(heard))

    async def _one_by_one(self, works: Sequence[HandlerCall], error: Exception) -> None:
        if len(works) == 1:
            await self._attempts.alone(works[0], error=self._attempts.cause(error))
            return
        name = type(error.error if isinstance(error, HandlerFailed) else error).__name__
        title = self.outages.titled(self.name)
        _log.info("%s: %d messages failed together (%s); they are handled one by one", title, len(works), name)
        for work in works:
            await self._attempts.alone(work)

    async def _pause(self, outages: int) -> None:
        await self.wait(OUTAGE.after(outages))
