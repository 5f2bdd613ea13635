"""Healing poison-message: what nobody has read yet is not called healed."""

from pathlib import Path

import pytest

from freehold.binding import open_broker
from freehold.broker import Outgoing, Subscription
from freehold.errors import Unavailable
from freehold.ids import new_id
from freehold.settings import Settings
from freehold_shop.faults import antidote


async def test_a_reader_that_is_behind_keeps_the_fault_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(antidote, "_READ_SECONDS", 0.3)
    settings = Settings.load("stock", environ={}, database="sqlite:///unused", broker=f"embedded:///{tmp_path}/b.db")
    broker = open_broker(settings.broker, settings.broker_options)
    await broker.open()
    consumer = await broker.subscribe(Subscription("stock", frozenset({"orders.events"})))
    await consumer.close()
    await broker.publish([Outgoing(new_id(), "orders.events", "a", b"unread")], 5.0)
    try:
        with pytest.raises(Unavailable, match="still unread by stock"):
            await antidote.draw_out({"stock": settings}, ["stock"])
    finally:
        await broker.close()
