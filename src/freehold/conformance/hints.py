"""The suite of the channel of hints, and its harness. Needs pytest and pytest-asyncio. Bind it with a `hints` fixture
that yields a `HintHarness`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Protocol

from freehold.errors import Unavailable
from freehold.hints import HINT_CHARACTERS_MAX, HintChannel, HintLine

__all__ = ["HintChannelConformance", "HintHarness"]

_LIMIT_SECONDS = 60.0
_LOST_SECONDS = 0.05
_ROOM = 5
"""How many hints a listener that is not reading has room for, at least."""


class HintHarness(Protocol):
    """A system that carries hints, with two services, `orders` and `stock`."""

    @property
    def address(self) -> Sequence[str]:
        """The URL of the database or broker for another process, and the broker's options as JSON."""

    async def channel(self, service: str = "orders") -> HintChannel:
        """A channel, as in another process."""

    async def sever(self) -> None:
        """End all lines from outside, in the hardest way; new ones can be opened, at once or soon."""


class _Listener:
    """What a line has heard, in order."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Event()

    def hear(self, text: str) -> None:
        self.heard.append(text)
        self._news.set()

    async def until(self, enough: Callable[[list[str]], bool]) -> list[str]:
        async with asyncio.timeout(_LIMIT_SECONDS):
            while not enough(self.heard):
                self._news.clear()
                await self._news.wait()
        return self.heard

    async def until_heard(self, text: str) -> list[str]:
        return await self.until(lambda heard: text in heard)


@asynccontextmanager
async def _line(harness: HintHarness, service: str = "orders") -> AsyncIterator[tuple[HintLine, _Listener]]:
    listener = _Listener()
    line = await _opened(await harness.channel(service), listener)
    try:
        yield line, listener
    finally:
        await line.close()


async def _opened(channel: HintChannel, listener: _Listener) -> HintLine:
    """Open a line, again while the system is away."""
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            try:
                return await channel.open(listener.hear)
            except Unavailable:
                await asyncio.sleep(_LOST_SECONDS)  # a server that starts does not say when it is ready


async def _lost(line: HintLine) -> None:
    """Wait until a line has ended; the loss may be noticed at a send only."""
    async with asyncio.timeout(_LIMIT_SECONDS):
        ended = asyncio.ensure_future(line.ended())
        while not ended.done():
            try:
                await line.send("still there?")
            except Unavailable:
                break
            await asyncio.wait({ended}, timeout=_LOST_SECONDS)
        await ended


class HintChannelConformance:
    """What every channel of hints must do."""

    async def test_every_other_process_hears_a_hint(self, hints: HintHarness) -> None:
        """All of them, not one of several."""
        async with _line(hints) as (line, _), _line(hints) as (_, second), _line(hints) as (_, third):
            await line.send("staged")
            await asyncio.gather(second.until_heard("staged"), third.until_heard("staged"))

    async def test_hints_of_one_sender_arrive_in_order(self, hints: HintHarness) -> None:
        """And none is lost where listeners have room."""
        async with _line(hints) as (line, _), _line(hints) as (_, other):
            sent = [f"hint {number}" for number in range(50)]
            for number, text in enumerate(sent, 1):
                await line.send(text)
                if number % _ROOM == 0:
                    await other.until_heard(text)
            assert other.heard == sent

    async def test_another_service_hears_nothing(self, hints: HintHarness) -> None:
        """Its processes have no loop for them."""
        async with (
            _line(hints) as (line, _),
            _line(hints) as (_, mine),
            _line(hints, "stock") as (theirs, _),
            _line(hints, "stock") as (_, other),
        ):
            await line.send("for orders")
            await mine.until_heard("for orders")
            await theirs.send("for stock")
            assert await other.until_heard("for stock") == ["for stock"]
            assert "for stock" not in mine.heard

    async def test_the_longest_hint_arrives(self, hints: HintHarness) -> None:
        """Whole."""
        text = "x" * HINT_CHARACTERS_MAX
        async with _line(hints) as (line, _), _line(hints) as (_, other):
            await line.send(text)
            await other.until_heard(text)

    async def test_a_closed_line_hears_nothing(self, hints: HintHarness) -> None:
        """Others do; a second `close` has no effect."""
        async with _line(hints) as (line, _), _line(hints) as (closed, left), _line(hints) as (_, other):
            await closed.close()
            await line.send("later")
            await other.until_heard("later")
            assert left.heard == []

    async def test_a_channel_without_listeners_takes_hints(self, hints: HintHarness) -> None:
        """A process may be alone."""
        async with _line(hints) as (line, _):
            await line.send("nobody")

    async def test_a_lost_line_ends_and_a_new_one_hears(self, hints: HintHarness) -> None:
        """What was sent in between is lost."""
        async with _line(hints) as (first, _), _line(hints) as (second, _):
            await hints.sever()
            await asyncio.gather(_lost(first), _lost(second))
        async with _line(hints) as (line, _), _line(hints) as (_, other):
            await line.send("again")
            await other.until_heard("again")

    async def test_a_send_that_is_cancelled_leaves_the_line_usable_or_ended(self, hints: HintHarness) -> None:
        """A line that neither ended nor works would keep its process silent."""
        async with _line(hints) as (line, _), _line(hints) as (_, other):
            for _ in range(3):
                sending = asyncio.ensure_future(line.send("cut"))
                await asyncio.sleep(0)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            try:
                await line.send("after")
            except Unavailable:
                await _lost(line)
            else:
                await other.until_heard("after")

    async def test_processes_hear_each_other_and_a_dead_one_hinders_nobody(self, hints: HintHarness) -> None:
        """The processes are real, and killed."""
        async with _line(hints) as (line, heard), _process(hints) as first, _process(hints) as second:
            await heard.until(lambda texts: _begun(texts, {first.pid, second.pid}))
            first.send_signal(SIGKILL)
            await first.wait()
            for number in range(_ROOM):
                await line.send(f"ping {number}")
            await heard.until_heard(f"{second.pid} heard ping {_ROOM - 1}")

    async def test_a_frozen_process_hinders_nobody(self, hints: HintHarness) -> None:
        """A sender waits for no listener."""
        async with _line(hints) as (line, heard), _process(hints) as frozen, _process(hints) as other:
            await heard.until(lambda texts: _begun(texts, {frozen.pid, other.pid}))
            frozen.send_signal(SIGSTOP)
            try:
                async with asyncio.timeout(_LIMIT_SECONDS):
                    for number in range(400):
                        await line.send(f"ping {number}" + " " * 1000)
                        # What listeners answer is read here, as in a service.
                        await asyncio.sleep(0)
                    while not any(text.startswith(f"{other.pid} heard ping last") for text in heard.heard):
                        await line.send("ping last")
                        await asyncio.sleep(_LOST_SECONDS)  # the other one may have had no room for an earlier one
            finally:
                frozen.send_signal(SIGCONT)


def _begun(texts: Collection[str], pids: Collection[int]) -> bool:
    return all(f"{pid} listens" in texts for pid in pids)


@asynccontextmanager
async def _process(harness: HintHarness) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that answers each hint that begins with `ping`; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "freehold.conformance.hint_worker", "orders", *harness.address
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(SIGKILL)
        await process.wait()
