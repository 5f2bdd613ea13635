"""Batches of several partitions share transactions on PostgreSQL, and a slow partition holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from freehold import Retry, RunningService, Service, Settings, Transaction, event
from freehold.broker import Broker
from freehold.clock import SystemClock
from freehold.ids import new_id, stable_hash
from freehold.inbox import handling_times
from freehold.messages import Envelope, encode_body, message_type
from freehold.runtime.adapters import open_broker, open_stores
from freehold.transaction import outgoing

_PARTITIONS = 8
_ROW = text("INSERT INTO seen (key, number) VALUES (:key, :number)")


@event("abroad.moved", key="key")
class Moved:
    key: str
    number: int


def _key_of(partition: int) -> str:
    return next(f"k{n}" for n in range(1000) if stable_hash(f"k{n}") % _PARTITIONS == partition)


KEYS = [_key_of(partition) for partition in range(_PARTITIONS)]


async def _bring(broker: Broker, *messages: Moved) -> None:
    declared, now = message_type(messages[0]), SystemClock().now()
    envelopes = []
    for message in messages:
        message_id = new_id()
        envelopes.append(
            Envelope(
                id=message_id,
                type=declared.name,
                version=declared.version,
                kind=declared.kind,
                source="abroad",
                topic=declared.topic,
                key=message.key,
                time=now,
                hlc=1,
                correlation_id=message_id,
                body=encode_body(message),
            )
        )
    await broker.publish([outgoing(each) for each in envelopes], 5.0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.002)


@dataclass
class Trial:
    """What was handled, also in transactions that were rolled back: the number with that of its transaction. `held`
    are the keys whose handlers wait for `released`; `poisoned` the numbers that fail.
    """

    broker: Broker
    running: RunningService
    handled: list[tuple[int, int]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    poisoned: set[int] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def has(self, *numbers: int) -> bool:
        return set(numbers) <= {number for number, _ in self.handled}

    def together(self) -> list[set[int]]:
        by_transaction: dict[int, set[int]] = {}
        for number, transaction in self.handled:
            by_transaction.setdefault(transaction, set()).add(number)
        return list(by_transaction.values())

    async def committed(self, *numbers: int) -> None:
        """Wait until the rows of these numbers are committed."""
        async with asyncio.timeout(60):
            while not set(numbers) <= set(await self.rows()):  # noqa: ASYNC110 - a commit signals nothing to a reader
                await asyncio.sleep(0.01)

    async def rows(self) -> list[int]:
        async with self.running.transaction() as tx:
            return [number for (number,) in await tx.connection.execute(text("SELECT number FROM seen ORDER BY place"))]


@asynccontextmanager
async def _consuming(url: str) -> AsyncIterator[Trial]:
    service = Service("mover")

    @service.handles(Moved, retry=Retry(attempts=1))
    async def move(message: Moved, tx: Transaction) -> None:
        await tx.connection.execute(_ROW, {"key": message.key, "number": message.number})
        trial.handled.append((message.number, id(tx.db_tx)))
        kept.append(tx.db_tx)
        if message.key in trial.held:
            await trial.released.wait()
        if message.number in trial.poisoned:
            raise ValueError("planned")

    kept: list[object] = []
    database = open_stores(url).database
    await database.open()
    await database.upgrade("mover")
    async with database.begin() as db_tx:
        await db_tx.native.execute(text("CREATE TABLE seen (place bigserial, key text, number bigint UNIQUE)"))
    await database.close()
    broker = open_broker("memory://")
    await broker.open()
    settings = Settings.load("mover", environ={}, database=url, broker="memory://")
    async with RunningService(service, settings, broker=broker, roles=("consumer",)) as running:
        trial = Trial(broker, running)
        try:
            for partition, key in enumerate(KEYS):
                await _bring(broker, Moved(key, 1000 + partition))
            await _until(lambda: trial.has(*range(1000, 1000 + _PARTITIONS)))
            yield trial
        finally:
            trial.released.set()
            await broker.close()


@pytest.mark.servers
async def test_the_messages_of_other_partitions_pass_a_slow_handler(postgres_url: str) -> None:
    async with _consuming(postgres_url) as trial:
        trial.held.add(KEYS[0])
        await _bring(trial.broker, Moved(KEYS[0], 1))
        await _until(lambda: trial.has(1))
        for number in range(10, 20):
            await _bring(trial.broker, *(Moved(key, 100 * number + place) for place, key in enumerate(KEYS[1:])))
            await _until(lambda: trial.has(100 * number, 100 * number + 6))  # noqa: B023 - awaited in the round
        await trial.committed(*(100 * number + place for number in range(10, 20) for place in range(7)))
        assert 1 not in await trial.rows()
        trial.released.set()
        await trial.committed(1)
        # From now on it is known to be slow, and shares no transaction.
        trial.released.clear()
        await _bring(trial.broker, *(Moved(key, 2000 + place) for place, key in enumerate(KEYS)))
        await trial.committed(*range(2001, 2000 + _PARTITIONS))
        await _until(lambda: trial.has(2000))
        assert {2000} in trial.together()


@pytest.mark.servers
async def test_quick_partitions_share_transactions_and_a_poisoned_message_fails_alone(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine each handler may take longer than partitions may wait for each other.
    monkeypatch.setattr(handling_times, "TOGETHER_SECONDS", 600.0)
    async with _consuming(postgres_url) as trial:
        trial.poisoned.add(3)
        await _bring(trial.broker, *(Moved(key, place) for place, key in enumerate(KEYS)))
        await _until(lambda: trial.has(*range(_PARTITIONS)))
        assert any(len(each) > 1 for each in trial.together())
        await _bring(trial.broker, *(Moved(key, 100 + place) for place, key in enumerate(KEYS)))
        await _until(lambda: trial.has(*range(100, 100 + _PARTITIONS)))
        await trial.committed(*({*range(100, 108), *range(8)} - {3}))
        rows = await trial.rows()
    assert sorted(rows) == sorted({*range(1000, 1008), *range(100, 108), *range(8)} - {3})
    for place in range(_PARTITIONS):
        mine = [number for number in rows if number in {place, 100 + place, 1000 + place}]
        assert mine == sorted(mine, key=lambda number: (number != 1000 + place, number)), mine
