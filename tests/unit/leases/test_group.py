"""A member of a group: a lease that is lost and taken again while it still writes for the one before, and counts of
deliveries whose confirmations are lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from freehold.adapters.memory.broker import MemoryBroker
from freehold.adapters.memory.network import SAVE
from freehold.broker import BrokerOptions, OutgoingMessage, Subscription
from freehold.clock import SystemClock
from freehold.errors import LeaseLost, Unavailable
from freehold.groups.log import PartitionState
from freehold.groups.member import GroupMember
from freehold.ids import new_id

LIMIT_SECONDS = 60.0
_SUBSCRIPTION = Subscription(group="g", topics=frozenset({"t.events"}))


async def test_a_partition_that_is_taken_again_while_a_batch_is_acked_is_read_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The keeper is quicker than the answer that the lease was lost: what it follows since then stays followed."""
    broker = MemoryBroker(BrokerOptions(partitions=1), SystemClock())
    await broker.open()
    member = await broker.subscribe(_SUBSCRIPTION)
    assert isinstance(member, GroupMember)
    try:
        await broker.publish([OutgoingMessage(id=new_id(), topic="t.events", key="k", document=b"1")], LIMIT_SECONDS)
        batch = await member.fetch(10, LIMIT_SECONDS)
        assert batch is not None
        log, records = member._log, broker.group("g").records
        save = log.compare_and_set

        async def late(expected: PartitionState, *, owner: str, position: int, attempts: int) -> PartitionState | None:
            monkeypatch.setattr(log, "compare_and_set", save)
            for holder in ("another", ""):
                records[expected.place] = replace(
                    records[expected.place], owner=holder, token=records[expected.place].token + 1
                )
                await member._coordinator.round()
            return await save(expected, owner=owner, position=position, attempts=attempts)

        monkeypatch.setattr(log, "compare_and_set", late)
        with pytest.raises(LeaseLost):
            await batch.ack(1)
        again = await member.fetch(10, LIMIT_SECONDS)
        assert again is not None, "nobody follows the partition"
        assert [each.document for each in again.deliveries] == [b"1"]
    finally:
        await member.close()
        await broker.close()


class _Forgetful:
    """A network that loses the answers to the next changes of a record."""

    def __init__(self, losses: int) -> None:
        self.losses = losses

    async def send(self, request: str) -> None:
        """Nothing is lost on the way there."""

    async def answer(self, request: str) -> None:
        if request == SAVE and self.losses:
            self.losses -= 1
            raise Unavailable("planned")


async def test_a_count_whose_confirmation_is_lost_is_no_delivery() -> None:
    """Otherwise a broker that loses a few confirmations makes a dead letter of a message that was never handled."""
    broker = MemoryBroker(BrokerOptions(partitions=1, lease_seconds=0.5), SystemClock())
    await broker.open()
    dead = await broker.subscribe(_SUBSCRIPTION)
    await broker.publish([OutgoingMessage(id=new_id(), topic="t.events", key="k", document=b"1")], LIMIT_SECONDS)
    assert await dead.fetch(10, LIMIT_SECONDS) is not None
    await dead.pause()
    other = broker.client(SystemClock())
    member = await other.subscribe(_SUBSCRIPTION)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not member._holds.records:
                await member._coordinator.round()
            other.network = network = _Forgetful(6)
            batch = None
            while batch is None:
                try:
                    batch = await member.fetch(10, LIMIT_SECONDS)
                except Unavailable:
                    await member._coordinator.round()
        assert not network.losses
        # The first delivery is the one to the member that has died.
        assert [each.delivery_count for each in batch.deliveries] == [2]
        await batch.ack(0, counted=False)
        await member.close()
        (record,) = broker.group("g").records.values()
        assert record.attempts == 1
    finally:
        await member.close()
        await broker.close()
