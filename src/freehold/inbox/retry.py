"""The failure handler: what follows when a message could not be handled. Pattern: imports the foundation, the ports and
its package.

- An outage of the database counts as no attempt of a message: the message waits until the database is available, or it
  is released.
- After a conflict the message is handled again at once.
- A refusal (`Rejected`) is the reply.
- After any other failure the retry policy decides: the message is deferred, or it becomes a dead letter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from freehold.crash_points import crash_point
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.failures import CrashLimit, describe, name_of
from freehold.inbox.dispatcher import NO_REPLY, Dispatcher, HandlerFailed, StaleClaim
from freehold.inbox.reply import Rejected
from freehold.inbox.store import DeferredMessage, ReceiveStatus
from freehold.inbox.work import HandlerCall, dead_arrival
from freehold.origin import chain
from freehold.outages import Wait
from freehold.policy import OUTAGE, Backoff, GiveUp, RetryAfter
from freehold.tasks import first_of
from freehold.transaction import Transaction

__all__ = ["DatabaseAway", "FailureHandler", "MessagesReleased", "RunnerStopping"]

T = TypeVar("T")
_log = logging.getLogger("freehold.inbox")
_CONFLICTS = Backoff(0.01, 0.2)
_CONFLICTS_MAX = 6
_UNRECORDED = Backoff(1.0, 300.0)
_UNEXPLAINED_OUTAGES_MAX = 8
_DRIVER_OUTAGES_MAX = 2
_PROBE_SECONDS = 2.0


class MessagesReleased(Exception):
    """Messages are released unhandled, without counting the attempt: the database was unavailable."""


class RunnerStopping(MessagesReleased):
    """The runner was asked to stop while it waited for the database."""


class DatabaseAway(MessagesReleased):
    """The database was unavailable for longer than messages are held for it."""


class FailureHandler:
    """Handles single messages, and decides what follows when that fails. `stop` ends its waits; `waits` returns the
    `Wait` for the database, which its owner ends at a stop.

    patience_seconds  how long messages are held while the database is unavailable, before `DatabaseAway` is raised.
                      None: until the database is back.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        stop: asyncio.Event,
        waits: Callable[[], Wait],
        *,
        patience_seconds: float | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._stop = stop
        self._waits = waits
        self._patience_seconds = patience_seconds
        self.reachable = asyncio.Event()
        """Set while no message waits for the database."""
        self.reachable.set()
        self.away = asyncio.Event()
        """Set when `DatabaseAway` is raised. The consumer clears it when the database is back."""
        self._waiting = 0

    async def run_through_outages(self, action: Callable[[], Awaitable[T]]) -> T:
        """Run an action, and again after each outage of the database, until it returns. Raises any other error, and
        `MessagesReleased` where the wait ended first.
        """
        outages = unexplained = 0
        since, back = self._dispatcher.context.clock.monotonic(), True
        try:
            while True:
                try:
                    return await action()
                except (Unavailable, HandlerFailed) as error:
                    cause = error.error if isinstance(error, HandlerFailed) else error
                    if not self._blames_database(cause):
                        raise
                    problem = await self.database_problem()
                    unexplained += problem is None
                    if problem is None and unexplained > self._unexplained_max(error, cause):
                        raise
                    outages += 1
                    self._begin_waiting(cause, first=outages == 1)
                back = False
                if problem is not None:
                    self._check_patience(since)
                await self._pause(OUTAGE.after(outages))
                back = True
        except BaseException as error:
            back = back and not isinstance(error, asyncio.CancelledError)
            raise
        finally:
            if outages:
                self._end_waiting(back=back)

    def _check_patience(self, since: float) -> None:
        seconds = self._dispatcher.context.clock.monotonic() - since
        if self._patience_seconds is not None and seconds >= self._patience_seconds:
            self.away.set()
            raise DatabaseAway

    def _unexplained_max(self, error: Exception, cause: Exception) -> int:
        """How many outages are retried though the database accepts writes: it may have just come back. But a handler
        may raise `Unavailable` for another service, and a statement may be too slow every time.
        """
        if not isinstance(error, HandlerFailed):
            return _UNEXPLAINED_OUTAGES_MAX
        translate_error = self._dispatcher.context.database.translate_error
        by_driver = any(isinstance(translate_error(each), Unavailable) for each in chain(cause))
        return _DRIVER_OUTAGES_MAX if by_driver else 0

    async def database_problem(self) -> Unavailable | None:
        """The outage that keeps the database from accepting writes at present; None where there is none."""
        try:
            await self._dispatcher.context.database.probe(_PROBE_SECONDS)
        except Unavailable as error:
            return error
        except FreeholdError:
            return None  # not an outage: the next write raises it
        return None

    def _begin_waiting(self, cause: Exception, *, first: bool) -> None:
        self._waiting += first
        self.reachable.clear()
        known = self._dispatcher.context.database.translate_error(cause) or cause
        self._waits().failed(known, again_seconds=OUTAGE.delay_seconds_max)

    def _end_waiting(self, *, back: bool) -> None:
        self._waiting -= 1
        if self._waiting:
            return
        self.reachable.set()
        if back:
            self._waits().over()

    async def handle_one(
        self, work: HandlerCall, *, claimed: DeferredMessage | None = None, error: Exception | None = None
    ) -> None:
        """Handle one message in its own transaction, and do what follows from a failure. `error`: the message has just
        failed with it, and is not tried again first.
        """
        number = claimed.attempts if claimed is not None else 1
        failure = error or await self._try(work, claimed)
        conflicts = 0
        while isinstance(failure, ConcurrencyConflict) and conflicts < _CONFLICTS_MAX:
            conflicts += 1
            await self._pause(_CONFLICTS.after(conflicts))
            failure = await self._try(work, claimed)
        if failure is None:
            return
        try:
            await self._treat_failure(work, claimed, number, failure)
        except (MessagesReleased, StaleClaim):
            raise
        except Exception as unrecorded:  # noqa: BLE001 - one message must not stop the others
            await self._unrecorded(work, claimed, number, unrecorded)

    async def dead_letter_crashed(self, work: HandlerCall, crashes: CrashLimit) -> bool:
        """Dead-letter a message that probably crashes its consumer. False: it had been handled already."""
        error = crashes.error(work.delivery_count - 1, "this message was delivered")
        kept = await self._kept(work, None, error)
        if kept is not None:
            return kept is ReceiveStatus.NEW
        status = await self._dead_letter(work, None, "consumer-crashed", error, work.delivery_count - 1)
        return status is ReceiveStatus.NEW

    async def dead_letter_crashed_deferred(
        self, work: HandlerCall, claimed: DeferredMessage, crashes: CrashLimit
    ) -> None:
        """As `dead_letter_crashed`, for a deferred message whose attempts never finish."""
        error = crashes.error(claimed.attempts - 1, "this deferred message was retried")
        if await self._kept(work, claimed, error) is None:
            await self._dead_letter(work, claimed, "consumer-crashed", error, claimed.attempts - 1)

    def cause(self, error: Exception) -> Exception:
        """The error that the policy decides on: the handler's own, translated where it comes from the database."""
        if not isinstance(error, HandlerFailed):
            return error
        known = self._dispatcher.context.database.translate_error(error.error)
        if known is None:
            return error.error
        known.__cause__ = error.error
        return known

    async def _try(self, work: HandlerCall, claimed: DeferredMessage | None) -> Exception | None:
        try:
            await self.run_through_outages(lambda: self._dispatcher.handle([work], claimed=claimed))
        except (MessagesReleased, StaleClaim):
            raise
        except Exception as error:  # noqa: BLE001 - the policy decides on any error
            return self.cause(error)
        return None

    async def _treat_failure(
        self, work: HandlerCall, claimed: DeferredMessage | None, number: int, error: Exception
    ) -> None:
        counters = self._dispatcher.counters
        if await self._kept(work, claimed, error) is not None:
            return
        if isinstance(error, Rejected):
            refusal = error

            async def refuse(_tx: Transaction, _work: HandlerCall) -> object:
                return refusal

            await self.run_through_outages(lambda: self._dispatcher.handle([work], claimed=claimed, instead=refuse))
            counters.rejected += 1
            return
        name = counters.last_error = name_of(error)
        decision = work.retry.decide(number, error)
        _log.warning(
            "%s: message %s of type %s failed with %s on attempt %d; %s%s",
            self._dispatcher.consumer,
            work.envelope.id if work.envelope else work.arrival.receipt_key,
            work.envelope.type if work.envelope else "?",
            describe(error),
            number,
            _what_follows(decision),
            self._dispatcher.context.failures.traceback(error),
        )
        match decision:
            case RetryAfter(delay_seconds):
                await self._reschedule(work, claimed, number, delay_seconds, name)
                counters.deferred += 1
            case GiveUp():
                reason = "attempts-exhausted" if number >= work.retry.attempts else "non-retryable"
                await self._dead_letter(work, claimed, reason, error, number)

    async def _kept(self, work: HandlerCall, claimed: DeferredMessage | None, error: Exception) -> ReceiveStatus | None:
        """Store a message with an outcome that must not be lost. None where it has none, or could not be stored."""
        store = work.keep
        if store is None:
            return None

        async def keep(tx: Transaction, _work: HandlerCall) -> object:
            await store(tx, error)
            return NO_REPLY

        try:
            receipts = await self.run_through_outages(
                lambda: self._dispatcher.handle([work], claimed=claimed, instead=keep)
            )
        except (MessagesReleased, StaleClaim):
            raise
        except Exception as failure:  # noqa: BLE001 - the reply is then treated like any other message
            text = "%s: a reply was not saved (%s); it is retried or dead-lettered like any other message"
            _log.info(text, self._dispatcher.consumer, describe(failure))
            return None
        return receipts[0].status

    async def _unrecorded(
        self, work: HandlerCall, claimed: DeferredMessage | None, number: int, error: Exception
    ) -> None:
        """Defer a message whose failure could not be recorded; only its key is blocked. Raises where that fails too."""
        name = self._dispatcher.counters.last_error = name_of(self.cause(error))
        _log.error(
            "%s: the failure of message %s could not be recorded (%s); its key is blocked until the retry",
            self._dispatcher.consumer,
            work.envelope.id if work.envelope else work.arrival.receipt_key,
            name,
        )
        await self._reschedule(
            work, claimed, number, _UNRECORDED.after(number), f"its failure could not be recorded: {name}"
        )
        self._dispatcher.counters.deferred += 1

    async def _reschedule(
        self, work: HandlerCall, claimed: DeferredMessage | None, number: int, delay_seconds: float, reason: str
    ) -> None:
        if claimed is not None:
            message = claimed
            crash_point("inbox.before-reschedule")
            if not await self.run_through_outages(
                lambda: self._dispatcher.inbox.reschedule(message, delay_seconds, reason)
            ):
                raise StaleClaim("another process has claimed the deferred message")
            crash_point("inbox.rescheduled")
            return
        crash_point("inbox.before-defer")
        await self.run_through_outages(lambda: self._defer(work, number, delay_seconds, reason))
        crash_point("inbox.deferred")
        self._dispatcher.on_deferred()

    async def _defer(self, work: HandlerCall, number: int, delay_seconds: float, reason: str) -> None:
        async with self._dispatcher.context.database.begin() as db_tx:
            await self._dispatcher.inbox.defer(
                db_tx,
                self._dispatcher.consumer,
                work.arrival,
                work.document,
                attempts=number,
                delay_seconds=delay_seconds,
                reason=reason,
            )

    async def _dead_letter(
        self, work: HandlerCall, claimed: DeferredMessage | None, reason: str, error: Exception, attempts: int
    ) -> ReceiveStatus:
        async def dead_letter(tx: Transaction, work: HandlerCall) -> object:
            await self._dispatcher.dead_letter(tx, work, reason=reason, error=error, attempts=attempts)
            return NO_REPLY

        given_up = replace(work, arrival=dead_arrival(work.arrival, work.envelope))
        crash_point("inbox.before-dead-letter")
        receipts = await self.run_through_outages(
            lambda: self._dispatcher.handle([given_up], claimed=claimed, instead=dead_letter)
        )
        crash_point("inbox.dead-lettered")
        return receipts[0].status

    def _blames_database(self, error: Exception) -> bool:
        return isinstance(error, Unavailable) or isinstance(
            self._dispatcher.context.database.translate_error(error), Unavailable
        )

    async def _pause(self, seconds: float) -> None:
        """Wait on the service's clock. Raises `RunnerStopping` at a stop."""
        if not self._stop.is_set():
            await first_of(self._stop.wait(), self._dispatcher.context.clock.sleep(seconds))
        if self._stop.is_set():
            raise RunnerStopping


def _what_follows(decision: RetryAfter | GiveUp) -> str:
    if isinstance(decision, RetryAfter):
        return f"retry in {decision.delay_seconds:.1f} s"
    return "it becomes a dead letter"
