"""Who is told what, and when: without an engine, on a channel that the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from tests.unit.runtime.trial import eventually

from freehold.clock import Clock
from freehold.context import ServiceContext, Signal
from freehold.errors import Unavailable
from freehold.hints import Hint, HintPeers, read_hint, write_hint
from freehold.runtime.adapters import open_stores
from freehold.runtime.hint_runner import HintRunner
from freehold.testing.clock import ManualClock

STAGED, DEFERRED = Signal("staged", leased=True), Signal("deferred")
OTHER = "other"


@dataclass
class _Line:
    """What was sent; a send fails or hangs where the test says so."""

    sent: list[Hint] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False
    closed: bool = False

    async def send(self, text: str) -> None:
        if self.fails:
            self.over.set()
            raise Unavailable("planned")
        hint = read_hint(text)
        assert hint is not None
        self.sent.append(hint)

    async def ended(self) -> None:
        await self.over.wait()

    async def close(self) -> None:
        self.closed = True


@dataclass
class _Channel:
    lines: list[_Line] = field(default_factory=list)
    heard: Callable[[str], None] = lambda _: None
    away: int = 0

    async def open(self, heard: Callable[[str], None]) -> _Line:
        if self.away:
            self.away -= 1
            raise Unavailable("planned")
        self.heard = heard
        self.lines.append(_Line())
        return self.lines[-1]

    def hear(self, hint: Hint) -> None:
        self.heard(write_hint(hint))

    @property
    def wakes(self) -> list[frozenset[str]]:
        return [hint.wakes for line in self.lines for hint in line.sent if hint.wakes]


@dataclass
class _Process:
    context: ServiceContext
    channel: _Channel
    runner: HintRunner
    clock: ManualClock
    awaited: set[str]
    emitted: list[str] = field(default_factory=list)

    async def later(self, condition: Callable[[], bool]) -> None:
        """Wait until something happens, while time goes by."""

        def happened() -> bool:
            self.clock.advance(0.01)
            return condition()

        await eventually(happened)

    async def told(self, count: int) -> None:
        """Wait until so many hints were sent."""
        await eventually(lambda: sum(len(line.sent) for line in self.channel.lines) >= count)


@asynccontextmanager
async def _process(*awaited: str, away: int = 0) -> AsyncIterator[_Process]:
    clock, channel, waiting = ManualClock(), _Channel(away=away), set(awaited)
    context = ServiceContext("till", open_stores("memory://hints"), clock=cast("Clock", clock))
    runner = HintRunner(context, channel, [STAGED, DEFERRED], lambda: frozenset(waiting))
    process = _Process(context, channel, runner, clock, waiting)
    for signal in (STAGED, DEFERRED):
        context.on(signal, partial(process.emitted.append, signal.name))
    await runner.start()
    try:
        yield process
    finally:
        await runner.stop(1.0)


async def test_a_process_that_is_alone_sends_nothing_for_its_commits() -> None:
    async with _process("staged") as here:
        await here.told(1)
        for _ in range(100):
            here.context.emit(STAGED)
        here.runner.roles_changed()
        here.awaited.add("deferred")
        here.runner.roles_changed()
        await here.told(2)
        assert here.channel.wakes == []


async def test_only_what_a_loop_elsewhere_waits_for_is_sent() -> None:
    """Leased work always; other work only where no loop here does it."""
    async with _process("staged", "deferred") as here:
        await here.told(1)
        here.channel.hear(Hint(OTHER, wants=frozenset({"staged", "deferred"})))
        here.context.emit(DEFERRED)
        here.context.emit(STAGED)
        here.clock.advance(1.0)
        await eventually(lambda: here.channel.wakes == [frozenset({"staged"})])
        here.awaited.discard("deferred")
        here.runner.roles_changed()
        here.context.emit(DEFERRED)
        here.clock.advance(1.0)
        await eventually(lambda: here.channel.wakes[1:] == [frozenset({"deferred"})])


async def test_hints_that_come_close_together_are_sent_together() -> None:
    async with _process() as here:
        await here.told(1)
        here.channel.hear(Hint(OTHER, wants=frozenset({"staged", "deferred"})))
        here.clock.advance(1.0)
        here.context.emit(STAGED)
        await eventually(lambda: len(here.channel.wakes) == 1)
        for _ in range(50):
            here.context.emit(STAGED)
            here.context.emit(DEFERRED)
            await asyncio.sleep(0)
        assert len(here.channel.wakes) == 1
        await here.later(lambda: len(here.channel.wakes) == 2)
        assert here.channel.wakes[1] == {"staged", "deferred"}


async def test_steady_load_is_told_less_often_and_the_next_signal_after_a_pause_at_once() -> None:
    """About thirty hints a second; a signal that comes alone does not wait."""
    async with _process() as here:
        await here.told(1)
        here.channel.hear(Hint(OTHER, wants=frozenset({"staged"})))
        here.clock.advance(1.0)

        def emitted_for_a_second() -> bool:
            here.context.emit(STAGED)
            here.clock.advance(0.01)
            return here.clock.monotonic() >= 2.0

        await eventually(emitted_for_a_second)
        assert 0 < len(here.channel.wakes) <= 40
        here.clock.advance(1.0)
        await asyncio.sleep(0)
        before = len(here.channel.wakes)
        here.clock.advance(1.0)
        here.context.emit(STAGED)
        await eventually(lambda: len(here.channel.wakes) > before)


async def test_what_is_heard_is_emitted_here_and_not_sent_on() -> None:
    async with _process("staged") as here:
        await here.told(1)
        here.channel.hear(Hint(OTHER, wants=frozenset({"staged"})))
        here.emitted.clear()
        here.channel.hear(Hint(OTHER, wakes=frozenset({"staged", "unknown"})))
        here.channel.heard("no hint")
        assert here.emitted == ["staged"]
        here.clock.advance(1.0)
        here.runner.wake()
        await asyncio.sleep(0)
        assert here.channel.wakes == []


async def test_whoever_asks_is_told_and_a_new_process_makes_all_loops_look() -> None:
    """It may have committed before it was heard of."""
    async with _process("staged") as here:
        await here.told(1)
        assert here.channel.lines[0].sent[0].asks
        here.channel.hear(Hint(OTHER, wants=frozenset({"deferred"}), asks=True))
        assert sorted(here.emitted) == ["deferred", "staged"]
        await here.told(2)
        answer = here.channel.lines[0].sent[1]
        assert answer.wants == frozenset({"staged"})
        assert not answer.asks


async def test_what_was_emitted_while_the_line_was_lost_is_sent_on_the_next_one() -> None:
    async with _process("staged") as here:
        await here.told(1)
        here.channel.hear(Hint(OTHER, wants=frozenset({"staged"})))
        here.channel.lines[0].fails = True
        here.channel.away = 1
        here.clock.advance(1.0)
        here.context.emit(STAGED)
        await eventually(lambda: here.channel.lines[0].closed)
        here.context.emit(STAGED)
        await here.later(lambda: len(here.channel.lines) == 2)
        await eventually(lambda: here.channel.wakes == [frozenset({"staged"})])
        assert here.channel.lines[1].sent[0].asks
        here.emitted.clear()
        here.channel.hear(Hint(OTHER, wants=frozenset({"staged"})))  # its hints of that time are lost
        assert sorted(here.emitted) == ["deferred", "staged"]
        assert not here.runner.trouble


async def test_a_stop_says_what_is_pending_and_that_the_process_leaves() -> None:
    async with _process("staged") as here:
        await here.told(1)
        here.channel.hear(Hint(OTHER, wants=frozenset({"staged"})))
        here.context.emit(STAGED)
        await here.runner.stop(1.0)
        last = here.channel.lines[0].sent[-1]
        assert last.leaves
        assert here.channel.wakes == [frozenset({"staged"})]


def test_a_peer_that_left_or_died_is_told_no_more() -> None:
    peers = HintPeers(forget_seconds=10.0)
    assert peers.hear(Hint("a", wants=frozenset({"staged"})), now=0.0)
    assert not peers.hear(Hint("a", wants=frozenset({"staged"})), now=5.0)
    peers.hear(Hint("b", wants=frozenset({"deferred"})), now=6.0)
    peers.hear(Hint("command", wakes=frozenset({"staged"})), now=6.0)
    assert peers.count == 2
    assert peers.wanted == {"staged", "deferred"}
    peers.forget_dead(now=15.0)
    assert peers.wanted == {"deferred"}
    peers.hear(Hint("b", leaves=True), now=15.0)
    assert (peers.count, peers.wanted) == (0, frozenset())


def test_a_hint_of_another_release_is_read_as_far_as_it_is_known() -> None:
    hint = read_hint('{"sender": "a", "wakes": ["staged"], "more": 1}')
    assert hint == Hint("a", wakes=frozenset({"staged"}))
    assert [read_hint(text) for text in ("", "{}", "[]", '{"sender": 1}')] == [None] * 4
