"""Two services, a broker that doubles and fails, a consumer that dies: the breaches of what must hold afterwards.

It runs in one process on files, so that a planted bug is a patched method. A process that dies is a consumer that is
cancelled in the middle of a handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from tests.integration.runtime.workers import Numbered, settings_for

from freehold import Migration, Retry, RunningService, Service, Transaction
from freehold.broker import OutgoingMessage, PublishFailed, PublishOutcome
from freehold.errors import Unavailable
from freehold.inbox.store import INBOX
from freehold.outbox.store import OUTBOX

__all__ = ["breaches"]

_KEYS = ("a", "b", "c")
_NUMBERS = 8
_DEADLY = {("a", 2), ("c", 5)}
_QUIET_SECONDS = 90.0
_TABLE = {"": ["CREATE TABLE effect (position INTEGER PRIMARY KEY, key TEXT NOT NULL, number INTEGER NOT NULL)"]}


async def breaches(directory: Path, *, deadly: Collection[tuple[str, int]] = _DEADLY) -> list[str]:
    """Run the scenario and return what does not hold."""
    deaths = _Deaths(deadly)
    source_settings = settings_for("source", f"sqlite:///{directory}/source.db", _broker(directory), "t")
    async with RunningService(Service("source"), source_settings) as source:
        source.broker.publish = _unreliable(source.broker.publish)  # type: ignore[method-assign, assignment] # the fault
        publishing = asyncio.create_task(_publish(source))
        for _ in range(len(deadly)):
            async with _worker(directory, deaths) as running:
                await _died(deaths, source, running, publishing)
                deaths.dying.clear()
                await running.loops.stop("consumer", 0.0)
        async with _worker(directory, deaths) as running:
            await publishing
            problems = await _quiet(source, running)
            async with running.transaction() as tx:
                rows = await tx.connection.execute(text("SELECT key, number FROM effect ORDER BY position"))
                effects = [(key, number) for key, number in rows]
    return problems + _compare(effects)


class _Deaths:
    """Each deadly message kills once: the handler stops for ever, until its process is gone."""

    def __init__(self, deadly: Collection[tuple[str, int]]) -> None:
        self.dying = asyncio.Event()
        self._left = set(deadly)

    async def meet(self, place: tuple[str, int]) -> None:
        if place in self._left:
            self._left.discard(place)
            self.dying.set()
            await asyncio.Event().wait()


def _broker(directory: Path) -> str:
    return f"embedded:///{directory}/broker.db?synchronous=normal"


@asynccontextmanager
async def _worker(directory: Path, deaths: _Deaths) -> AsyncIterator[RunningService]:
    worker = Service("worker", migrations=[Migration("100-effect", _TABLE)], retry=Retry(attempts=4))

    @worker.handles(Numbered)
    async def apply(event: Numbered, tx: Transaction) -> None:
        await tx.connection.execute(
            text("INSERT INTO effect (key, number) VALUES (:key, :number)"), {"key": event.key, "number": event.number}
        )
        await deaths.meet((event.key, event.number))

    settings = settings_for("worker", f"sqlite:///{directory}/worker.db", _broker(directory), "t")
    async with RunningService(worker, settings) as running:
        yield running


async def _publish(source: RunningService) -> None:
    for number in range(_NUMBERS):
        async with source.transaction() as tx:
            for key in _KEYS:
                tx.publish(Numbered(key, number))


def _unreliable(publish: object) -> object:
    """Every third call is not carried out, every third is carried out and its confirmation lost, the others work."""
    calls = 0

    async def unreliable(
        messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        nonlocal calls
        calls += 1
        if calls % 3 != 1:
            if calls % 3 == 0:
                await publish(messages, timeout_seconds, log=log)  # type: ignore[operator] # the broker's own method
            return [PublishFailed(Unavailable("planned")) for _ in messages]
        await publish(messages[:2], timeout_seconds, log=log)  # type: ignore[operator] # as above
        outcomes: Sequence[PublishOutcome] = await publish(messages, timeout_seconds, log=log)  # type: ignore[operator] # as above
        return outcomes

    return unreliable


async def _died(
    deaths: _Deaths, source: RunningService, running: RunningService, publishing: asyncio.Task[None]
) -> None:
    """Wait for the next death; where nothing is left to do, the message that was to bring it was lost."""
    async with asyncio.timeout(_QUIET_SECONDS):
        while not deaths.dying.is_set():
            if publishing.done() and not await _under_way(source, running):
                return
            await asyncio.sleep(0.05)


async def _quiet(source: RunningService, running: RunningService) -> list[str]:
    """Wait until nothing is in progress."""
    try:
        async with asyncio.timeout(_QUIET_SECONDS):
            while await _under_way(source, running):  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.05)
    except TimeoutError:
        return ["messages are still in progress"]
    return []


async def _under_way(source: RunningService, running: RunningService) -> int:
    """How much is not handled yet, looked for in the order in which a message moves on.

    A group that no consumer has joined yet has no lag, whatever waits for it.
    """
    unsent = (await source.stores[OUTBOX].stats()).pending
    lags = await running.broker.lag("worker")
    if not lags:
        return 1
    return unsent + sum(topic.pending for topic in lags) + (await running.stores[INBOX].stats()).pending


def _compare(effects: Sequence[tuple[str, int]]) -> list[str]:
    found = []
    for key in _KEYS:
        numbers = [number for owner, number in effects if owner == key]
        found += [f"{key} {number}: lost" for number in range(_NUMBERS) if number not in numbers]
        found += [f"{key} {number}: doubled" for number in sorted(set(numbers)) if numbers.count(number) > 1]
        if list(dict.fromkeys(numbers)) != sorted(set(numbers)):
            found.append(f"{key}: out of order")
    return found
