"""The loop that tries deferred messages again when they are due. Pattern: imports the foundation and its package."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from freehold.inbox.attempts import Attempts, Stopping
from freehold.inbox.dispatch import Dispatcher, StaleClaim
from freehold.inbox.reading import MessageReader
from freehold.inbox.store import DeferredMessage
from freehold.lifecycle import Runner

__all__ = ["DeferredRunner"]

_log = logging.getLogger("freehold.inbox")
_CLAIM_LIMIT = 16


class DeferredRunner(Runner):
    """Claims what is due, and handles each message in a transaction of its own.

    The attempt is counted, and committed, before it begins: a message that kills the process is recognised by attempts
    that were begun and never ended, `killed_attempts_max` beyond what its policy allows.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        reader: MessageReader,
        *,
        visibility_seconds: float = 60.0,
        poll_seconds: float = 5.0,
        killed_attempts_max: int = 5,
    ) -> None:
        super().__init__(f"deferred {dispatcher.consumer}", clock=dispatcher.post.clock)
        self._dispatcher = dispatcher
        self._reader = reader
        self._visibility_seconds = visibility_seconds
        self._poll_seconds = poll_seconds
        self._killed_attempts_max = killed_attempts_max
        self._attempts = Attempts(dispatcher, self._stop)
        self._claimed: dict[int, DeferredMessage] = {}

    async def run(self) -> None:
        """Try what is due until stopped."""
        inbox, consumer = self._dispatcher.inbox, self._dispatcher.consumer
        while not self.stopping:
            due = await inbox.claim_due(consumer, _CLAIM_LIMIT, self._visibility_seconds)
            await self._handle_all(due)
            self.healthy()
            if not due:
                next_seconds = await inbox.next_due_seconds(consumer)
                await self.wait(
                    self._poll_seconds if next_seconds is None else min(max(next_seconds, 0.005), self._poll_seconds)
                )

    async def release(self) -> None:
        """Let others take what was claimed and not handled."""
        await self._give_back()

    async def _handle_all(self, due: Sequence[DeferredMessage]) -> None:
        claimed_at = self.clock.monotonic()
        self._claimed = {message.position: message for message in due}
        for message in due:
            # What is left would be handled by another instance as well: its claim runs out meanwhile.
            if self.stopping or self.clock.monotonic() - claimed_at > self._visibility_seconds / 2:
                break
            await self._handle_one(message)
            del self._claimed[message.position]
        await self._give_back()

    async def _handle_one(self, message: DeferredMessage) -> None:
        """Whatever happens to one, the others that were claimed with it do not wait until the claim runs out."""
        place = f"deferred message {message.position}"
        try:
            await self._handle(message)
        except Exception as error:  # noqa: BLE001 - it is this message's alone
            self.trouble_at(place, error)
            _log.error("%s: %s was neither handled nor put off (%s)", self.name, place, type(error).__name__)
            _log.debug("%s: %s was neither handled nor put off", self.name, place, exc_info=error)
        else:
            self.no_trouble_at(place)

    async def _give_back(self) -> None:
        claimed, self._claimed = self._claimed, {}
        for message in claimed.values():
            await self._dispatcher.inbox.postpone(message, 0.0, message.reason)

    async def _handle(self, message: DeferredMessage) -> None:
        work = self._reader.read(
            message.document,
            topic=message.topic,
            position=f"deferred/{message.position}",
            deferred_position=message.position,
        )
        try:
            if work is None:
                await self._attempts.hold(lambda: self._drop(message))
            elif message.attempts > work.retry.attempts + self._killed_attempts_max:
                await self._attempts.condemn_deferred(work, message)
            else:
                await self._attempts.alone(work, claimed=message)
        except (StaleClaim, Stopping):
            return

    async def _drop(self, message: DeferredMessage) -> None:
        """A message that this service no longer has a handler for is of no interest any more."""
        async with self._dispatcher.post.database.begin() as unit:
            await self._dispatcher.inbox.finish(unit, message)
