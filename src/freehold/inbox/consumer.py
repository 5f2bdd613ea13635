"""The loop that brings messages from the broker to the handlers. Pattern: imports the foundation, the ports, its
package.

A batch is handled in one transaction and acknowledged after its commit; where it pays, batches of several partitions
share one. Where that fails, the messages are handled one by one. A message that was handed out before is never batched:
if it kills its consumer again, it is known which one it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.broker import Batch, Broker, Consumer, Noticing, Subscription
from freehold.errors import FreeholdError, LeaseLost, Unavailable
from freehold.inbox.attempts import Attempts, Stopping
from freehold.inbox.dispatch import Counters, Dispatcher, HandlerFailed
from freehold.inbox.reading import MessageReader, Work
from freehold.lifecycle import Runner, contained
from freehold.policy import Retry, RetryAfter

__all__ = ["ConsumerRunner"]

_log = logging.getLogger("freehold.inbox")
_BROKER_OUTAGE = Retry(attempts=2**31, delay_seconds=0.05, delay_seconds_max=2.0)
_HELD_UP = Retry(attempts=2**31, delay_seconds=0.1, delay_seconds_max=5.0)
_BUSY_PART = 0.25
"""A fetch that waits less than this part of the linger says that more will come soon."""
_ATTEMPTS_SIDE_BY_SIDE = 2
"""What is handed out more often is handled while nothing else is handed out: or a message that ends the process would
have the counts of others rise with its own, until they were taken for it."""


class ConsumerRunner(Runner):
    """Reads the topics of a service as one member of its group, with several batches of different partitions at once.

    `batch_limit` bounds what one transaction handles. What several partitions have ready goes together in one, unless
    another worker is free to take it and the database lets them write side by side. With `linger_seconds` it always
    does, and where messages come faster than that, it passes between two fetches that do not fill `batch_limit`, so
    that one transaction handles more; a message that comes after an idle time never waits, and a stop or `wake` ends
    the wait. A message handed out
    more than `killed_attempts_max` times without an end is taken for one that kills its consumer, and becomes a dead
    letter.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        reader: MessageReader,
        broker: Broker,
        topics: frozenset[str],
        *,
        workers: int = 4,
        batch_limit: int = 64,
        killed_attempts_max: int = 5,
        fetch_wait_seconds: float = 5.0,
        linger_seconds: float = 0.0,
    ) -> None:
        super().__init__(f"consumer {dispatcher.consumer}", clock=dispatcher.post.clock)
        self._dispatcher = dispatcher
        self._reader = reader
        self._broker = broker
        self._subscription = Subscription(group=dispatcher.consumer, topics=topics)
        self._workers = workers
        self._batch_limit = batch_limit
        self._killed_attempts_max = killed_attempts_max
        self._doubtful_from = max(1, min(_ATTEMPTS_SIDE_BY_SIDE, killed_attempts_max - 1)) + 1
        self._fetch_wait_seconds = fetch_wait_seconds
        self._linger_seconds = linger_seconds
        self._attempts = Attempts(dispatcher, self._stop)
        self._consumer: Consumer | None = None
        self._settling = asyncio.TaskGroup()
        self._gate = asyncio.Lock()
        self._fetch_at = 0.0
        self._handling = 0
        self._side_by_side = dispatcher.post.database.features.concurrent_writers and not linger_seconds

    @property
    def counters(self) -> Counters:
        """What was done since the start."""
        return self._dispatcher.counters

    @property
    def notice(self) -> str:
        """Which partitions wait for a member that may have died."""
        consumer: object = self._consumer
        return consumer.notice if isinstance(consumer, Noticing) else ""

    async def run(self) -> None:
        """Be a member of the group until stopped."""
        consumer = self._consumer = await self._broker.subscribe(self._subscription)
        try:
            async with asyncio.TaskGroup() as workers:
                self._settling = workers
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
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while not self.stopping:
                async with self._gate:
                    try:
                        batches = await self._fetch(consumer, stopped)
                    except Unavailable as error:
                        outages += 1
                        self.last_error = error
                        batches = None
                    doubtful = _last_attempt(batches or ()) >= self._doubtful_from
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

    async def _take_all(self, batches: Sequence[Batch]) -> None:
        self._handling += 1
        try:
            for group in _groups(batches):
                await self._take(group)
        finally:
            self._handling -= 1

    async def _fetch(self, consumer: Consumer, stopped: asyncio.Task[Any]) -> Sequence[Batch]:
        """Fetch, but for a stop: a fetch is given up then, and what it took is given back by leaving the group."""
        fetching = asyncio.create_task(self._gather(consumer))
        try:
            await asyncio.wait([fetching, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not fetching.done():
                fetching.cancel()
                await asyncio.wait({fetching})
                if not (fetching.cancelled() or self.stopping):
                    fetching.exception()  # looked at: whoever cancelled this worker is told of something else
        if fetching.cancelled() and self.stopping:
            return ()
        return fetching.result()

    async def _gather(self, consumer: Consumer) -> Sequence[Batch]:
        """Fetch a batch, and what goes along with it; one worker at a time, or the ready ones would be scattered."""
        pause_seconds = self._fetch_at - self.clock.monotonic()
        if pause_seconds > 0:
            await self.wait(pause_seconds)
        looked_at = self.clock.monotonic()
        first = await consumer.fetch(self._batch_limit, self._fetch_wait_seconds)
        if first is None:
            return ()
        busy = self.clock.monotonic() - looked_at < self._linger_seconds * _BUSY_PART
        batches = [first]
        room = self._batch_limit - len(first.deliveries)
        while room > 0 and not _came_before(batches[-1]) and not self._others_are_free():
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
        return batches

    def _others_are_free(self) -> bool:
        """Whether another worker may take what is ready, and handle it while this one handles what it has."""
        return self._side_by_side and self._handling < self._workers - 1

    async def _take(self, batches: Sequence[Batch]) -> None:
        """Handle batches and settle them, as far as each came. What could not even be put off holds up its partition,
        and no other.
        """
        done = [0] * len(batches)
        try:
            await self._handle(batches, done)
        except Exception as error:  # noqa: BLE001 - the other partitions go on
            for batch, count in zip(batches, done, strict=True):
                self._settling.create_task(self._hold_up(batch, count, error))
        except BaseException:
            await asyncio.gather(*map(self._settle, batches, done))
            raise
        else:
            for batch in batches:
                self.no_trouble_at(_place(batch))
            await asyncio.gather(*map(self._settle, batches, done))

    async def _hold_up(self, batch: Batch, done: int, error: Exception) -> None:
        """Have what was not handled come again a little later; a stop has it come at once, to somebody else."""
        if done < len(batch.deliveries):
            self.trouble_at(_place(batch), error)
            name = type(error.error if isinstance(error, HandlerFailed) else error).__name__
            attempt = min(batch.deliveries[done].attempt, 64)
            decision = _HELD_UP.decide(attempt)
            seconds = decision.delay_seconds if isinstance(decision, RetryAfter) else _HELD_UP.delay_seconds_max
            _log.error("%s: %s waits %.1f s, it cannot be recorded (%s)", self.name, _place(batch), seconds, name)
            _log.debug("%s: %s waits", self.name, _place(batch), exc_info=error)
            stopper = asyncio.ensure_future(self._stop.wait())
            sleeper = asyncio.ensure_future(self.clock.sleep(seconds))
            try:
                await asyncio.wait({stopper, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopper.cancel()
                sleeper.cancel()
        await self._settle(batch, done)

    async def _settle(self, batch: Batch, done: int) -> None:
        try:
            await batch.settle(done)
        except (LeaseLost, Unavailable) as error:
            # Whoever has the partition now is handed the same messages; the receipts tell that they were handled.
            _log.info("%s: %s partition %d comes again (%s)", self.name, batch.topic, batch.partition, error.message)

    async def _handle(self, batches: Sequence[Batch], done: list[int]) -> None:
        """Note in `done` how many deliveries of each batch, from the first on, have come to an end."""
        heard: dict[str, int] = {}
        together: list[Work] = []
        try:
            for number, batch in enumerate(batches):
                works = [
                    self._reader.read(
                        each.document, topic=batch.topic, position=each.position, attempt=each.attempt, heard=heard
                    )
                    for each in batch.deliveries
                ]
                again = next((n for n, each in enumerate(batch.deliveries) if each.attempt <= 1), len(works))
                suspicious = True
                for work in works[:again]:
                    if work is not None:
                        suspicious = await self._isolated(work, suspicious=suspicious)
                    done[number] += 1
                together.extend(work for work in works[again:] if work is not None)
            await self._together(together, heard)
            done[:] = [len(batch.deliveries) for batch in batches]
        except Stopping:
            _log.info("%s: stopped while the database was away", self.name)

    async def _isolated(self, work: Work, *, suspicious: bool) -> bool:
        """Handle a message that was handed out before; returns whether the next may be the one that kills.

        The messages before the one that kills have receipts from an earlier round, and it has none: the first without
        one is it, and the others of the batch are innocent, however often they were handed out with it.
        """
        if suspicious and work.attempt > self._killed_attempts_max:
            return not await self._attempts.condemn(work)
        await self._attempts.alone(work)
        return suspicious

    async def _together(self, works: Sequence[Work], heard: Mapping[str, int]) -> None:
        """Handle what is left of a batch; with it, everything that the batch said of its lanes is reached."""
        if not works:
            await self._attempts.hold(lambda: self._dispatcher.advance(heard))
            return
        try:
            await self._attempts.hold(lambda: self._dispatcher.handle(works, heard=heard))
        except Stopping:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found out one by one
            failure = error
        else:
            return
        # Outside of `except`: what is raised from here on must not count as raised from this.
        await self._one_by_one(works, failure)
        await self._attempts.hold(lambda: self._dispatcher.advance(heard))

    async def _one_by_one(self, works: Sequence[Work], error: Exception) -> None:
        if len(works) == 1:
            await self._attempts.alone(works[0], error=self._attempts.cause(error))
            return
        name = type(error.error if isinstance(error, HandlerFailed) else error).__name__
        _log.info("%s: %d messages are handled one by one after %s", self.name, len(works), name)
        for work in works:
            await self._attempts.alone(work)

    async def _pause(self, outages: int) -> None:
        decision = _BROKER_OUTAGE.decide(min(outages, 64))
        await self.wait(decision.delay_seconds if isinstance(decision, RetryAfter) else 2.0)


def _place(batch: Batch) -> str:
    return f"{batch.topic} partition {batch.partition}"


def _came_before(batch: Batch) -> bool:
    """Whether something of a batch was handed out before: it is handled by itself."""
    return any(each.attempt > 1 for each in batch.deliveries)


def _last_attempt(batches: Sequence[Batch]) -> int:
    """How often something of batches was handed out at most."""
    return max((each.attempt for batch in batches for each in batch.deliveries), default=0)


def _groups(batches: Sequence[Batch]) -> Sequence[Sequence[Batch]]:
    """What goes in one transaction."""
    fresh = [batch for batch in batches if not _came_before(batch)]
    return [group for group in (fresh, *([batch] for batch in batches if _came_before(batch))) if group]
