"""Relays on real engines: a key's order survives refusals, clocks that jump and relays that come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from freehold.broker import OutgoingMessage, PublishConfirmed, PublishFailed, PublishOutcome
from freehold.clock import SystemClock
from freehold.conformance.harness import StoresHarness
from freehold.conformance.outbox import outgoing
from freehold.errors import Unavailable
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import LEASES
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import LEASE_PREFIX, OUTBOX, lease_name
from freehold.ports import Stores

KEYS = 12


class StillClock(SystemClock):
    """Time that nobody's lease runs out by: what is handed over here is given back, however busy the machine is."""

    def monotonic(self) -> float:
        return 0.0


class ForgetfulBroker:
    """Keeps what it stores, in order. Each seventh that it tries fails: nothing after it of its key is stored."""

    partitions = 8

    def __init__(self) -> None:
        self.stored: list[OutgoingMessage] = []
        self._tried = 0

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        failed: set[str] = set()
        outcomes: list[PublishOutcome] = []
        for message in messages:
            # What is not tried does not count: seven messages of one key would fail for ever at the first.
            self._tried += message.key not in failed
            if message.key in failed or self._tried % 7 == 0:
                failed.add(message.key)
                outcomes.append(PublishFailed(Unavailable("planned")))
            else:
                self.stored.append(message)
                outcomes.append(PublishConfirmed())
        await asyncio.sleep(0)
        return outcomes

    def by_key(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for message in self.stored:
            found[message.key].append(int(message.document.partition(b"#")[2].partition(b"#")[0]))
        return found


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoresHarness]:
    url = f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    async with StoresHarness.on(url) as harness:
        yield harness


@contextlib.asynccontextmanager
async def relaying(stores: Stores, broker: ForgetfulBroker, name: str) -> AsyncIterator[RelayRunner]:
    names = {lease_name(number): number for number in range(stores[OUTBOX].partitions)}
    relay = RelayRunner(
        name,
        stores,
        broker,  # type: ignore[arg-type] # the relay publishes, and nothing else
        lambda: {names[lease]: token for lease, token in keeper.tokens.items()},
        poll_seconds=0.01,
    )
    keeper = LeaseManager(
        stores[LEASES],
        LEASE_PREFIX,
        tuple(names),
        name,
        0.6,
        StillClock(),
        on_change=relay.wake,
        before_release=relay.finish_round,
    )
    await keeper.start()
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
        await keeper.stop()


async def stage(stores: Stores, start: int, count: int) -> None:
    for number in range(start, start + count):
        async with stores.database.begin() as db_tx:
            document = b'{"n":"#%d#"}' % number
            await stores[OUTBOX].stage(db_tx, [outgoing(f"key-{number % KEYS}", document)])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)


async def worked(relay: RelayRunner, rounds: int, writing: asyncio.Task[None] | None = None) -> None:
    """Until a relay has begun so many rounds, or there is nothing left to write."""
    await until(lambda: relay.counters.rounds >= rounds or (writing is not None and writing.done()))


def in_order(broker: ForgetfulBroker, count: int) -> bool:
    """Every message once, and those of a key in the order of their commits."""
    expected = {f"key-{key}": list(range(key, count, KEYS)) for key in range(KEYS)}
    return dict(broker.by_key()) == expected


async def test_a_failed_message_is_never_overtaken_by_its_keys_next(harness: StoresHarness) -> None:
    """Rows that are skipped while others go on reorder a key (hard case 9): a key's next waits for its head."""
    broker = ForgetfulBroker()
    async with relaying(harness.first, broker, "one"), relaying(await harness.instance(), broker, "two"):
        await stage(harness.first, 0, 120)
        await until(lambda: len(broker.stored) >= 120)
    assert in_order(broker, 120)


async def test_a_keys_order_is_that_of_commits_whatever_the_clock_says(harness: StoresHarness) -> None:
    """Messages ordered by their time are reordered by a clock that goes back (hard case 10)."""
    broker = ForgetfulBroker()
    for turn in range(6):
        harness.clock.advance(3600 if turn % 2 else -3000)
        await stage(harness.first, turn * 20, 20)
    async with relaying(harness.first, broker, "one"):
        await until(lambda: len(broker.stored) >= 120)
    assert in_order(broker, 120)


async def test_relays_that_come_and_go_publish_each_message_once(harness: StoresHarness) -> None:
    """Work handed over while it is in progress is done twice (hard case 10): a relay ends its round before it gives."""
    broker = ForgetfulBroker()
    other = await harness.instance()
    async with relaying(harness.first, broker, "one") as first:
        writing = asyncio.create_task(stage(harness.first, 0, 240))
        for name in ("two", "three", "four"):
            before = first.counters.rounds
            async with relaying(other, broker, name) as guest:
                await worked(guest, 4, writing)
            await worked(first, before + 1)
        await writing
        await until(lambda: len(broker.stored) >= 240)
    assert in_order(broker, 240)
