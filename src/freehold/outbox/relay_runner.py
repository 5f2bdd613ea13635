"""The runner that publishes staged messages. Pattern: imports the foundation, the ports, its own package.

Each round fetches the oldest rows of the partitions whose leases are held, publishes them in one call, which keeps the
order of each key, and removes the rows that the broker confirmed, under the lease tokens. A relay that lost a lease
removes nothing: what it published is published again, in order, and consumers discard it by their receipts. Rounds do
not overlap.

`wake` begins a round, and a `wake` during a round the next one: it is forgotten right before the rows are fetched, so
the fetch sees the commit before it. Where another round follows, the confirmed rows are removed when that one fetches,
in one round trip; before a relay waits, gives leases back or stops, at once.

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
from freehold.crash_points import crash_point
from freehold.errors import LeaseLost, LogReplaced, MessageRejected, Unavailable
from freehold.failures import plain_text
from freehold.lifecycle import Runner
from freehold.outages import BROKER
from freehold.outbox.log import KnownLog
from freehold.outbox.pace import RelayPace
from freehold.outbox.refusal import dead_letter
from freehold.outbox.sent import SENT
from freehold.outbox.store import EVER_SECONDS, OUTBOX, LossState, OutboxBatch, StagedMessage
from freehold.outbox.watermark import PendingSince, StampedBatch, WatermarkStamper
from freehold.policy import OUTAGE, Backoff, Retry, RetryAfter
from freehold.ports import Stores

__all__ = ["RelayCounters", "RelayRunner"]

_log = logging.getLogger("freehold.outbox")
_PENDING = Backoff(0.01, 60.0)
_REFUSED = Retry(attempts=3, delay_seconds=0.5, delay_seconds_max=5.0)


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """Rows that the broker has confirmed, and that are still to be removed under the leases of their round."""

    leases: Mapping[int, int]
    rows: Sequence[StagedMessage]
    pending_watermarks: Mapping[int, int]
    keep: LossState | None


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
    limit           the number of rows of a batch; up to five times as many in a backlog (see `freehold.outbox.pace`).
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
        self._pace = RelayPace(limit)
        self._poll_seconds = poll_seconds
        self._publish_timeout_seconds = publish_timeout_seconds
        self._refused = refused
        self._lanes = lanes
        self._keeps_sent = keeps_sent
        self._known_log = known_log if known_log is not None and known_log.durable else None
        self._recall_seconds = recall_seconds
        self._log_went_back = False
        self._tries_in_outage = 0
        self._pending_rounds = 0
        self._pending_since = PendingSince(self.clock)
        self._goes_on = False
        self._loops = False
        self._confirmed: _Confirmed | None = None
        self._round_lock = asyncio.Lock()

    async def run(self) -> None:
        """Publish messages until stopped."""
        self._loops = True
        while not self.stopping:
            began = self.clock.monotonic()
            async with self._round_lock:
                await self._round()
            if self._tries_in_outage:
                await self.wait(OUTAGE.after(self._tries_in_outage))
                continue
            self.healthy()
            if self._goes_on:
                continue
            if self.woken or self._pace.busy:
                await self.rest(self._pace.rest_seconds(self.clock.monotonic() - began))
            if not self.woken:
                self._pace.idle()
                await self.finish_round()
                await self.wait(self._idle_seconds())
        await self.finish_round()

    async def finish_round(self, partitions: Collection[str] = ()) -> None:
        """Return when no round is in progress, and what was confirmed is removed. Called before leases are released."""
        async with self._round_lock:
            await self._remove_confirmed()

    def _idle_seconds(self) -> float:
        """The pause of an idle relay; shorter while a pending watermark waits for a transaction in progress to end, or
        for the next event of its lane.
        """
        if not self._pending_rounds:
            return self._poll_seconds
        return min(self._poll_seconds, _PENDING.after(self._pending_rounds))

    async def _round(self) -> int:
        """Publish a batch; returns the number of its rows, or 0 where nothing was achieved."""
        began = self.clock.monotonic()
        self._goes_on = False
        unknown = await self._look_at_log()
        # Read before the rows: a loss that is recorded in between is not in their `loss`.
        log = self._known_log.identity if self._known_log else ""
        self.forget_wake()
        leases = self._held()
        fetched = await self._fetch(leases)
        stamped = self._stamped(fetched)
        if not stamped.messages:
            self._pending_rounds = self._pending_rounds + 1 if fetched.pending_watermarks else 0
            return 0
        self.counters.rounds += 1
        try:
            if unknown is not None:
                raise unknown
            crash_point("outbox.before-publish")
            outcomes = await self._broker.publish(stamped.messages, self._publish_timeout_seconds, log=log)
            crash_point("outbox.published")
        except Unavailable as error:
            self._note_outage(error)
            return 0
        stored = self._note_confirmed(leases, fetched, stamped, outcomes)
        failed = len(fetched.rows) - stored
        progress = await self._settle(leases, fetched, outcomes, failed=failed)
        self._pace.moved(fetched.rows, self.clock.monotonic() - began, more=fetched.more)
        return len(fetched.rows) if progress else 0

    def _stamped(self, fetched: OutboxBatch) -> StampedBatch:
        if self._lanes is None:
            return StampedBatch([row.message for row in fetched.rows], [None] * len(fetched.rows))
        return self._lanes.stamp(fetched, self._pending_since.overdue(fetched))

    async def _settle(
        self, leases: Mapping[int, int], fetched: OutboxBatch, outcomes: Sequence[PublishOutcome], *, failed: int
    ) -> bool:
        """Treat failures, and decide whether the next round begins at once; returns whether anything was achieved.

        It does where rows were left: those that the limit cut off, those behind a failed one of their key, and those
        that waited for lost messages, which were published now.
        """
        stored = len(fetched.rows) - failed
        if failed or not self._loops:
            await self._remove_confirmed()
        treated = await self._treat_failures(leases, fetched.rows, outcomes) if failed else 0
        if treated is None:
            return False
        self._tries_in_outage = 0
        progress = bool(stored or treated)
        self._goes_on = progress and (fetched.more or fetched.loss.open or failed > 0)
        if not (self._goes_on or self.woken or self._pace.busy):
            await self._remove_confirmed()
        return progress

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
        limit = self._pace.limit
        fetched = await self._advance(leases, limit)
        crash_point("outbox.fetched")
        if not fetched.loss.open:
            return fetched
        # The recalled messages are published in this round, and what waits for them in one of the next.
        crash_point("outbox.before-recall")
        recalled = await self._stores[SENT].recall(leases, limit, recall_seconds=self._recall_seconds)
        if not recalled:
            return fetched
        crash_point("outbox.recalled")
        return await self._outbox.fetch(leases, limit, recall_seconds=self._recall_seconds)

    async def _advance(self, leases: Mapping[int, int], limit: int) -> OutboxBatch:
        """Remove what was confirmed, and fetch the next batch: together, if the leases are those of its round."""
        confirmed = self._confirmed
        if confirmed is not None and confirmed.leases == leases:
            crash_point("outbox.before-advance")
            removed, fetched = await self._outbox.advance(
                leases,
                confirmed.rows,
                confirmed.pending_watermarks,
                limit,
                keep=confirmed.keep,
                recall_seconds=self._recall_seconds,
            )
            crash_point("outbox.advanced")
            self._note_removed(confirmed, removed)
            return fetched
        await self._remove_confirmed()
        if not leases:
            return OutboxBatch()
        return await self._outbox.fetch(leases, limit, recall_seconds=self._recall_seconds)

    def _note_confirmed(
        self,
        leases: Mapping[int, int],
        fetched: OutboxBatch,
        stamped: StampedBatch,
        outcomes: Sequence[PublishOutcome],
    ) -> int:
        """Note what is to be removed, and the watermarks that are pending now; returns the number of stored rows."""
        changed = stamped.pending_watermarks(fetched, outcomes) if self._lanes else {}
        # After the outcomes of the rows come those of messages that carry a watermark only.
        pairs = zip(fetched.rows, outcomes, strict=False)
        stored = [row for row, outcome in pairs if isinstance(outcome, PublishConfirmed)]
        if stored or changed:
            keep = fetched.loss if self._keeps_sent else None
            self._confirmed = _Confirmed(leases, stored, changed, keep)
        pending = any({**fetched.pending_watermarks, **changed}.values())
        self._pending_rounds = (1 if fetched.rows else self._pending_rounds + 1) if pending else 0
        return len(stored)

    async def _remove_confirmed(self) -> None:
        """Remove the rows that were confirmed. After a failure they are kept in mind, and removed by the next call."""
        confirmed = self._confirmed
        if confirmed is None:
            return
        crash_point("outbox.before-remove")
        removed = await self._outbox.remove(
            confirmed.leases, confirmed.rows, confirmed.pending_watermarks, keep=confirmed.keep
        )
        crash_point("outbox.removed")
        self._note_removed(confirmed, removed)

    def _note_removed(self, confirmed: _Confirmed, removed: int) -> None:
        self._confirmed = None
        self.counters.published += len(confirmed.rows)
        if removed < len(confirmed.rows):
            text = "%s: lease lost for %d rows; another relay may publish them once more"
            _log.info(text, self.outages.titled(self.name), len(confirmed.rows) - removed)

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
                crash_point("outbox.before-reschedule")
                await self._outbox.reschedule(leases, row, decision.delay_seconds, plain_text(error.message))
                crash_point("outbox.rescheduled")
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
