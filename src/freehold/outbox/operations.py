"""The resend of messages that a broker confirmed and then lost. Pattern: imports the context, the audit, its package.

Confirmed messages that are still kept are moved back into the outbox, at their old positions, in bounded transactions.
A relay of the service, wherever it runs, publishes them. Messages that were handled before are delivered again, and
consumers discard them by their receipts. So a resend may be repeated, interrupted, and run in parallel with another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from freehold.audit.store import AUDIT, AuditEntry
from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.errors import ConfigurationError, FreeholdError
from freehold.outbox.log import BROKER_LOGS, BrokerLog
from freehold.outbox.log_watch import compare_log_mark, place_of
from freehold.outbox.sent import SENT, Kept
from freehold.outbox.store import OUTBOX, STAGED
from freehold.outbox.watermark import WatermarkStamper

__all__ = ["Resend", "ResendPlan", "Resent"]

_log = logging.getLogger("freehold.runtime")
_STEP: Final = 200
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Resent:
    """The result of a resend in one service.

    sent_again         number of messages that were put back into the outbox.
    since              earliest time at which one of them can have been confirmed.
    not_kept_before    messages confirmed before this time are not kept. Those that the broker lost before they were
                       handled cannot be restored.
    losses_ended       number of the broker's losses that the resend ended; `losses_open`: of those still open.
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
    """A planned resend: of the kept messages, all that were confirmed at `since` or later; and the open losses."""

    lost: Sequence[BrokerLog]
    kept: Kept
    since: datetime

    @property
    def complete(self) -> bool:
        """Whether it sends everything that is kept."""
        return self.kept.oldest_at is None or self.since <= self.kept.oldest_at


class Resend:
    """Sends again what one service published. The service runs, or only its database is open."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._stores = context.stores
        self._settings = context.settings
        self._clock = context.clock

    async def plan(self, since: datetime | None = None) -> ResendPlan:
        """Plan a resend of what was confirmed at `since` or later; by default of everything that is kept.

        The broker is asked which log it has, since no runner may have noticed the loss yet. An unavailable broker is
        not waited for.

        Raises `ConfigurationError` for a time before `dedup_window_seconds`: receipts of that age may be pruned, and
        messages would be handled a second time.
        """
        await self._note_log()
        # Read before the kept messages: these then contain everything that was confirmed before the loss.
        lost = await self._stores[BROKER_LOGS].lost()
        kept = await self._stores[SENT].kept()
        window_seconds = self._settings.dedup_window_seconds
        earliest = kept.now - timedelta(seconds=min(window_seconds, (kept.now - _EVER).total_seconds()))
        if since is not None and since < earliest:
            raise ConfigurationError(
                f"service '{self._settings.service}': {since:%Y-%m-%dT%H:%M:%SZ} is before its dedup_window_seconds"
                f" ({window_seconds:g}): receipts may be pruned, and messages would be handled a second time",
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
        """Put the planned messages back into the outbox. The first step writes the audit row. `moved` is called after
        each step with its number of messages.

        The open losses are ended if the plan is complete and the service keeps messages at all. `acknowledge` ends them
        in any case: the missing messages are given up.

        Raises `Unavailable`: the next resend puts back the rest.
        """
        service, at = self._settings.service, self._clock.now()
        entry = AuditEntry(at=at, actor=actor, action="outbox.resend", subject=service, reason=reason)
        through, after, count, done = plan.kept.last_position or 0, 0, 0, False
        # Not beyond the last message that was kept at the beginning: the relay keeps what it publishes meanwhile.
        while not done:
            async with self._stores.database.begin() as db_tx:
                step = await self._stores[SENT].send_again(db_tx, plan.since, after, through, _STEP)
                if not after:
                    await self._stores[AUDIT].add(db_tx, entry)
                crash_point("outbox.before-resend-commit")
            crash_point("outbox.resent")
            after, done = step.position, step.done
            count += step.moved
            self._context.emit(STAGED)
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
                await compare_log_mark(broker, self._stores[BROKER_LOGS], place, identity)
        except FreeholdError as error:
            text = "%s: the broker could not be asked which log it has: %s; the service asks when it reaches the broker"
            _log.warning(text, self._settings.service, error)

    async def _end(self, lost: Sequence[BrokerLog]) -> int:
        """End losses, and stage a message with a watermark for each lane: earlier watermarks may be lost as well."""
        service, outbox = self._settings.service, self._stores[OUTBOX]
        async with self._stores.database.begin() as db_tx:
            crash_point("outbox.before-end-of-loss")
            ended = sum([await self._stores[BROKER_LOGS].end_loss(db_tx, log) for log in lost])
            if ended and WatermarkStamper.can_name(service):
                await outbox.stage(db_tx, WatermarkStamper(service, outbox.partitions, self._clock).barriers())
        crash_point("outbox.loss-ended")
        return ended
