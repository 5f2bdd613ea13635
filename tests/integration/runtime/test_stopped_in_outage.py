"""Processes that are stopped while their database is away: nothing that they held counts as if it had killed them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from tests.integration.runtime.workers import Numbered

from freehold import Retry, RunningService, Service, Settings, Transaction
from freehold.broker import BrokerOptions
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import Unavailable
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.deferred_runner import DeferredRunner
from freehold.inbox.store import INBOX
from freehold.lifecycle import RunnerState
from freehold.outbox.store import OUTBOX
from freehold_shop.servers import RunningServer

RESTARTS = 3
"""More than `crash_attempts_max` permits."""


@dataclass
class Place:
    """A database that can be taken away and given back, and a broker."""

    settings: Settings
    take_away: Callable[[], Awaitable[None]]
    give_back: Callable[[], Awaitable[None]]
    asked: list[object] = field(default_factory=list)
    cut: Callable[[], None] = lambda: None
    """Take the broker away, too."""
    mend: Callable[[], None] = lambda: None


def _settings(database: str, broker: str) -> Settings:
    options = BrokerOptions(prefix=f"t{uuid4().hex[:8]}", lease_seconds=1.0)
    return Settings.load(
        "source", environ={}, database=database, broker=broker, broker_options=options, crash_attempts_max=1
    )


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """SQLite serves its one writer from within the process: its absence is played where transactions begin."""
    from freehold.adapters.sqlite.database import SqliteDatabase

    away = False
    place: Place

    def instead(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            if away:
                place.asked.append(None)
                raise Unavailable("the database is read-only (planned)")
            return real(*arguments, **options)

        return called

    async def switch(to: bool) -> None:
        nonlocal away
        away = to

    for name in ("begin", "direct", "probe"):
        monkeypatch.setattr(SqliteDatabase, name, instead(getattr(SqliteDatabase, name)))
    settings = _settings(f"sqlite:///{tmp_path}/source.db", f"embedded:///{tmp_path}/broker.db")
    place = Place(settings, lambda: switch(to=True), lambda: switch(to=False))
    return place


@pytest.fixture
def servers(postgres_url: str, postgres_server: RunningServer, nats_server: RunningServer) -> Place:
    """A database of PostgreSQL that lets nobody in, and NATS."""
    name = postgres_url.rpartition("/")[2]

    async def allow(whether: str) -> None:
        admin = await asyncpg.connect(postgres_server.url)
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {whether}')
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await admin.close()

    return Place(_settings(postgres_url, nats_server.url), lambda: allow("false"), lambda: allow("true"))


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def both_embedded(embedded: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Beside the database, the file of the broker takes nothing."""
    from freehold.adapters.embedded.log import EmbeddedLog

    away = False

    def instead(real: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def called(*arguments: Any, **options: Any) -> Any:
            if away:
                raise Unavailable("the broker's file is read-only (planned)")
            return await real(*arguments, **options)

        return called

    def switch(*, to: bool) -> None:
        nonlocal away
        away = to

    for name in ("join", "heartbeat", "remove", "observe", "compare_and_set"):
        monkeypatch.setattr(EmbeddedLog, name, instead(getattr(EmbeddedLog, name)))
    embedded.cut, embedded.mend = lambda: switch(to=True), lambda: switch(to=False)
    return embedded


@pytest.fixture
def both_servers(servers: Place, disposable_nats: RunningServer) -> Place:
    """Beside the database, NATS is killed."""
    servers.settings = replace(servers.settings, broker=disposable_nats.url)
    servers.cut, servers.mend = disposable_nats.kill, disposable_nats.start
    return servers


@pytest.fixture(params=["both_embedded", pytest.param("both_servers", marks=pytest.mark.servers)])
def both(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


class _Handled:
    """A service whose handler loses its database in the middle, for as long as that is wanted."""

    def __init__(self, place: Place, *, first_fails: bool = False) -> None:
        self.place = place
        self.service = Service("source")
        self.losing = not first_fails
        self.tries: list[int] = []
        self.done: list[int] = []
        self._first_fails = first_fails
        self.service.handles(Numbered, retry=Retry(attempts=2, delay_seconds=0.05))(self._handle)

    async def _handle(self, event: Numbered, tx: Transaction) -> None:
        if self._first_fails:
            self._first_fails, self.losing = False, True
            raise ValueError
        if self.losing and event.number == 1:
            await self.place.take_away()
            self.tries.append(event.number)
            raise Unavailable("gone in the middle")
        await tx.connection.execute(sa.text("SELECT 1"))
        self.done.append(event.number)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[RunningService]:
        async with RunningService(self.service, self.place.settings) as running:
            yield running

    async def stopped_in_an_outage(self) -> None:
        """A process that begins to handle, loses its database, and is stopped before it is back."""
        before = len(self.tries)
        async with self.at_work() as running:
            await _eventually(lambda: len(self.tries) > before)
            await _eventually(lambda: "consumer" in running.outages.lasting("database", 0.0))
        await self.place.give_back()


def _consumer(running: RunningService) -> ConsumerRunner:
    (found,) = [each for each in running.loops.all() if isinstance(each, ConsumerRunner)]
    return found


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)


async def _publish(handled: _Handled, *numbers: int) -> None:
    async with RunningService(handled.service, handled.place.settings, roles=("relay",)) as running:
        async with running.transaction() as tx:
            for number in numbers:
                tx.publish(Numbered("k", number))
        async with asyncio.timeout(60):
            while (await running.stores[OUTBOX].stats()).pending:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.02)


async def _all_are_handled(handled: _Handled, *numbers: int) -> None:
    handled.losing = False
    async with handled.at_work() as running:
        await _eventually(lambda: handled.done == list(numbers))
        assert await running.stores[DEAD_LETTERS].find(DeadLetterFilter()) == []


async def test_a_message_in_hand_is_given_back_and_not_counted(place: Place) -> None:
    handled = _Handled(place)
    await _publish(handled, 1, 2)
    for _ in range(RESTARTS):
        await handled.stopped_in_an_outage()
    await _all_are_handled(handled, 1, 2)


async def test_a_loop_that_is_started_again_counts_nothing(place: Place) -> None:
    handled = _Handled(place)
    await _publish(handled, 1, 2)
    async with handled.at_work() as running:
        for turn in range(RESTARTS):
            await _eventually(lambda turn=turn: len(handled.tries) > turn)  # type: ignore[misc] # its default is the turn
            await _eventually(lambda: "consumer" in running.outages.lasting("database", 0.0))
            await running.pause("consumer")
            await place.give_back()
            await running.resume("consumer")
    await place.give_back()
    await _all_are_handled(handled, 1, 2)


async def test_who_waits_for_its_database_has_left_its_group_and_owes_its_broker_nothing(both: Place) -> None:
    """Killed attempts permit one, and a member that vanishes with a partition is presumed to be one."""
    handled = _Handled(both)
    await _publish(handled, 1, 2)
    for turn in range(2):
        async with handled.at_work() as running:
            await _eventually(lambda turn=turn: len(handled.tries) > turn)  # type: ignore[misc] # as above
            async with asyncio.timeout(60):
                while (await running.broker.group_state("source")).heartbeats:  # noqa: ASYNC110 - a test looks from outside
                    await asyncio.sleep(0.02)
            await _eventually(lambda at=running: "has not joined its group" in _consumer(at).notice)  # type: ignore[misc] # as above
            both.cut()
        both.mend()
        await both.give_back()
    await _all_are_handled(handled, 1, 2)


async def test_nothing_is_taken_while_the_database_is_away(embedded: Place) -> None:
    """Started into an outage, again and again: nothing is even fetched."""
    handled = _Handled(embedded)
    await _publish(handled, 1)
    async with RunningService(handled.service, embedded.settings, roles=("relay",)) as running:
        await embedded.take_away()
        for _ in range(RESTARTS):
            asked = len(embedded.asked)
            await running.resume("consumer")
            await _eventually(lambda asked=asked: len(embedded.asked) > asked + 2)  # type: ignore[misc] # as above
            await running.pause("consumer")
        await embedded.give_back()
    assert handled.tries == []
    await _all_are_handled(handled, 1)


async def test_a_deferred_message_counts_only_what_was_tried(place: Place) -> None:
    """Its first attempt fails, and each later one is ended by an outage: a stop waits until it can be given back."""
    handled = _Handled(place, first_fails=True)
    await _publish(handled, 1)
    async with handled.at_work() as running:
        for turn in range(RESTARTS):
            await _eventually(lambda turn=turn: len(handled.tries) > turn)  # type: ignore[misc] # as above
            await _eventually(lambda: "deferred" in running.outages.lasting("database", 0.0))
            (deferred,) = [each for each in running.loops.all() if isinstance(each, DeferredRunner)]
            stopping = asyncio.create_task(running.pause("deferred"))
            await _eventually(lambda loop=deferred: loop.state is RunnerState.STOPPING)  # type: ignore[misc] # as above
            await place.give_back()
            await stopping
            (message,) = await running.stores[INBOX].deferred("source", 10)
            assert message.attempts == 1
            await running.resume("deferred")
        await _eventually(lambda: len(handled.tries) > RESTARTS)
        await _eventually(lambda: "deferred" in running.outages.lasting("database", 0.0))
        handled.losing = False
        await place.give_back()
        await _eventually(lambda: handled.done == [1])
        assert await running.stores[DEAD_LETTERS].find(DeadLetterFilter()) == []
