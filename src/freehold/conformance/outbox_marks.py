"""The part of the outbox suite about high-water marks and pending watermarks, and what both parts use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import pytest

from freehold.broker import OutgoingMessage
from freehold.conformance.harness import StoresHarness
from freehold.ids import new_id
from freehold.leases.store import LEASES
from freehold.outbox.refusal import dead_letter
from freehold.outbox.store import LEASE_PREFIX, OUTBOX, StagedMessage, lease_name
from freehold.ports import Stores

__all__ = ["LIMIT", "OutboxMarkConformance", "documents", "outgoing", "stage", "take_partitions"]

LIMIT: Final = 1000
"""More rows than any test of the suite stages."""


def outgoing(key: str, document: bytes = b"{}", topic: str = "orders.events") -> OutgoingMessage:
    """A message to stage."""
    return OutgoingMessage(id=new_id(), topic=topic, key=key, document=document)


async def take_partitions(stores: Stores, owner: str = "relay") -> dict[int, int]:
    """Acquire the leases of all partitions, also from another owner; returns the tokens by partition."""
    await stores[LEASES].ensure(lease_name(partition) for partition in range(stores[OUTBOX].partitions))
    taken: dict[int, int] = {}
    for seen in await stores[LEASES].list(LEASE_PREFIX):
        lease = await stores[LEASES].acquire(seen, owner)
        assert lease is not None
        taken[int(lease.name.removeprefix(LEASE_PREFIX))] = lease.token
    return taken


async def stage(stores: Stores, *messages: OutgoingMessage) -> None:
    """Stage messages in a transaction of their own."""
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, messages)


def documents(rows: Sequence[StagedMessage]) -> list[bytes]:
    """The documents of rows, in their order."""
    return [row.message.document for row in rows]


class OutboxMarkConformance:
    """What an outbox reports of its partitions, so that a relay can announce watermarks."""

    async def test_a_batch_comes_with_high_water_marks(self, harness: StoresHarness) -> None:
        """Each row at or below it is in the batch or was removed; where the batch is cut off, so is the high-water
        mark.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        assert set((await stores[OUTBOX].fetch(leases, LIMIT)).high_water_marks.values()) == {0}
        await stage(stores, *(outgoing(f"key-{number}") for number in range(20)))
        whole = await stores[OUTBOX].fetch(leases, LIMIT)
        last = whole.rows[-1].position
        assert set(whole.high_water_marks) == set(leases)
        assert all(position >= last for position in whole.high_water_marks.values())
        some = await stores[OUTBOX].fetch(leases, 5)
        assert set(some.high_water_marks.values()) == {some.rows[-1].position}
        await stores[OUTBOX].remove(leases, whole.rows)
        assert set((await stores[OUTBOX].fetch(leases, LIMIT)).high_water_marks.values()) == set(
            whole.high_water_marks.values()
        )

    async def test_an_open_transaction_holds_the_high_water_mark_below_it(self, harness: StoresHarness) -> None:
        """From before its positions are drawn until its end, whatever commits above them meanwhile."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores = harness.first
        leases = await take_partitions(stores)
        await stage(stores, outgoing("before"))
        (before,) = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        async with stores.database.begin() as db_tx:
            (slow,) = await stores[OUTBOX].stage(db_tx, [outgoing("slow")])
            await stage(stores, outgoing("quick"), outgoing("later"))
            fetched = await stores[OUTBOX].fetch(leases, LIMIT)
            assert fetched.rows[-1].position > slow
            assert all(before.position <= position < slow for position in fetched.high_water_marks.values())
        marks = (await stores[OUTBOX].fetch(leases, LIMIT)).high_water_marks
        assert all(position >= fetched.rows[-1].position for position in marks.values())

    async def test_a_rollback_holds_nothing_back(self, harness: StoresHarness) -> None:
        """The positions that it drew belong to no row."""
        stores = harness.first
        leases = await take_partitions(stores)
        await stage(stores, outgoing("k"))
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage(db_tx, [outgoing("k"), outgoing("l")])
                _ = 1 / 0
        await stage(stores, outgoing("m"))
        fetched = await stores[OUTBOX].fetch(leases, LIMIT)
        assert all(position >= fetched.rows[-1].position for position in fetched.high_water_marks.values())

    async def test_no_row_appears_at_or_below_a_high_water_mark(self, harness: StoresHarness) -> None:
        """While many transactions write, some slowly, some rolled back, each row is above every mark that was reported
        before.
        """
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        seen: set[int] = set()
        mark = 0

        async def look() -> None:
            nonlocal mark
            fetched = await stores[OUTBOX].fetch(leases, LIMIT)
            fresh = {row.position for row in fetched.rows} - seen
            assert all(position > mark for position in fresh), (sorted(fresh), mark)
            seen.update(fresh)
            mark = max(mark, *fetched.high_water_marks.values())

        async def write(writer: Stores, turn: int) -> None:
            for number in range(8):
                with contextlib.suppress(ZeroDivisionError):
                    async with writer.database.begin() as db_tx:
                        await writer[OUTBOX].stage(db_tx, [outgoing(f"key-{(turn + number) % 5}")])
                        await asyncio.sleep(0.002 * (number % 3))
                        _ = 1 / ((turn + number) % 7)

        writers = [asyncio.create_task(write(other if turn % 2 else stores, turn)) for turn in range(6)]
        while (await asyncio.wait(writers, timeout=0.001))[1]:
            await look()
        await asyncio.gather(*writers)
        await look()
        assert len(seen) == sum((turn + number) % 7 != 0 for turn in range(6) for number in range(8))
        assert mark >= max(seen)

    async def test_a_blocked_key_holds_its_partition_below_it(self, harness: StoresHarness) -> None:
        """Until its rows are removed; other partitions continue."""
        stores = harness.first
        leases = await take_partitions(stores)
        await stage(stores, outgoing("a"), outgoing("bad"), outgoing("bad"), outgoing("good"))
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert rows[1].partition != rows[3].partition
        assert await stores[OUTBOX].reschedule(leases, rows[2], 30, "refused")
        marks = (await stores[OUTBOX].fetch(leases, LIMIT)).high_water_marks
        assert marks[rows[1].partition] == rows[1].position - 1
        assert marks[rows[3].partition] >= rows[3].position
        for row in rows[1:3]:
            assert await dead_letter(stores, leases, row, "refused", datetime.now(UTC))
        assert (await stores[OUTBOX].fetch(leases, LIMIT)).high_water_marks[rows[1].partition] >= rows[3].position

    async def test_a_pending_watermark_is_kept_until_it_is_published(self, harness: StoresHarness) -> None:
        """Under the lease, with the rows; also that of a dead-lettered row; without the lease it cannot be changed."""
        stores, other = harness.first, await harness.instance()
        stale = await take_partitions(stores)
        await stage(stores, outgoing("k"), outgoing("k"))
        rows = (await stores[OUTBOX].fetch(stale, LIMIT)).rows
        partition = rows[0].partition
        assert await stores[OUTBOX].remove(stale, rows[:1], {partition: rows[0].position}) == 1
        assert (await other[OUTBOX].fetch(stale, LIMIT)).pending_watermarks == {partition: rows[0].position}
        assert await dead_letter(stores, stale, rows[1], "too large", datetime.now(UTC))
        assert (await other[OUTBOX].fetch(stale, LIMIT)).pending_watermarks == {partition: rows[1].position}
        fresh = await take_partitions(other, "successor")
        assert await stores[OUTBOX].remove(stale, [], {partition: 0}) == 0
        assert (await other[OUTBOX].fetch(fresh, LIMIT)).pending_watermarks == {partition: rows[1].position}
        assert (await other[OUTBOX].fetch(stale, LIMIT)).high_water_marks == {}
        assert await other[OUTBOX].remove(fresh, [], {partition: 0}) == 0
        assert (await other[OUTBOX].fetch(fresh, LIMIT)).pending_watermarks == {}
