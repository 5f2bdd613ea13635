"""Healing poison-message: what nobody has read yet is not called healed, and who has more to do is not waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from freehold import Settings, event
from freehold.broker import OutgoingMessage, Subscription
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter, DeadLetterStatus, Direction
from freehold.errors import Unavailable
from freehold.ids import new_id, stable_hash
from freehold.messages import message_type
from freehold.ports import Stores
from freehold.runtime.adapters import open_broker, open_stores
from freehold_shop.faults.poison import KEY, poison
from freehold_shop.faults.poison_cleanup import discard_poison

TOPIC = "cleanup.events"


@event("cleanup.counted", version=1, key="name")
class Counted:
    name: str


def _settings(tmp_path: Path) -> Settings:
    return Settings.load(
        "cleanup", environ={}, database=f"sqlite:///{tmp_path}/s.db", broker=f"embedded:///{tmp_path}/b.db"
    )


COUNTED = message_type(Counted)


async def _read_one_partition(settings: Settings, stores: Stores, wanted: int) -> None:
    """A reader that buries what it gets from one partition, and gets stuck in every other."""
    broker = open_broker(settings.broker, settings.broker_options)
    await broker.open()
    try:
        consumer = await broker.subscribe(Subscription("cleanup", frozenset({TOPIC})))
        while True:
            batch = await consumer.fetch(100, 1.0)
            if batch is not None and batch.partition == wanted:
                async with stores.database.begin() as db_tx:
                    for delivery in batch.deliveries:
                        await stores[DEAD_LETTERS].add(db_tx, _letter(delivery.document))
                await batch.ack(len(batch.deliveries))
    finally:
        await broker.close()


def _letter(document: bytes) -> DeadLetter:
    return DeadLetter(
        id=new_id(),
        direction=Direction.INBOUND,
        consumer="cleanup",
        topic=TOPIC,
        key=KEY,
        message_id=None,
        type="",
        reason="invalid-envelope",
        error_type="CodecError",
        detail="",
        attempts=0,
        failed_at=datetime.now(UTC),
        status=DeadLetterStatus.DEAD,
        document=document,
    )


async def test_a_reader_that_is_busy_elsewhere_does_not_keep_the_fault_on(tmp_path: Path) -> None:
    """Its lag never falls to nothing: under load, no reader's ever does."""
    settings = _settings(tmp_path)
    stores = open_stores(settings.database, settings.database_options)
    await stores.database.open()
    await stores.database.upgrade()
    broker = open_broker(settings.broker, settings.broker_options)
    await broker.open()
    reading = asyncio.create_task(_read_one_partition(settings, stores, stable_hash(KEY) % broker.partitions))
    try:
        await broker.publish([OutgoingMessage(new_id(), TOPIC, str(number), b"busy") for number in range(100)], 5.0)
        planted = await poison(settings.broker, settings.broker_options, [COUNTED])
        discarded = await discard_poison({"cleanup": settings}, {"cleanup": frozenset({TOPIC})}, read_seconds=30.0)
        pending = [each.pending for each in await broker.lag("cleanup")]
        letters = await stores[DEAD_LETTERS].find(DeadLetterFilter(status=DeadLetterStatus.DEAD))
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await broker.close()
        await stores.database.close()
    assert sum(pending) > 0
    assert discarded == planted + 1, "and the marker"
    assert {letter.document for letter in letters} == {b"busy"}


async def test_a_reader_that_is_behind_keeps_the_fault_on_and_is_named(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    stores = open_stores(settings.database, settings.database_options)
    await stores.database.open()
    await stores.database.upgrade()
    await stores.database.close()
    with pytest.raises(Unavailable, match=r"cleanup has not read past the poison in cleanup\.events"):
        await discard_poison({"cleanup": settings}, {"cleanup": frozenset({TOPIC})}, read_seconds=0.5)
