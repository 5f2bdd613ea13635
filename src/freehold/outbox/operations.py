"""Sending again what a broker confirmed and then lost. Pattern: imports the context, the audit, its package.

Confirmed messages that are still kept go back into the outbox, at their old positions, in bounded transactions; a relay
of the service, wherever it runs, publishes them. What had been handled comes a second time, and receipts absorb it: a
resend may be repeated, interrupted, and run side by side with another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from freehold.audit.store import AUDIT, AuditEntry
from freehold.context import ServiceContext
from freehold.errors import ConfigurationError, FreeholdError
from freehold.outbox.log import BROKER_LOGS, BrokerLog
from freehold.outbox.log_watch import note_how_far, place_of
from freehold.outbox.sent import SENT, Kept
from freehold.outbox.store import OUTBOX
from freehold.outbox.watermark import WatermarkStamper

__all__ = ["Resend", "ResendPlan", "Resent"]

_log = logging.getLogger("freehold.runtime")
_STEP: Final = 200
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Resent:
    """What a resend did in one service.

    sent_again    messages that were put back into the outbox.
    since         when the oldest of them can have been confirmed.
    not_kept_before  what was confirmed before this time is not kept: whatever of it the broker has lost and nobody had
                  handled cannot be restored from here.
    losses_ended, losses_open  how many losses of the broker, as they were noticed, this has dealt with, and has not.
    retention_seconds  `outbox_sent_retention_seconds` of the service; 0: nothing is kept.
    """

    service: str
    sent_again: int
    since: datetime
    not_kept_before: datetime
    losses_ended: int
    losses_open: int
    retention_seconds: float


@dataclass(frozen=True, slots=True)
class ResendPlan:
    """What a resend would send: of what is kept, all that was confirmed at `since` or later; and the losses of brokers
    that are open. `complete`: everything that is kept.
    """

    lost: Sequence[BrokerLog]
    kept: Kept
    since: datetime

    @property
    def complete(self) -> bool:
        """Whether it sends everything that is kept."""
        return self.kept.oldest_at is None or self.since <= self.kept.oldest_at


class Resend:
    """Sends again what one service published: a running one, or one whose database is open."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._stores = context.stores
        self._settings = context.settings
        self._clock = context.clock

    async def plan(self, since: datetime | None = None) -> ResendPlan:
        """See what would be sent: what was confirmed at `since` or later, everything that is kept by default.

        The broker is asked which log it has: no loop may have noticed the loss yet. One that is away is not waited for.

        Raises `ConfigurationError` for a time before `dedup_window_seconds`: receipts of that age may be gone, and what
        was handled would be handled a second time.
        """
        await self._note_log()
        # Before what is kept: what a loss that is seen here has taken was confirmed before.
        lost = await self._stores[BROKER_LOGS].lost()
        kept = await self._stores[SENT].kept()
        window_seconds = self._settings.dedup_window_seconds
        earliest = kept.now - timedelta(seconds=min(window_seconds, (kept.now - _EVER).total_seconds()))
        if since is not None and since < earliest:
            raise ConfigurationError(
                f"service '{self._settings.service}': {since:%Y-%m-%dT%H:%M:%SZ} is before its dedup_window_seconds"
                f" ({window_seconds:g}): receipts may be gone, and messages would be handled a second time",
                hint=f"the earliest time is {earliest:%Y-%m-%dT%H:%M:%SZ}; without --since all that is safe is sent",
            )
        return ResendPlan(lost, kept, earliest if since is None else since)

    async def run(
        self,
        plan: ResendPlan,
        *,
        actor: str,
        reason: str,
        acknowledge: bool = False,
        moved: Callable[[int], None] = lambda _: None,
    ) -> Resent:
        """Put back what was planned; `moved` is told of each step. The first step writes the audit row.

        Losses that are open end with it where it was all that is kept, and where messages are kept at all.
        `acknowledge` ends them in any case: what is missing is given up.

        Raises `Unavailable`: what was not put back then is put back by the next resend.
        """
        service, at = self._settings.service, self._clock.now()
        entry = AuditEntry(at=at, actor=actor, action="outbox.resend", subject=service, reason=reason)
        through, after, count, done = plan.kept.last_position or 0, 0, 0, False
        # No further than what was kept at the beginning: the relay keeps again what it publishes meanwhile.
        while not done:
            async with self._stores.database.begin() as db_tx:
                step = await self._stores[SENT].send_again(db_tx, plan.since, after, through, _STEP)
                if not after:
                    await self._stores[AUDIT].add(db_tx, entry)
            after, done = step.position, step.done
            count += step.moved
            moved(step.moved)
        ends = acknowledge or (plan.complete and self._settings.outbox_sent_retention_seconds > 0)
        ended = await self._end(plan.lost) if ends and plan.lost else 0
        return Resent(
            service=service,
            sent_again=count,
            since=plan.since,
            not_kept_before=plan.kept.oldest_at or plan.kept.now,
            losses_ended=ended,
            losses_open=len(await self._stores[BROKER_LOGS].lost()),
            retention_seconds=self._settings.outbox_sent_retention_seconds,
        )

    async def _note_log(self) -> None:
        try:
            async with self._context.asked_broker() as broker:
                if not broker.features.durable:
                    return
                place, identity = place_of(self._settings), await broker.log_identity()
                await self._stores[BROKER_LOGS].note(place, identity)
                await note_how_far(broker, self._stores[BROKER_LOGS], place, identity)
        except FreeholdError as error:
            text = "%s: the broker was not asked which log it has: %s; the service asks when it reaches the broker"
            _log.warning(text, self._settings.service, error)

    async def _end(self, lost: Sequence[BrokerLog]) -> int:
        """End losses, and have each lane say how far it is: messages that said so were lost as well."""
        service, outbox = self._settings.service, self._stores[OUTBOX]
        async with self._stores.database.begin() as db_tx:
            ended = sum([await self._stores[BROKER_LOGS].end_loss(db_tx, log) for log in lost])
            if ended and WatermarkStamper.can_name(service):
                await outbox.stage(db_tx, WatermarkStamper(service, outbox.partitions, self._clock).barriers())
        return ended
