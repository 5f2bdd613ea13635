"""What follows when a message could not be handled: again at once, later, or never. Pattern: imports the foundation,
the ports, and its own package.

The database's absence is nobody's failure: it is waited out, and counts for no message. A conflict is tried again at
once. A refusal is answered. Everything else is the retry policy's: deferral, or a dead letter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.failures import name_of
from freehold.inbox.dispatch import NO_ANSWER, Dispatcher, HandlerFailed, StaleClaim
from freehold.inbox.outcome import Rejected
from freehold.inbox.reading import Work, dead_arrival
from freehold.inbox.store import DeferredMessage, ReceiptStatus
from freehold.policy import GiveUp, Retry, RetryAfter
from freehold.transaction import Transaction

__all__ = ["Attempts", "Stopping"]

T = TypeVar("T")
_log = logging.getLogger("freehold.inbox")
_CONFLICTS = Retry(attempts=6, delay_seconds=0.01, delay_seconds_max=0.2)
_OUTAGE = Retry(attempts=2**31, delay_seconds=0.05, delay_seconds_max=2.0)
_UNRECORDED = Retry(attempts=2**31, delay_seconds=1.0, delay_seconds_max=300.0)
_UNEXPLAINED_OUTAGES_MAX = 8
_PING_SECONDS = 2.0


class Stopping(Exception):
    """The loop was asked to stop while it waited for the database: what is held is given back unhandled."""


class Attempts:
    """Tries of single messages, with everything that may follow. `stop` ends its waits."""

    def __init__(self, dispatcher: Dispatcher, stop: asyncio.Event) -> None:
        self._dispatcher = dispatcher
        self._stop = stop

    async def hold(self, action: Callable[[], Awaitable[T]]) -> T:
        """Do something as often as needed until the database answers. Raises what else goes wrong, and `Stopping`."""
        outages = unexplained = 0
        while True:
            try:
                return await action()
            except (Unavailable, HandlerFailed) as error:
                cause = error.error if isinstance(error, HandlerFailed) else error
                if not self._blames_database(cause):
                    raise
                reachable = await self._database_answers()
                if reachable:
                    unexplained += 1
                    # A handler that calls others raises `Unavailable` for them, and a statement may be too slow for
                    # ever: the database is not to blame then.
                    if isinstance(error, HandlerFailed) or unexplained > _UNEXPLAINED_OUTAGES_MAX:
                        raise
            outages += 1
            await self._pause(_OUTAGE, min(outages, 64))

    async def alone(
        self, work: Work, *, claimed: DeferredMessage | None = None, error: Exception | None = None
    ) -> None:
        """Handle one message in a transaction of its own, to whatever end. `error`: it has just failed with this."""
        number = claimed.attempts if claimed is not None else 1
        failure = error or await self._try(work, claimed)
        conflicts = 0
        while isinstance(failure, ConcurrencyConflict) and conflicts < _CONFLICTS.attempts:
            conflicts += 1
            await self._pause(_CONFLICTS, min(conflicts, _CONFLICTS.attempts - 1))
            failure = await self._try(work, claimed)
        if failure is None:
            return
        try:
            await self._settle_failure(work, claimed, number, failure)
        except (Stopping, StaleClaim):
            raise
        except Exception as unrecorded:  # noqa: BLE001 - whatever it is, it is this message's alone
            await self._unrecorded(work, claimed, number, unrecorded)

    async def condemn(self, work: Work) -> bool:
        """Give a message up that seems to kill its consumer; False where it had been handled already."""
        error = FreeholdError(f"handed out {work.attempt} times without an end", hint="the handler seems to kill us")
        kept = await self._kept(work, None, error)
        if kept is not None:
            return kept is ReceiptStatus.FRESH
        status = await self._bury(work, None, "killed-consumer", error, work.attempt - 1)
        return status is ReceiptStatus.FRESH

    async def condemn_deferred(self, work: Work, claimed: DeferredMessage) -> None:
        """As `condemn`, for a deferred message whose tries do not end."""
        error = FreeholdError(f"tried {claimed.attempts - 1} times without an end", hint="the handler seems to kill us")
        if await self._kept(work, claimed, error) is None:
            await self._bury(work, claimed, "killed-consumer", error, claimed.attempts - 1)

    def cause(self, error: Exception) -> Exception:
        """What the policy decides on: the handler's own error, in Freehold's words where it is the database's."""
        if not isinstance(error, HandlerFailed):
            return error
        known = self._dispatcher.post.database.diagnose(error.error)
        if known is None:
            return error.error
        known.__cause__ = error.error
        return known

    async def _try(self, work: Work, claimed: DeferredMessage | None) -> Exception | None:
        try:
            await self.hold(lambda: self._dispatcher.handle([work], claimed=claimed))
        except (Stopping, StaleClaim):
            raise
        except Exception as error:  # noqa: BLE001 - the policy decides on any error
            return self.cause(error)
        return None

    async def _settle_failure(self, work: Work, claimed: DeferredMessage | None, number: int, error: Exception) -> None:
        counters = self._dispatcher.counters
        if await self._kept(work, claimed, error) is not None:
            return
        if isinstance(error, Rejected):
            refusal = error

            async def refuse(_tx: Transaction, _work: Work) -> object:
                return refusal

            await self.hold(lambda: self._dispatcher.handle([work], claimed=claimed, instead=refuse))
            counters.rejected += 1
            return
        name = counters.last_error = name_of(error)
        decision = work.retry.decide(number, error)
        _log.warning(
            "%s: message %s of type %s failed with %s on attempt %d",
            self._dispatcher.consumer,
            work.envelope.id if work.envelope else work.arrival.receipt_key,
            work.envelope.type if work.envelope else "?",
            name,
            number,
        )
        match decision:
            case RetryAfter(delay_seconds):
                await self._later(work, claimed, number, delay_seconds, name)
                counters.deferred += 1
            case GiveUp():
                reason = "attempts-exhausted" if number >= work.retry.attempts else "not-retried"
                await self._bury(work, claimed, reason, error, number)

    async def _kept(self, work: Work, claimed: DeferredMessage | None, error: Exception) -> ReceiptStatus | None:
        """Have a message kept whose outcome must not be lost with the failure; None where that is not to be had."""
        keeping = work.keep
        if keeping is None:
            return None

        async def keep(tx: Transaction, _work: Work) -> object:
            await keeping(tx, error)
            return NO_ANSWER

        try:
            receipts = await self.hold(lambda: self._dispatcher.handle([work], claimed=claimed, instead=keep))
        except (Stopping, StaleClaim):
            raise
        except Exception as failure:  # noqa: BLE001 - it is deferred or given up then, like any other message
            _log.info("%s: a reply was not kept (%s)", self._dispatcher.consumer, type(failure).__name__)
            return None
        return receipts[0].status

    async def _unrecorded(self, work: Work, claimed: DeferredMessage | None, number: int, error: Exception) -> None:
        """What became of a message could not be written down: it is tried later, and its key alone waits. Raises where
        not even that can be written.
        """
        name = self._dispatcher.counters.last_error = name_of(self.cause(error))
        _log.error(
            "%s: the failure of message %s could not be recorded (%s); its key waits, and is tried again",
            self._dispatcher.consumer,
            work.envelope.id if work.envelope else work.arrival.receipt_key,
            name,
        )
        decision = _UNRECORDED.decide(min(number, 64))
        seconds = decision.delay_seconds if isinstance(decision, RetryAfter) else _UNRECORDED.delay_seconds_max
        await self._later(work, claimed, number, seconds, f"its failure could not be recorded: {name}")
        self._dispatcher.counters.deferred += 1

    async def _later(
        self, work: Work, claimed: DeferredMessage | None, number: int, delay_seconds: float, reason: str
    ) -> None:
        if claimed is not None:
            message = claimed
            if not await self.hold(lambda: self._dispatcher.inbox.postpone(message, delay_seconds, reason)):
                raise StaleClaim("the deferred message was taken over")
            return
        await self.hold(lambda: self._defer(work, number, delay_seconds, reason))
        self._dispatcher.on_deferred()

    async def _defer(self, work: Work, number: int, delay_seconds: float, reason: str) -> None:
        async with self._dispatcher.post.database.begin() as unit:
            await self._dispatcher.inbox.defer(
                unit,
                self._dispatcher.consumer,
                work.arrival,
                work.document,
                attempts=number,
                delay_seconds=delay_seconds,
                reason=reason,
            )

    async def _bury(
        self, work: Work, claimed: DeferredMessage | None, reason: str, error: Exception, attempts: int
    ) -> ReceiptStatus:
        async def bury(tx: Transaction, work: Work) -> object:
            await self._dispatcher.bury(tx, work, reason=reason, error=error, attempts=attempts)
            return NO_ANSWER

        given_up = replace(work, arrival=dead_arrival(work.arrival, work.envelope))
        receipts = await self.hold(lambda: self._dispatcher.handle([given_up], claimed=claimed, instead=bury))
        return receipts[0].status

    def _blames_database(self, error: Exception) -> bool:
        return isinstance(error, Unavailable) or isinstance(self._dispatcher.post.database.diagnose(error), Unavailable)

    async def _database_answers(self) -> bool:
        try:
            await self._dispatcher.post.database.ping(_PING_SECONDS)
        except FreeholdError:
            return False
        return True

    async def _pause(self, policy: Retry, attempt: int) -> None:
        """Wait by the policy, on the service's clock; a stop ends the wait and the try."""
        decision = policy.decide(attempt)
        seconds = decision.delay_seconds if isinstance(decision, RetryAfter) else policy.delay_seconds_max
        if self._stop.is_set():
            raise Stopping
        sleeper = asyncio.ensure_future(self._dispatcher.post.clock.sleep(seconds))
        stopper = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({sleeper, stopper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            stopper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(sleeper, stopper, return_exceptions=True)
        if self._stop.is_set():
            raise Stopping
