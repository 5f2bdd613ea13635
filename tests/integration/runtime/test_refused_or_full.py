"""A broker at its limit dead-letters nothing and keeps order; a message that it will never take keeps the broker's
reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from freehold import RunningService, Service, Settings, Transaction, event
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.names import Names
from freehold.broker import BrokerOptions
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.outbox.store import OUTBOX
from freehold_shop.servers import RunningServer


@event("source.noted", key="key")
class Noted:
    key: str
    number: int
    text: str


async def _eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


@pytest.mark.servers
async def test_a_full_stream_on_nats_and_a_message_it_never_takes(nats_server: RunningServer) -> None:
    service, seen = Service("source"), list[tuple[str, int]]()

    @service.handles(Noted)
    async def noted(event: Noted, tx: Transaction) -> None:
        seen.append((event.key, event.number))

    options = BrokerOptions(prefix=f"t{uuid4().hex[:8]}")
    settings = Settings.load("source", environ={}, database="memory://", broker=nats_server.url, broker_options=options)
    connection = NatsConnection(nats_server.url, 5.0)
    await connection.open()
    async with RunningService(service, settings) as running:

        async def publish(key: str, number: int, length: int = 10) -> None:
            async with running.transaction() as tx:
                tx.publish(Noted(key, number, "x" * length))

        async def sent() -> bool:
            return (await running.stores[OUTBOX].stats()).pending == 0

        name = Names(options.prefix).log
        config = (await connection.ask(f"STREAM.INFO.{name}"))["config"]
        await connection.ask(f"STREAM.UPDATE.{name}", {**config, "max_bytes": 20_000, "discard": "new"})
        for number in range(4):
            await publish("a", number, 15_000)
        await _eventually(lambda: _is(running.outages.why("broker").startswith("NATS cannot serve now: the stream is")))
        assert await running.stores[DEAD_LETTERS].count() == {}
        await connection.ask(f"STREAM.UPDATE.{name}", {**config, "max_msg_size": 30_000})
        await _eventually(sent)
        await publish("b", 1, 50_000)
        await publish("b", 2)
        await _eventually(sent)
        await _eventually(lambda: _is(len(seen) == 5))
        (letter,) = await running.stores[DEAD_LETTERS].find(DeadLetterFilter())
    await connection.close()
    assert seen == [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 2)]
    assert (letter.reason, letter.error_type) == ("rejected-by-broker", "MessageRejected")
    assert letter.detail == "NATS rejects the message: the message is larger than the stream permits (10054)"


async def _is(whether: bool) -> bool:
    return whether
