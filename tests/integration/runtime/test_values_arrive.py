"""A message is refused where it is published, or it arrives and is read as it was: over each broker."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.unit.runtime.trial import settings_for

from freehold import InvalidValue, RunningService, Service, event
from freehold.broker import Subscription
from freehold.messages import Envelope, decode_body, decode_envelope, message_type


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    number: int | None = None


@event("arriving.thing", key="key")
class Thing:
    key: str
    text: str = ""
    number: int = 0
    share: float = 0.0
    price: Decimal = Decimal(0)
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    parts: tuple[Part, ...] = ()
    raw: bytes = b""
    anything: Any = None
    counts: dict[str, int] = field(default_factory=dict)


_ODD: list[dict[str, Any]] = [
    *(
        {"text": text}
        for text in ("", "\x01\x1f\x7f\x85", "\x00", "\ud800", "\ufffe\uffff", "\U0010ffff", "a\\u0000", "é" * 9_000)
    ),
    *({"number": number} for number in (2**63 - 1, -(2**63), 2**63, True, 1.0, "1")),
    *({"share": share} for share in (5e-324, 1.7976931348623157e308, -0.0, float("nan"), float("-inf"), 3)),
    *({"price": price} for price in (Decimal("-0.000"), Decimal("1e999"), Decimal("1e1001"), Decimal("NaN"), 0.1)),
    *(
        {"at": at}
        for at in (datetime(1, 1, 2, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    ),
    {"at": datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))},
    *({"parts": parts} for parts in ((Part("a", 1), Part("b")), (Part("\x00"),), [Part("a")], ({"name": "a"},))),
    *({"raw": raw} for raw in (b"\x00\xff", "text")),
    *({"anything": thing} for thing in ({"a": [1, None, {"b": 0.5}]}, float("nan"), {"a": "\x00"}, {1, 2}.__iter__())),
    *({"counts": counts} for counts in ({"": 1, "é\n": 2}, {"a\x00": 1}, {"a": 2**64})),
    *({"key": key} for key in ("é" * 256, " ", "a.b>*", "/", "é" * 257, "", "a\n", "\x85")),
]


@pytest.mark.parametrize("broker", ["embedded", pytest.param("nats", marks=pytest.mark.servers)])
async def test_what_is_published_is_refused_or_arrives_as_it_was(
    request: pytest.FixtureRequest, tmp_path: Path, broker: str
) -> None:
    url, prefix = f"embedded:///{tmp_path}/broker.db", "t"
    if broker == "nats":
        url, prefix = request.getfixturevalue("nats_url"), request.getfixturevalue("nats_prefix")
    database = f"sqlite:///{tmp_path}/{uuid4().hex}.db"
    settings = settings_for("arriving", database=database, broker=url, broker_options={"prefix": prefix})
    async with RunningService(Service("arriving"), settings, roles=("relay",)) as running:
        consumer = await running.broker.subscribe(Subscription("reader", frozenset({"arriving.events"})))
        published: dict[UUID, Thing] = {}
        for change in _ODD:
            thing = Thing(**{"key": "k", **change})
            async with running.transaction() as tx:
                with contextlib.suppress(InvalidValue):
                    published[tx.publish(thing, headers={"h": "é" * 100})] = thing
        arrived: dict[UUID, Envelope] = {}
        async with asyncio.timeout(60):
            while len(arrived) < len(published):
                batch = await consumer.fetch(100, 1.0)
                if batch is not None:
                    envelopes = [decode_envelope(each.document) for each in batch.deliveries]
                    # A slow relay also publishes a watermark by itself.
                    arrived |= {each.id: each for each in envelopes if each.type == "arriving.thing"}
                    await batch.ack(len(batch.deliveries))
        await consumer.close()
    assert len(published) == 24
    for message_id, thing in published.items():
        envelope = arrived[message_id]
        assert decode_body(envelope.body, message_type(Thing)) == thing
        assert (envelope.key, envelope.headers["h"]) == (thing.key, "é" * 100)
