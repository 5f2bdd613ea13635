"""What a database cannot keep arrives all the same: it ends as a dead letter, and what follows goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.integration.runtime.test_exactly_once import Place, _effects, _publish, _source, _wait_for, _worker

from freehold.broker import OutgoingMessage
from freehold.clock import SystemClock
from freehold.conformance.broker_harness import eventually
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.ids import new_id

pytestmark = pytest.mark.servers

_BAD: list[dict[str, object]] = [
    {"partitionkey": "a\x00b"},
    {"type": "source.\x00"},
    {"topic": "source.\x00events"},
    {"idempotencykey": "\x00"},
    {"idempotencykey": "x" * 5000},
    {"partitionkey": "x" * 5000},
    {"compensates": "\x00"},
    {"hlc": str(2**63)},
    {"hlc": "1_000"},
    {"schemaversion": 2**31},
    {"headers": {"freehold-step": "\x00"}},
    {"data": {"key": "k", "number": "seven"}},
]


async def test_every_unstorable_message_is_a_dead_letter(postgres_url: str, tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path}/source.db", postgres_url, f"embedded:///{tmp_path}/broker.db", "t")
    async with _worker(place) as running, _source(place) as source:
        outcomes = await source.broker.publish([_message(change) for change in _BAD], 10.0)
        assert len(outcomes) == len(_BAD)
        await _publish(source, range(2))
        await _wait_for(running, 16)
        letters = await running.stores[DEAD_LETTERS].find(DeadLetterFilter())
        assert sorted(letter.reason for letter in letters) == ["invalid-body"] + ["invalid-envelope"] * (len(_BAD) - 1)
        assert len(await _effects(running)) == 16

        async def settled() -> bool:
            return all(topic.pending == 0 for topic in await running.broker.lag("worker"))

        # Nothing of the bad ones is left to come again.
        await eventually(settled)


def _message(change: dict[str, object]) -> OutgoingMessage:
    message_id = new_id()
    document = {
        "specversion": "1.0",
        "id": str(message_id),
        "source": "source",
        "type": "source.numbered",
        "time": SystemClock().now().isoformat(),
        "schemaversion": 1,
        "kind": "event",
        "topic": "source.events",
        "partitionkey": "k",
        "hlc": "1",
        "correlationid": str(message_id),
        "data": {"key": "bad", "number": 1},
    }
    return OutgoingMessage(message_id, "source.events", "k0", json.dumps(document | change).encode())
