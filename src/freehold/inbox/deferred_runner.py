"""The runner that retries deferred messages when they are due. Pattern: imports the foundation and its package."""

from __future__ import annotations

import asyncio
import logging

from freehold.crash_points import crash_point
from freehold.failures import CrashLimit, describe
from freehold.inbox.dispatcher import Dispatcher, StaleClaim
from freehold.inbox.retry import FailureHandler, RunnerStopping
from freehold.inbox.store import DeferredMessage
from freehold.inbox.work import MessageRouter
from freehold.lifecycle import Runner
from freehold.outages import DATABASE

__all__ = ["DeferredRunner"]

_log = logging.getLogger("freehold.inbox")


class DeferredRunner(Runner):
    """Claims due messages one at a time, and handles each in its own transaction.

    The attempt is counted, and committed, right before it begins. So a message that crashes the process is recognised:
    by attempts that never finished, `crash_attempts_max` more than its policy allows. No other message is counted with
    it. An attempt that was not made, or that an outage of the database ended, is not counted: the claim is released as
    soon as the database is available. A stop waits for that within its limit.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        router: MessageRouter,
        *,
        visibility_timeout_seconds: float = 60.0,
        poll_seconds: float = 5.0,
        crash_attempts_max: int = 5,
    ) -> None:
        super().__init__(f"deferred {dispatcher.consumer}", clock=dispatcher.context.clock)
        self._dispatcher = dispatcher
        self._router = router
        self._visibility_timeout_seconds = visibility_timeout_seconds
        self._poll_seconds = poll_seconds
        self._crash_attempts_max = crash_attempts_max
        self._failure_handler = FailureHandler(dispatcher, self._stop, lambda: self.wait_of(DATABASE))
        self._claimed: DeferredMessage | None = None

    @property
    def pending_correction(self) -> str:
        """The claim that could not be released yet."""
        return (
            f"the count of attempts of deferred message {self._claimed.position}" if self._claimed is not None else ""
        )

    async def run(self) -> None:
        """Retry due messages until stopped. Nothing is deferred most of the time: then one question is enough."""
        inbox, consumer = self._dispatcher.inbox, self._dispatcher.consumer
        busy = False
        while not self.stopping:
            await self._release()
            next_seconds = None if busy else await inbox.next_due_seconds(consumer)
            # Also where none is due: a claim marks those that wait for an earlier one of their key.
            claims = busy or next_seconds is not None
            crash_point("inbox.before-claim")
            due = await inbox.claim_due(consumer, 1, self._visibility_timeout_seconds) if claims else ()
            for message in due:
                crash_point("inbox.claimed")
                await self._handle_claimed(message)
            self.healthy()
            if not (busy or due):
                await self.wait(
                    self._poll_seconds if next_seconds is None else min(max(next_seconds, 0.005), self._poll_seconds)
                )
            busy = bool(due)

    async def release(self) -> None:
        """Release a message that was claimed and not handled."""
        await self._release()

    async def _handle_claimed(self, message: DeferredMessage) -> None:
        """Handle a message. If its attempt must not be counted, the claim is kept until it can be released."""
        place = f"deferred message {message.position}"
        self._claimed = message
        try:
            await self._handle(message)
        except RunnerStopping:
            return
        except asyncio.CancelledError:
            # A handler that does not end within the drain time may hang for good: its attempt is counted.
            if self.stopping and await self._failure_handler.database_problem() is None:
                self._claimed = None
                await self._dispatcher.inbox.reschedule(message, 0.0, message.reason)
            raise
        except Exception as error:  # noqa: BLE001 - one message must not stop the others
            self.trouble_at(place, error)
            name = self.outages.titled(self.name)
            text = "%s: %s was neither handled nor rescheduled (%s); retry in %g s"
            _log.error(text, name, place, describe(error), self._visibility_timeout_seconds)
            trace = self._dispatcher.context.failures.traceback(error)
            _log.debug("%s: %s was neither handled nor rescheduled%s", name, place, trace)
        else:
            self.no_trouble_at(place)
        self._claimed = None

    async def _release(self) -> None:
        """Release the claim; if that fails, it stays to be released later."""
        if self._claimed is not None:
            crash_point("inbox.before-claim-release")
            await self._dispatcher.inbox.release(self._claimed)
            crash_point("inbox.claim-released")
            self._claimed = None

    async def _handle(self, message: DeferredMessage) -> None:
        work = self._router.route(
            message.document,
            topic=message.topic,
            location=f"deferred/{message.position}",
            deferred_position=message.position,
        )
        try:
            if work is None:
                await self._failure_handler.run_through_outages(lambda: self._drop(message))
            elif (crashes := CrashLimit(work.retry.attempts + self._crash_attempts_max)).reached(message.attempts - 1):
                await self._failure_handler.dead_letter_crashed_deferred(work, message, crashes)
            else:
                await self._failure_handler.handle_one(work, claimed=message)
        except StaleClaim:
            return

    async def _drop(self, message: DeferredMessage) -> None:
        """Delete a message for which this service has no handler any more."""
        async with self._dispatcher.context.database.begin() as db_tx:
            await self._dispatcher.inbox.finish(db_tx, message)
            crash_point("inbox.before-drop-commit")
