"""How fast a backlog goes away: of an outbox into a broker, or of a broker into handlers. Imports Freehold's public
names.

variant  `relay`: `messages` are staged, then the relay begins.
         `inbox`: they are in the broker, then the reader begins, whose handler does nothing: its receipt is the row.
         `inbox-row`: likewise, and each handler writes a row.

Figures: messages a second, and processor time for each. It fails unless each message was published once, those of a
key in the order of their commits, or handled once.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from benchmarks.cases import declared, program
from benchmarks.cases.conditions import Conditions, expect, given, print_figures
from benchmarks.cases.processor import cpu_seconds

from freehold import RunningService, Transaction
from freehold.broker import Broker, OutgoingMessage, PublishConfirmed, PublishOutcome
from freehold.runtime import open_broker

__all__ = ["measure"]

_STAGED_AT_ONCE = 500
_KEYS = 997
_LOOK_SECONDS = 0.005
_DONE_SECONDS_MAX = 240.0


class _Noting:
    """A broker that notes when all of `wanted` is confirmed, and in which order it came. The relay also publishes
    watermarks alone.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.wanted: set[UUID] = set()
        self.came: list[UUID] = []
        self.all_came = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def publish(self, messages: Sequence[OutgoingMessage], *args: Any, **kwargs: Any) -> Sequence[PublishOutcome]:
        """Publish, and note."""
        outcomes = await self._broker.publish(messages, *args, **kwargs)
        self.came += [
            message.id
            for message, outcome in zip(messages, outcomes, strict=True)
            if isinstance(outcome, PublishConfirmed) and message.id in self.wanted
        ]
        if len(self.came) >= len(self.wanted):
            self.all_came.set()
        return outcomes


async def measure(conditions: Conditions) -> Mapping[str, float]:
    """Stage, then measure."""
    broker = open_broker(conditions.broker, {"prefix": conditions.prefix})
    await broker.open()
    noting = _Noting(broker)
    try:
        settings = declared.settings("bench", conditions.databases[0], conditions)
        given_broker = cast("Broker", noting)
        async with RunningService(declared.publisher(), settings, broker=given_broker, roles=("relay",)) as running:
            relayed = await _relay(running, noting, conditions)
        if conditions.variant == "relay":
            return relayed
        return await _inbox(broker, conditions)
    finally:
        await broker.close()


async def _relay(running: RunningService, noting: _Noting, conditions: Conditions) -> Mapping[str, float]:
    await running.pause("relay")
    staged: dict[str, list[UUID]] = {}
    for first in range(0, conditions.messages, _STAGED_AT_ONCE):
        async with running.transaction() as tx:
            for number in range(first, min(first + _STAGED_AT_ONCE, conditions.messages)):
                key = f"key-{number % _KEYS}"
                staged.setdefault(key, []).append(tx.publish(declared.Placed(key, number, declared.TEXT)))
    noting.wanted = {each for messages in staged.values() for each in messages}
    gc.collect()
    gc.freeze()  # as `freehold.run` does
    client, servers, began = time.process_time(), cpu_seconds(conditions.pids), time.monotonic()
    await running.resume("relay")
    async with asyncio.timeout(_DONE_SECONDS_MAX):
        await noting.all_came.wait()
    seconds = time.monotonic() - began
    client, servers = time.process_time() - client, cpu_seconds(conditions.pids) - servers
    await running.stop()
    expect(len(noting.came), conditions.messages, "messages published")
    turn = {message: number for number, message in enumerate(noting.came)}
    for key, messages in staged.items():
        turns = [turn[each] for each in messages]
        expect(turns, sorted(turns), f"order of {key}")
    return _figures(conditions.messages, seconds, client, servers)


async def _inbox(broker: Broker, conditions: Conditions) -> Mapping[str, float]:
    handled: list[int] = []
    writes = conditions.variant == "inbox-row"

    async def handle(placed: declared.Placed, tx: Transaction) -> None:
        if writes:
            await tx.sql.execute(declared.INSERT, (f"order-{placed.number}", declared.TEXT))
        handled.append(placed.number)

    settings = declared.settings("reader", conditions.databases[1], conditions)
    async with RunningService(declared.reader(handle), settings, broker=broker, roles=()):
        pass  # makes the tables
    client, servers, began = time.process_time(), cpu_seconds(conditions.pids), time.monotonic()
    async with RunningService(declared.reader(handle), settings, broker=broker, roles=("consumer",)) as running:
        async with asyncio.timeout(_DONE_SECONDS_MAX):
            # A broker tells no one when a group has acknowledged: it is asked.
            while len(handled) < conditions.messages or await _pending(broker):  # noqa: ASYNC110 - the store does not tell
                await asyncio.sleep(_LOOK_SECONDS)  # between two looks, which cost time
        seconds = time.monotonic() - began
        client, servers = time.process_time() - client, cpu_seconds(conditions.pids) - servers
        expect(sorted(handled), list(range(conditions.messages)), "messages handled")
        async with running.transaction() as tx:
            ((rows,),) = await tx.sql.fetch("SELECT count(*) FROM placed")
        expect(rows, conditions.messages if writes else 0, "rows written")
    return _figures(conditions.messages, seconds, client, servers)


async def _pending(broker: Broker) -> int:
    return sum([each.pending for each in await broker.lag("reader")])


def _figures(messages: int, seconds: float, client: float, servers: float) -> Mapping[str, float]:
    return {"per_second": messages / seconds, "cpu_us": (client + servers) * 1e6 / messages}


if __name__ == "__main__":
    print_figures(program.run(measure(given())))
