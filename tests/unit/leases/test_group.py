"""A member of a group whose lease is lost and taken again while it still writes for the one before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from freehold.adapters.memory.broker import MemoryBroker
from freehold.broker import BrokerOptions, OutgoingMessage, Subscription
from freehold.clock import SystemClock
from freehold.errors import LeaseLost
from freehold.groups.log import PartitionState
from freehold.groups.member import GroupMember
from freehold.ids import new_id

LIMIT_SECONDS = 60.0


async def test_a_partition_that_is_taken_again_while_a_batch_is_acked_is_read_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The keeper is quicker than the answer that the lease was lost: what it follows since then stays followed."""
    broker = MemoryBroker(BrokerOptions(partitions=1), SystemClock())
    await broker.open()
    member = await broker.subscribe(Subscription(group="g", topics=frozenset({"t.events"})))
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
