"""Streams of NATS that several processes miss at the same moment, on servers that may then make one of them twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from freehold.adapters.nats import streams
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.names import Layout, Names
from freehold.adapters.nats.streams import ensure_stream

pytestmark = pytest.mark.servers
RETENTION_SECONDS = 100.0


@pytest.fixture(autouse=True)
def an_old_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever server is tested: one that may make a stream twice."""
    monkeypatch.setattr(streams, "_CREATES_ONE", (1000,))


@pytest.fixture
def names(nats_prefix: str) -> Names:
    return Names(nats_prefix)


@pytest.fixture
async def connections(nats_url: str) -> AsyncIterator[list[NatsConnection]]:
    connections = [NatsConnection(nats_url, 6.0) for _ in range(4)]
    for connection in connections:
        await connection.open()
    yield connections
    for connection in connections:
        await connection.close()


def _call_after(monkeypatch: pytest.MonkeyPatch, connection: NatsConnection, call: Callable[[str], Any]) -> None:
    """Have `call` run after each request of a connection, with the request's subject."""
    ask = connection.ask

    async def asked(
        subject: str, question: Mapping[str, Any] | None = None, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        try:
            return await ask(subject, question, timeout_seconds)
        finally:
            await call(subject)

    monkeypatch.setattr(connection, "ask", asked)


@pytest.mark.parametrize("after", ["CREATE", "INFO"])
async def test_a_stream_that_another_one_has_replaced_is_not_believed(
    connections: list[NatsConnection], names: Names, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Also where the server carries out the other request only after it was asked which of them counts."""
    first, other, *_ = connections
    asked: list[str] = []

    async def replaced(subject: str) -> None:
        """As the server does it with a second request that it carries out at the same time."""
        asked.append(subject.split(".")[1])
        if "CREATE" in asked and asked[-1] == after and "replaced" not in asked:
            asked.append("replaced")
            await other.ask(f"STREAM.DELETE.{names.log}")
            await other.ask(f"STREAM.CREATE.{names.log}", names.log_config(RETENTION_SECONDS, 7))

    _call_after(monkeypatch, first, replaced)
    found, made = await ensure_stream(first, names.log_config(RETENTION_SECONDS, 3))
    assert not made
    assert Layout.read(found["config"]).partitions == 7
    assert found["created"] == (await other.ask(f"STREAM.INFO.{names.log}"))["created"]


async def test_of_those_that_miss_a_stream_one_asks_for_it(
    connections: list[NatsConnection], names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for different times, and the others find what the first one has made."""
    waits = iter([0.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(random, "uniform", lambda *_: next(waits))
    made: list[str] = []

    async def note(subject: str) -> None:
        if subject.startswith("STREAM.CREATE"):
            made.append(subject)

    for connection in connections:
        _call_after(monkeypatch, connection, note)
    found = await asyncio.gather(
        *(
            ensure_stream(connection, names.log_config(RETENTION_SECONDS, number))
            for number, connection in enumerate(connections, start=3)
        )
    )
    assert len(made) == 1
    assert len({each["created"] for each, _ in found}) == 1
    assert [own for _, own in found].count(True) == 1
