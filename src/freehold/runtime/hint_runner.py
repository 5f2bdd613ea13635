"""The runner that exchanges hints with the other processes of a service. Runtime: imports the ports and the lifecycle.

A signal is sent only if it wakes a loop in another process, and the work is not done here anyhow: one whose work is
shared by leases (`Signal.leased`) is sent always, any other one only where no loop of this process waits for it.
Processes tell each other what they want when they begin to listen, when their roles change, and every `_BEAT_SECONDS`.
So a process that is alone sends a few bytes in that time, and nothing for its commits.

Signals are sent together: the first at once, the next one `_GAP_SECONDS` later at the earliest, and under steady load
one every `_GAP_SECONDS_MAX`. A lost line is opened again; signals that this process emitted meanwhile are sent then.
Those of others are lost, so all loops look once as soon as another process answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from freehold.context import ServiceContext, Signal
from freehold.errors import FreeholdError, Unavailable
from freehold.hints import HINT_CHARACTERS_MAX, Hint, HintChannel, Hinting, HintLine, HintPeers, read_hint, write_hint
from freehold.lifecycle import Runner
from freehold.policy import Backoff

__all__ = ["HintRunner", "channel_of", "hint_channel"]

_log = logging.getLogger("freehold.runtime")
_GAP_SECONDS: Final = 0.01
_GAP_SECONDS_MAX: Final = 0.03
_QUIET_SECONDS: Final = 0.04
"""A signal that comes so long after the last hint does not follow it closely."""
_BEAT_SECONDS: Final = 60.0
_FORGET_SECONDS: Final = 3 * _BEAT_SECONDS
_AGAIN: Final = Backoff(0.1, 30.0)


def hint_channel(context: ServiceContext, *, connects: bool = True) -> HintChannel | None:
    """The channel for the hints of a service, as its settings say: by default that of its database, or else that of its
    broker, which must be open for it (`connects`). None where neither has one, or in memory.
    """
    wanted, found = context.settings.hints, None
    if wanted in {"auto", "database"}:
        found = channel_of(context.database, context.service)
    if found is None and wanted in {"auto", "broker"} and context.has_broker and connects:
        found = channel_of(context.broker, context.service)
    return found


def channel_of(carrier: object, service: str) -> HintChannel | None:
    """The channel of a service in a database or a broker; None where it carries no hints."""
    return carrier.hint_channel(service) if isinstance(carrier, Hinting) else None


class HintRunner(Runner):
    """Sends the signals of this process to the others of the service, and emits theirs here. Whatever fails in it is no
    failure of the service: its loops poll.

    channel   carries the hints; without one the runner ends at once.
    signals   all that others may be told.
    awaited   returns the names of the signals that wake a loop which runs here now.
    """

    def __init__(
        self,
        context: ServiceContext,
        channel: HintChannel | None,
        signals: Iterable[Signal],
        awaited: Callable[[], frozenset[str]],
    ) -> None:
        super().__init__(f"hints {context.service}", clock=context.clock)
        self.sent = 0
        """How many hints were sent since the start."""
        self._context = context
        self._channel = channel
        self._signals = {signal.name: signal for signal in signals}
        self._awaited = awaited
        self._peers = HintPeers(_FORGET_SECONDS)
        self._needed: frozenset[str] = frozenset()
        self._pending: set[str] = set()
        self._hearing = False
        self._told: frozenset[str] | None = None
        self._must_tell = False
        self._sent_at = self._told_at = float("-inf")
        self._gap_seconds = _GAP_SECONDS
        self._failed = 0
        for signal in self._signals.values():
            context.on(signal, partial(self._emitted, signal.name))
        context.on_tell(lambda signal: self._emitted(signal.name))

    @property
    def peers(self) -> int:
        """How many other processes are known."""
        return self._peers.count

    @property
    def listening(self) -> bool:
        """Whether hints of others are heard at present."""
        return self._told is not None

    @property
    def complete(self) -> bool:
        """Whether there is no channel."""
        return self._channel is None

    async def run(self) -> None:
        """Exchange hints until stopped."""
        while self._channel is not None and not self.stopping:
            try:
                await self._use_line(self._channel)
            except FreeholdError as error:
                await self._pause(error)

    def roles_changed(self) -> None:
        """Tell the others that other loops run here now."""
        self._note_needed()
        self.wake()

    async def _use_line(self, channel: HintChannel) -> None:
        """Open a line and use it until the runner is stopped. Raises `Unavailable` where it is lost before."""
        line = await channel.open(self._heard)
        try:
            await self._exchange(line)
        finally:
            self._told = None
            self._peers.doubt()
            await line.close()
        if not self.stopping:
            raise Unavailable("the line was lost")

    async def _exchange(self, line: HintLine) -> None:
        """Send what there is, and beats, until the line is lost or the runner is stopped."""
        loss = _Loss(line, self.wake)
        try:
            while not (self.stopping or loss.happened):
                await self._send_due(line)
                self._failed = 0
                self.healthy()
                await self.wait(max(0.0, self._told_at + _BEAT_SECONDS - self.clock.monotonic()))
                self._peers.forget_dead(self.clock.monotonic())
                self._note_needed()
            if self.stopping and not loss.happened:
                await self._send(line, Hint(self._peers.own, self._take(), leaves=True))
        finally:
            loss.forget()

    async def _send_due(self, line: HintLine) -> None:
        if self._pending:
            await self._keep_gap()
        now, wants = self.clock.monotonic(), self._awaited()
        # Nothing was told on this line yet: then the others are asked as well.
        asks = self._told is None
        tells = asks or self._must_tell or wants != self._told or now - self._told_at >= _BEAT_SECONDS
        wakes = self._take()
        if not (tells or wakes):
            return
        hint = Hint(self._peers.own, wakes, wants if tells else None, asks=asks)
        self._must_tell = False
        try:
            await self._send(line, hint)
        except BaseException:
            self._pending |= wakes
            raise
        self._sent_at = self.clock.monotonic()
        if tells:
            self._told, self._told_at = wants, self._sent_at

    async def _keep_gap(self) -> None:
        """Wait until the next hint may be sent. The gap grows while hints follow each other closely."""
        since_seconds = self.clock.monotonic() - self._sent_at
        if since_seconds < self._gap_seconds:
            await self.rest(self._gap_seconds - since_seconds)
        close = since_seconds < _QUIET_SECONDS
        self._gap_seconds = min(2 * self._gap_seconds, _GAP_SECONDS_MAX) if close else _GAP_SECONDS

    async def _send(self, line: HintLine, hint: Hint) -> None:
        text = write_hint(hint)
        if len(text) > HINT_CHARACTERS_MAX:
            _log.warning("%s: a hint is too long to be sent", self.outages.titled(self.name))
            return
        await line.send(text)
        self.sent += 1

    def _take(self) -> frozenset[str]:
        taken = frozenset(self._pending)
        self._pending.clear()
        return taken

    def _emitted(self, name: str) -> None:
        """Called for each signal of this process, right after the commit: most often a look-up, and nothing more."""
        if name in self._needed and not self._hearing:
            self._pending.add(name)
            self.wake()

    def _heard(self, text: str) -> None:
        """Emit the signals of another process here, and note what it wants."""
        hint = read_hint(text)
        if hint is None or hint.sender == self._peers.own:
            return
        new = self._peers.hear(hint, self.clock.monotonic())
        self._note_needed()
        if hint.asks:
            self._must_tell = True
            self.wake()
        names = self._signals if new else hint.wakes
        self._hearing = True
        try:
            for name in names:
                if name in self._signals:
                    self._context.emit(self._signals[name])
        finally:
            self._hearing = False

    def _note_needed(self) -> None:
        here = self._awaited()
        self._needed = frozenset(
            name for name in self._peers.wanted if name in self._signals and self._is_for_others(name, here)
        )

    def _is_for_others(self, name: str, here: frozenset[str]) -> bool:
        return self._signals[name].leased or name not in here

    async def _pause(self, error: FreeholdError) -> None:
        """Try again later. The outages of the database and of the broker are logged by the loops that need them."""
        self._failed += 1
        name = self.outages.titled(self.name)
        level = logging.INFO if self._failed == 1 else logging.DEBUG
        _log.log(level, "%s: no hints from other processes (%s); their work is found by polling", name, error.message)
        await self.rest(_AGAIN.after(self._failed))


class _Loss:
    """Watches a line, and calls `wake` when it is lost."""

    def __init__(self, line: HintLine, wake: Callable[[], None]) -> None:
        self._ended = asyncio.ensure_future(line.ended())
        self._ended.add_done_callback(lambda _: wake())

    @property
    def happened(self) -> bool:
        """Whether the line is lost."""
        return self._ended.done()

    def forget(self) -> None:
        """Watch no longer."""
        self._ended.cancel()
