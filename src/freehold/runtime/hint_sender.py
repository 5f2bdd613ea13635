"""Sends the hints of a process without loops, such as a command. Runtime: imports the ports and the context.

Nothing listens here. The first signal opens a line beside the work; `close` waits for what is not sent yet, for a short
time. Whatever fails in it fails nothing else: the loops of the service poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from freehold.context import ServiceContext, Signal
from freehold.errors import FreeholdError
from freehold.hints import Hint, HintChannel, write_hint
from freehold.ids import new_id
from freehold.runtime.hint_runner import channel_of

__all__ = ["HintSender"]

_log = logging.getLogger("freehold.runtime")
_SECONDS: Final = 2.0
_GAP_SECONDS: Final = 0.01


class HintSender:
    """Sends signals of a context to the processes of its service."""

    def __init__(self, context: ServiceContext, signals: Iterable[Signal]) -> None:
        self._context = context
        self._own = new_id().hex
        self._pending: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        for signal in signals:
            context.on(signal, partial(self._emitted, signal.name))
        context.on_tell(lambda signal: self._emitted(signal.name))
        context.on_close(self.close)

    async def close(self) -> None:
        """Wait until everything is sent, or cannot be."""
        task, self._task = self._task, None
        if task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})

    def _emitted(self, name: str) -> None:
        self._pending.add(name)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        """Send until nothing is pending."""
        try:
            async with asyncio.timeout(_SECONDS), self._channel() as channel:
                if channel is None:
                    return
                line = await channel.open(lambda _: None)
                try:
                    while self._pending:
                        names = frozenset(self._pending)
                        self._pending.clear()
                        await line.send(write_hint(Hint(self._own, names)))
                        await asyncio.sleep(_GAP_SECONDS)  # what is emitted meanwhile is sent together
                finally:
                    await line.close()
        except (FreeholdError, OSError, TimeoutError) as error:
            text = "%s: its processes were not told of new work (%s); they find it by polling"
            _log.debug(text, self._context.service, type(error).__name__)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[HintChannel | None]:
        """The channel of the database, or else that of the broker, which is opened for it."""
        context, wanted = self._context, self._context.settings.hints
        found = channel_of(context.database, context.service) if wanted in {"auto", "database"} else None
        if found is not None or wanted not in {"auto", "broker"}:
            yield found
            return
        async with context.asked_broker() as broker:
            yield channel_of(broker, context.service)
