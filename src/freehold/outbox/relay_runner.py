"""The runner that publishes staged messages. Pattern: imports the foundation, the ports, its own package.

Each round fetches the oldest rows of the partitions whose leases are held, publishes them in one call, which keeps the
order of each key, and removes the rows that the broker confirmed, under the lease tokens. A relay that lost a lease
removes nothing: what it published is published again, in order, and consumers discard it by their receipts. Rounds do
not overlap.

With `lanes`, each event is stamped with its position and a watermark (see `freehold.outbox.watermark`). Pending
watermarks are stored with the rows, so that the next relay publishes them after a take-over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from freehold.broker import Broker, PublishConfirmed, PublishFailed, PublishOutcome
from freehold.clock import Clock
from freehold.errors import LeaseLost, LogReplaced, MessageRejected, Unavailable
from freehold.failures import plain_text
from freehold.lifecycle import Runner
from freehold.outages import BROKER
from freehold.outbox.log import KnownLog
from freehold.outbox.refusal import dead_letter
from freehold.outbox.sent import SENT
from freehold.outbox.store import EVER_SECONDS, OUTBOX, OutboxBatch, StagedMessage
from freehold.outbox.watermark import StampedBatch, WatermarkStamper
from freehold.policy import OUTAGE, Backoff, Retry, RetryAfter
from freehold.ports import Stores

__all__ = ["RelayCounters", "RelayRunner"]

_log = logging.getLogger("freehold.outbox")
_PENDING = Backoff(0.02, 60.0)
_ROUNDS_IN_A_ROW = 4
_REFUSED = Retry(attempts=3, delay_seconds=0.5, delay_seconds_max=5.0)


@dataclass(slots=True)
class RelayCounters:
    """Counts of a relay since it started; read by health checks and metrics."""

    published: int = 0
    refused: int = 0
    dead_lettered: int = 0
    rounds: int = 0
    last_error: str = ""


class RelayRunner(Runner):
    """Publishes the outbox of one service. Any number of relays share the work by leases.

    held            returns the leases held at present, partition to token.
    poll_seconds    longest delay of messages that other processes staged; after a commit in this process, `wake` starts
                    a round at once.
    linger_seconds  pause after a round that did not fill `limit`, and up to three times as long after several rounds in
                    a row, so that busy services move many messages in each round. The first round never waits.
    keeps_sent      confirmed messages are kept, so that they can be sent again.
    known_log       the log that the broker is taken to have. Nothing is published into another one. It is compared
                    again before the first round after an outage.
    recall_seconds  while a loss of the log is open, lost messages of a key are published again before newer ones of
                    that key, if they were first confirmed within this time.
    """

    def __init__(
        self,
        service: str,
        stores: Stores,
        broker: Broker,
        held: Callable[[], Mapping[int, int]],
        *,
        clock: Clock | None = None,
        limit: int = 200,
        poll_seconds: float = 1.0,
        linger_seconds: float = 0.01,
        publish_timeout_seconds: float = 10.0,
        refused: Retry = _REFUSED,
        lanes: WatermarkStamper | None = None,
        keeps_sent: bool = False,
        known_log: KnownLog | None = None,
        recall_seconds: float = EVER_SECONDS,
    ) -> None:
        super().__init__(f"relay {service}", clock=clock)
        self.counters = RelayCounters()
        self._stores = stores
        self._outbox = stores[OUTBOX]
        self._broker = broker
        self._held = held
        self._limit = limit
        self._poll_seconds = poll_seconds
        self._linger_seconds = linger_seconds
        self._publish_timeout_seconds = publish_timeout_seconds
        self._refused = refused
        self._lanes = lanes
        self._keeps_sent = keeps_sent
        self._known_log = known_log if known_log is not None and known_log.durable else None
        self._recall_seconds = recall_seconds
        self._log_went_back = False
        self._tries_in_outage = 0
        self._pending_rounds = 0
        self._round_lock = asyncio.Lock()

    async def run(self) -> None:
        """Publish messages until stopped."""
        in_a_row = 0
        while not self.stopping:
            async with self._round_lock:
                moved = await self._round()
            if self._tries_in_outage:
                await self.wait(OUTAGE.after(self._tries_in_outage))
                continue
            self.healthy()
            if not moved:
                in_a_row = 0
                await self.wait(self._idle_seconds())
            elif moved < self._limit:
                in_a_row += 1
                await self.rest(self._linger_seconds * min(3.0, 1.0 + in_a_row // _ROUNDS_IN_A_ROW))

    async def finish_round(self, partitions: Collection[str] = ()) -> None:
        """Return when no round is in progress. Called before leases are released."""
        async with self._round_lock:
            return

    def _idle_seconds(self) -> float:
        """The pause of an idle relay; shorter while a pending watermark waits for a transaction in progress to end."""
        if not self._pending_rounds:
            return self._poll_seconds
        return min(self._poll_seconds, _PENDING.after(self._pending_rounds))

    async def _round(self) -> int:
        unknown = await self._look_at_log()
        # Read before the rows: a loss that is recorded in between is not in their `loss`.
        log = self._known_log.identity if self._known_log else ""
        leases = self._held()
        fetched = await self._fetch(leases) if leases else OutboxBatch()
        stamped = self._lanes.stamp(fetched) if self._lanes else _as_staged(fetched)
        self._pending_rounds = self._pending_rounds + 1 if fetched.pending_watermarks and not stamped.messages else 0
        if not stamped.messages:
            return 0
        self.counters.rounds += 1
        try:
            if unknown is not None:
                raise unknown
            outcomes = await self._broker.publish(stamped.messages, self._publish_timeout_seconds, log=log)
        except Unavailable as error:
            self._note_outage(error)
            return 0
        pending_watermarks = stamped.pending_watermarks(fetched, outcomes) if self._lanes else {}
        stored = await self._remove_stored(leases, fetched, outcomes, pending_watermarks)
        refused = await self._treat_failures(leases, fetched.rows, outcomes)
        return 0 if refused is None or not (stored or refused) else len(fetched.rows)

    async def _look_at_log(self) -> Unavailable | None:
        """Compare the broker's log, in the first round and in each round after an outage, before a watermark is
        published: the broker may have come back without confirmed messages. Returns the error where its log is not
        known.
        """
        if self._known_log is None or (self._known_log.identity and not self._tries_in_outage):
            return None
        try:
            await self._known_log.look(went_back=self._log_went_back)
        except Unavailable as error:
            # If a log is known, the broker compares it with its own in `publish`.
            return None if self._known_log.identity else error
        self._log_went_back = False
        return None

    async def _fetch(self, leases: Mapping[int, int]) -> OutboxBatch:
        fetched = await self._outbox.fetch(leases, self._limit, recall_seconds=self._recall_seconds)
        if not fetched.loss.open:
            return fetched
        # The recalled messages are published in this round, and what waits for them in one of the next.
        recalled = await self._stores[SENT].recall(leases, self._limit, recall_seconds=self._recall_seconds)
        if not recalled:
            return fetched
        return await self._outbox.fetch(leases, self._limit, recall_seconds=self._recall_seconds)

    async def _remove_stored(
        self,
        leases: Mapping[int, int],
        fetched: OutboxBatch,
        outcomes: Sequence[PublishOutcome],
        pending_watermarks: Mapping[int, int],
    ) -> int:
        rows = fetched.rows
        # After the outcomes of the rows come those of messages that carry a watermark only.
        stored = [row for row, outcome in zip(rows, outcomes, strict=False) if isinstance(outcome, PublishConfirmed)]
        if not stored and not pending_watermarks:
            return 0
        keep = fetched.loss if self._keeps_sent else None
        removed = await self._outbox.remove(leases, stored, pending_watermarks, keep=keep)
        self.counters.published += len(stored)
        if removed < len(stored):
            text = "%s: lease lost for %d rows; another relay may publish them once more"
            _log.info(text, self.outages.titled(self.name), len(stored) - removed)
        return len(stored)

    async def _treat_failures(
        self, leases: Mapping[int, int], rows: Sequence[StagedMessage], outcomes: Sequence[PublishOutcome]
    ) -> int | None:
        """Reschedule or dead-letter rejected messages; returns for how many that was recorded, None in an outage.

        Only the first failure of a key counts: after it, the broker stores no more messages of that key.
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
        self._tries_in_outage = 0
        return treated

    async def _refuse(self, leases: Mapping[int, int], row: StagedMessage, error: MessageRejected) -> bool:
        """Treat a rejected message: its key is blocked, and after some attempts the message becomes a dead letter.
        False where that could not be recorded: the message is published again, and other keys continue.
        """
        place = f"message {row.message.id}"
        self.counters.refused += 1
        self.counters.last_error = type(error).__name__
        decision = self._refused.decide(row.attempts + 1, error)
        try:
            if isinstance(decision, RetryAfter):
                await self._outbox.reschedule(leases, row, decision.delay_seconds, plain_text(error.message))
            elif await dead_letter(self._stores, leases, row, plain_text(error.message), self.clock.now()):
                self.counters.dead_lettered += 1
                text = "%s: message %s was rejected by the broker and is a dead letter (%s)"
                _log.warning(text, self.outages.titled(self.name), row.message.id, error.message)
        except LeaseLost:
            _log.info("%s: lease lost for a rejected row", self.outages.titled(self.name))
        except Unavailable:
            raise
        except Exception as unrecorded:  # noqa: BLE001 - one row must not stop the others
            self.trouble_at(place, unrecorded)
            name = type(unrecorded).__name__
            text = "%s: the rejection of %s could not be recorded (%s); its key is blocked until the retry"
            _log.error(text, self.outages.titled(self.name), place, name)
            return False
        self.no_trouble_at(place)
        return True

    def _note_outage(self, error: Unavailable) -> None:
        self._tries_in_outage += 1
        self._log_went_back |= isinstance(error, LogReplaced) and error.went_back
        self.counters.last_error = type(error).__name__
        self.waits_for(BROKER, error, again_seconds=OUTAGE.delay_seconds_max)


def _as_staged(fetched: OutboxBatch) -> StampedBatch:
    return StampedBatch([row.message for row in fetched.rows], [None] * len(fetched.rows))
