"""The loop that moves staged messages to the broker. Pattern: imports the foundation, the ports, its own package.

Order: each round fetches the oldest rows of the partitions whose leases are held, publishes them in one call (which
keeps the order of each key), and removes what the broker confirmed, naming the lease tokens. A relay that lost a lease
removes nothing; what it published comes twice, in order, and receipts absorb it. One round ends before the next begins.

With `lanes` each event is stamped with its place and a watermark (see `freehold.outbox.lanes`). The relay itself
remembers nothing of it: what is still to be said is kept with the rows, so that a successor says it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from freehold.broker import Broker, PublishFailed, PublishOutcome, Stored
from freehold.clock import Clock
from freehold.errors import LeaseLost, MessageRejected, Unavailable
from freehold.failures import plain_text
from freehold.lifecycle import Runner
from freehold.outbox.lanes import Lanes, Stamped
from freehold.outbox.store import Fetched, OutboxStore, StagedMessage
from freehold.policy import Retry, RetryAfter

__all__ = ["RelayCounters", "RelayRunner"]

_log = logging.getLogger("freehold.outbox")
_OUTAGE = Retry(attempts=2**31, delay_seconds=0.05, delay_seconds_max=2.0)
_OWING = Retry(attempts=2**31, delay_seconds=0.02, delay_seconds_max=60.0)
_ROUNDS_IN_A_ROW = 4
_REFUSED = Retry(attempts=3, delay_seconds=0.5, delay_seconds_max=5.0)


@dataclass(slots=True)
class RelayCounters:
    """What a relay has done since it started; read by health checks and metrics."""

    published: int = 0
    refused: int = 0
    buried: int = 0
    rounds: int = 0
    last_error: str = ""


class RelayRunner(Runner):
    """Publishes the outbox of one service. Any number of instances share the work by leases.

    `held` returns the leases held just now, partition to token. `wake` after a commit that staged something makes it
    immediate; `poll_seconds` is for what other processes staged. A round that did not fill `limit` is followed by
    `linger_seconds`, so that busy services move many messages with each pair of writes, and by up to three times as
    much where round follows round; the first one never waits.
    """

    def __init__(
        self,
        service: str,
        outbox: OutboxStore,
        broker: Broker,
        held: Callable[[], Mapping[int, int]],
        *,
        clock: Clock | None = None,
        limit: int = 200,
        poll_seconds: float = 1.0,
        linger_seconds: float = 0.01,
        publish_timeout_seconds: float = 10.0,
        refused: Retry = _REFUSED,
        lanes: Lanes | None = None,
    ) -> None:
        super().__init__(f"relay {service}", clock=clock)
        self.counters = RelayCounters()
        self._outbox = outbox
        self._broker = broker
        self._held = held
        self._limit = limit
        self._poll_seconds = poll_seconds
        self._linger_seconds = linger_seconds
        self._publish_timeout_seconds = publish_timeout_seconds
        self._refused = refused
        self._lanes = lanes
        self._outages = 0
        self._owing = 0
        self._round_lock = asyncio.Lock()

    async def run(self) -> None:
        """Move messages until stopped."""
        in_a_row = 0
        while not self.stopping:
            async with self._round_lock:
                moved = await self._round()
            if self._outages:
                decision = _OUTAGE.decide(min(self._outages, 64))
                await self.wait(
                    decision.delay_seconds if isinstance(decision, RetryAfter) else _OUTAGE.delay_seconds_max
                )
                continue
            self.healthy()
            if not moved:
                in_a_row = 0
                await self.wait(self._idle_seconds())
            elif moved < self._limit:
                in_a_row += 1
                await self.clock.sleep(self._linger_seconds * min(3.0, 1.0 + in_a_row // _ROUNDS_IN_A_ROW))

    async def finish_round(self, partitions: Collection[str] = ()) -> None:
        """Return when no round is under way: for whoever gives leases back."""
        async with self._round_lock:
            return

    def _idle_seconds(self) -> float:
        """Look again sooner while a partition owes what is not settled: a transaction is in progress somewhere."""
        if not self._owing:
            return self._poll_seconds
        decision = _OWING.decide(min(self._owing, 64))
        return min(self._poll_seconds, decision.delay_seconds if isinstance(decision, RetryAfter) else 60.0)

    async def _round(self) -> int:
        leases = self._held()
        fetched = await self._outbox.fetch(leases, self._limit) if leases else Fetched()
        stamped = self._lanes.stamp(fetched) if self._lanes else _as_staged(fetched)
        self._owing = self._owing + 1 if fetched.owed and not stamped.messages else 0
        if not stamped.messages:
            return 0
        self.counters.rounds += 1
        try:
            outcomes = await self._broker.publish(stamped.messages, self._publish_timeout_seconds)
        except Unavailable as error:
            self._note_outage(error)
            return 0
        owed = stamped.owed(fetched, outcomes) if self._lanes else {}
        stored = await self._remove_stored(leases, fetched.rows, outcomes, owed)
        refused = await self._treat_failures(leases, fetched.rows, outcomes)
        return 0 if refused is None or not (stored or refused) else len(fetched.rows)

    async def _remove_stored(
        self,
        leases: Mapping[int, int],
        rows: Sequence[StagedMessage],
        outcomes: Sequence[PublishOutcome],
        owed: Mapping[int, int],
    ) -> int:
        # Behind the rows' outcomes there are those of watermarks, which are no rows.
        stored = [row for row, outcome in zip(rows, outcomes, strict=False) if isinstance(outcome, Stored)]
        if not stored and not owed:
            return 0
        removed = await self._outbox.remove(leases, stored, owed)
        self.counters.published += len(stored)
        if removed < len(stored):
            _log.info("%s: %d rows belong to another relay now", self.name, len(stored) - removed)
        return len(stored)

    async def _treat_failures(
        self, leases: Mapping[int, int], rows: Sequence[StagedMessage], outcomes: Sequence[PublishOutcome]
    ) -> int | None:
        """Postpone or bury what was refused; returns of how many that was written down, None in an outage.

        Only the first failure of a key tells anything: the broker stores nothing of a key after one that failed.
        """
        failed: set[tuple[str, str]] = set()
        outage: Unavailable | None = None
        treated = 0
        for row, outcome in zip(rows, outcomes, strict=False):
            place = (row.message.topic, row.message.key)
            if not isinstance(outcome, PublishFailed) or place in failed:
                continue
            failed.add(place)
            if isinstance(outcome.error, MessageRejected):
                treated += await self._refuse(leases, row, outcome.error)
            else:
                outage = outcome.error if isinstance(outcome.error, Unavailable) else Unavailable(outcome.error.message)
        if outage is not None:
            self._note_outage(outage)
            return None
        self._outages = 0
        return treated

    async def _refuse(self, leases: Mapping[int, int], row: StagedMessage, error: MessageRejected) -> bool:
        """The broker does not want this one: its key alone waits, and after some attempts goes on without it. False
        where that could not be written down: it comes again, and others go on meanwhile.
        """
        place = f"message {row.message.id}"
        self.counters.refused += 1
        self.counters.last_error = type(error).__name__
        decision = self._refused.decide(row.attempts + 1, error)
        try:
            if isinstance(decision, RetryAfter):
                await self._outbox.postpone(leases, row, decision.delay_seconds, plain_text(error.message))
            elif await self._outbox.bury(leases, row, plain_text(error.message)):
                self.counters.buried += 1
                _log.warning("%s: message %s was refused for good: dead letter", self.name, row.message.id)
        except LeaseLost:
            _log.info("%s: a refused row belongs to another relay now", self.name)
        except Unavailable:
            raise
        except Exception as unrecorded:  # noqa: BLE001 - it is this row's alone
            self.trouble_at(place, unrecorded)
            name = type(unrecorded).__name__
            _log.error("%s: that %s was refused could not be recorded (%s); its key waits", self.name, place, name)
            return False
        self.no_trouble_at(place)
        return True

    def _note_outage(self, error: Unavailable) -> None:
        self._outages += 1
        self.last_error = error
        self.counters.last_error = type(error).__name__
        if self._outages == 1:
            _log.warning("%s: the broker is away, messages wait (%s)", self.name, error.message)


def _as_staged(fetched: Fetched) -> Stamped:
    return Stamped([row.message for row in fetched.rows], [None] * len(fetched.rows))
