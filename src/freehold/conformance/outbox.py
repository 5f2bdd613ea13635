"""The suite of the outbox port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import pytest

from freehold.broker import OutgoingMessage
from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter, Direction
from freehold.ids import new_id, stable_hash
from freehold.leases.store import LEASES
from freehold.outbox.refusal import dead_letter
from freehold.outbox.store import LEASE_PREFIX, OUTBOX, StagedMessage, lease_name
from freehold.ports import Stores

__all__ = ["OutboxStoreConformance", "outgoing", "take_partitions"]

_LIMIT: Final = 1000


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


async def _stage(stores: Stores, *messages: OutgoingMessage) -> None:
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, messages)


def _documents(rows: Sequence[StagedMessage]) -> list[bytes]:
    return [row.message.document for row in rows]


class OutboxStoreConformance:
    """What every outbox must do."""

    async def test_what_is_staged_appears_with_the_commit(self, harness: StoresHarness) -> None:
        """Not before, and unchanged."""
        stores = harness.first
        leases = await take_partitions(stores)
        message = outgoing("ä'$1;--", b"\x00\xff%(p1)s ?1")
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [message])
            assert (await stores[OUTBOX].fetch(leases, _LIMIT)).rows == []
        (row,) = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert row.message == message
        assert row.attempts == 0
        assert row.partition == stable_hash(message.key) % stores[OUTBOX].partitions

    async def test_a_rollback_leaves_nothing(self, harness: StoresHarness) -> None:
        """After an exception in the block the message is rolled back with the rest."""
        stores = harness.first
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage(db_tx, [outgoing("k")])
                _ = 1 / 0
        assert (await stores[OUTBOX].stats()).pending == 0

    async def test_a_cancellation_leaves_nothing(self, harness: StoresHarness) -> None:
        """After a cancellation in the block it is rolled back, and the database can be used."""
        stores = harness.first
        staged = asyncio.Event()

        async def work() -> None:
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage(db_tx, [outgoing("k")])
                staged.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.wait_for(staged.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await stores[OUTBOX].stats()).pending == 0
        await _stage(stores, outgoing("k"))
        assert (await stores[OUTBOX].stats()).pending == 1

    async def test_many_messages_keep_the_order_given(self, harness: StoresHarness) -> None:
        """Over all keys of one call, and over several calls in one transaction."""
        stores = harness.first
        leases = await take_partitions(stores)
        messages = [outgoing(f"key-{number % 7}", str(number).encode()) for number in range(300)]
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, messages[:200])
            await stores[OUTBOX].stage(db_tx, [])
            await stores[OUTBOX].stage(db_tx, messages[200:])
        rows = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert _documents(rows) == [message.document for message in messages]
        assert [row.position for row in rows] == sorted({row.position for row in rows})
        assert _documents((await stores[OUTBOX].fetch(leases, 10)).rows) == _documents(rows)[:10]

    async def test_transactions_of_one_key_wait_for_each_other(self, harness: StoresHarness) -> None:
        """From staging to commit: the second one gets the greater position, and commits second."""
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("k", b"first")])
            second = asyncio.create_task(_stage(other, outgoing("k", b"second")))
            assert await has_to_wait(second)
            assert (await stores[OUTBOX].fetch(leases, _LIMIT)).rows == []
        await asyncio.wait_for(second, 30)
        assert _documents((await stores[OUTBOX].fetch(leases, _LIMIT)).rows) == [b"first", b"second"]

    async def test_transactions_of_other_keys_do_not_wait(self, harness: StoresHarness) -> None:
        """Where the engine has several writers."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores = harness.first
        leases = await take_partitions(stores)
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("slow", b"slow")])
            await asyncio.wait_for(_stage(stores, outgoing("quick", b"quick")), 30)
            assert _documents((await stores[OUTBOX].fetch(leases, _LIMIT)).rows) == [b"quick"]
        assert _documents((await stores[OUTBOX].fetch(leases, _LIMIT)).rows) == [b"slow", b"quick"]

    async def test_keys_in_any_order_cause_no_deadlock(self, harness: StoresHarness) -> None:
        """Each transaction has the same keys in another order."""
        stores = harness.first
        keys = [f"key-{number}" for number in range(6)]

        async def work(turn: int) -> None:
            rotated = keys[turn % 6 :] + keys[: turn % 6]
            await _stage(stores, *(outgoing(key) for key in (rotated if turn % 2 else rotated[::-1])))

        async with asyncio.TaskGroup() as group:
            for turn in range(24):
                group.create_task(work(turn))
        assert (await stores[OUTBOX].stats()).pending == 24 * 6

    async def test_a_reader_never_sees_a_key_go_back(self, harness: StoresHarness) -> None:
        """While several transactions write to few keys, no row of a key appears below one that was read before."""
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        highest: dict[str, int] = defaultdict(int)
        seen: set[int] = set()

        async def look() -> None:
            for row in (await stores[OUTBOX].fetch(leases, _LIMIT)).rows:
                if row.position not in seen:
                    assert row.position > highest[row.message.key]
                    highest[row.message.key] = row.position
                    seen.add(row.position)

        async def write(writer: Stores, turn: int) -> None:
            for number in range(8):
                await _stage(writer, outgoing(f"key-{(turn + number) % 3}"), outgoing(f"key-{number % 3}"))

        writers = [asyncio.create_task(write(other if turn % 2 else stores, turn)) for turn in range(6)]
        while (await asyncio.wait(writers, timeout=0.001))[1]:
            await look()
        await asyncio.gather(*writers)
        await look()
        assert len(seen) == 6 * 8 * 2

    async def test_remove_deletes_what_was_confirmed(self, harness: StoresHarness) -> None:
        """Only those rows; a second call deletes none."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, *(outgoing(f"key-{number}", str(number).encode()) for number in range(5)))
        rows = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert await stores[OUTBOX].remove(leases, []) == 0
        assert await stores[OUTBOX].remove(leases, rows[1:3]) == 2
        assert await stores[OUTBOX].remove(leases, rows[1:3]) == 0
        assert _documents((await stores[OUTBOX].fetch(leases, _LIMIT)).rows) == [b"0", b"3", b"4"]

    async def test_a_stale_token_changes_nothing(self, harness: StoresHarness) -> None:
        """A relay whose leases were taken over can neither fetch, remove, reschedule nor dead-letter rows."""
        stores, other = harness.first, await harness.instance()
        stale = await take_partitions(stores, "paused")
        await _stage(stores, outgoing("k"))
        rows = (await stores[OUTBOX].fetch(stale, _LIMIT)).rows
        fresh = await take_partitions(other, "successor")
        assert await stores[OUTBOX].remove(stale, rows) == 0
        assert not await stores[OUTBOX].reschedule(stale, rows[0], 60, "refused")
        assert not await dead_letter(stores, stale, rows[0], "refused", datetime.now(UTC))
        assert (await stores[OUTBOX].fetch(stale, _LIMIT)).rows == []
        assert (await other[OUTBOX].fetch(fresh, _LIMIT)).rows == rows
        assert await stores[DEAD_LETTERS].find(DeadLetterFilter()) == []

    async def test_leases_guard_their_own_partition_only(self, harness: StoresHarness) -> None:
        """Rows of a partition that is not leased are neither fetched nor removed."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, *(outgoing(f"key-{number}") for number in range(40)))
        rows = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        partition = rows[0].partition
        some: Mapping[int, int] = {partition: leases[partition]}
        of_it = [row for row in rows if row.partition == partition]
        assert (await stores[OUTBOX].fetch(some, _LIMIT)).rows == of_it
        assert await stores[OUTBOX].remove(some, rows) == len(of_it)
        assert (await stores[OUTBOX].stats()).pending == len(rows) - len(of_it)
        assert (await stores[OUTBOX].fetch({}, _LIMIT)).rows == []

    async def test_a_rescheduled_row_blocks_its_key_alone(self, harness: StoresHarness) -> None:
        """All rows of the key wait, also later ones; other keys continue; then the row is fetched again, with the
        attempt counted.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, outgoing("bad", b"b1"), outgoing("bad", b"b2"), outgoing("good", b"g1"))
        rows = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert await stores[OUTBOX].reschedule(leases, rows[0], 30, "refused")
        await _stage(stores, outgoing("bad", b"b3"), outgoing("good", b"g2"))
        assert _documents((await stores[OUTBOX].fetch(leases, _LIMIT)).rows) == [b"g1", b"g2"]
        assert (await stores[OUTBOX].stats()).blocked_keys == 1
        harness.clock.advance(31)
        again = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert _documents(again) == [b"b1", b"b2", b"g1", b"b3", b"g2"]
        assert [row.attempts for row in again] == [1, 0, 0, 0, 0]
        assert (await stores[OUTBOX].stats()).blocked_keys == 0

    async def test_people_see_what_is_unsent_and_what_holds_it_up(self, harness: StoresHarness) -> None:
        """Oldest first, of all partitions, at most the limit; no lease is needed."""
        stores = harness.first
        await _stage(stores, outgoing("bad", b"b1"))
        harness.clock.advance(5)
        await _stage(stores, outgoing("bad", b"b2"), outgoing("good", b"g1"))
        leases = await take_partitions(stores)
        rows = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert await stores[OUTBOX].reschedule(leases, rows[0], 30, "too large")
        unsent = await stores[OUTBOX].unsent(10)
        assert [each.staged.message.document for each in unsent] == [b"b1", b"b2", b"g1"]
        assert [each.staged.attempts for each in unsent] == [1, 0, 0]
        assert [each.reason for each in unsent] == ["too large", "", ""]
        assert [each.age_seconds for each in unsent] == pytest.approx([5, 0, 0], abs=1)
        assert [each.blocked_seconds for each in unsent] == pytest.approx([30, 0, 0], abs=1)
        assert len(await stores[OUTBOX].unsent(2)) == 2
        harness.clock.advance(31)
        assert [each.blocked_seconds for each in await stores[OUTBOX].unsent(10)] == [0, 0, 0]

    async def test_a_rejected_row_becomes_a_dead_letter(self, harness: StoresHarness) -> None:
        """With its document, in one transaction; its key continues."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, outgoing("k", b"never"), outgoing("k", b"next"))
        (row, _) = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert await dead_letter(stores, leases, row, "too large", datetime.now(UTC))
        assert not await dead_letter(stores, leases, row, "too large", datetime.now(UTC))
        (letter,) = await stores[DEAD_LETTERS].find(DeadLetterFilter())
        assert letter.direction is Direction.OUTBOUND
        assert letter.document == b"never"
        assert letter.message_id == row.message.id
        assert letter.topic == row.message.topic
        assert letter.detail == "too large"
        assert letter.attempts == 1
        assert _documents((await stores[OUTBOX].fetch(leases, _LIMIT)).rows) == [b"next"]

    async def test_stats_tell_how_much_and_how_long(self, harness: StoresHarness) -> None:
        """The age is that of the oldest row, 0 where there is none."""
        stores = harness.first
        assert (await stores[OUTBOX].stats()).oldest_seconds == 0
        await _stage(stores, outgoing("k"))
        harness.clock.advance(90)
        await _stage(stores, outgoing("l"))
        stats = await stores[OUTBOX].stats()
        assert stats.pending == 2
        assert stats.oldest_seconds == pytest.approx(90, abs=1)

    async def test_another_instance_finds_the_same_rows(self, harness: StoresHarness) -> None:
        """After a restart nothing is lost, and new positions are higher."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, outgoing("k", b"1"))
        (before,) = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert await stores[OUTBOX].remove(leases, [before]) == 1
        other = await harness.instance()
        await _stage(other, outgoing("k", b"2"))
        (after,) = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert after.position > before.position
        assert other[OUTBOX].partitions == stores[OUTBOX].partitions

    async def test_a_batch_comes_with_high_water_marks(self, harness: StoresHarness) -> None:
        """Each row at or below it is in the batch or was removed; where the batch is cut off, so is the high-water
        mark.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        assert set((await stores[OUTBOX].fetch(leases, _LIMIT)).high_water_marks.values()) == {0}
        await _stage(stores, *(outgoing(f"key-{number}") for number in range(20)))
        whole = await stores[OUTBOX].fetch(leases, _LIMIT)
        last = whole.rows[-1].position
        assert set(whole.high_water_marks) == set(leases)
        assert all(position >= last for position in whole.high_water_marks.values())
        some = await stores[OUTBOX].fetch(leases, 5)
        assert set(some.high_water_marks.values()) == {some.rows[-1].position}
        await stores[OUTBOX].remove(leases, whole.rows)
        assert set((await stores[OUTBOX].fetch(leases, _LIMIT)).high_water_marks.values()) == set(
            whole.high_water_marks.values()
        )

    async def test_an_open_transaction_holds_the_high_water_mark_below_it(self, harness: StoresHarness) -> None:
        """From before its positions are drawn until its end, whatever commits above them meanwhile."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, outgoing("before"))
        (before,) = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        async with stores.database.begin() as db_tx:
            (slow,) = await stores[OUTBOX].stage(db_tx, [outgoing("slow")])
            await _stage(stores, outgoing("quick"), outgoing("later"))
            fetched = await stores[OUTBOX].fetch(leases, _LIMIT)
            assert fetched.rows[-1].position > slow
            assert all(before.position <= position < slow for position in fetched.high_water_marks.values())
        marks = (await stores[OUTBOX].fetch(leases, _LIMIT)).high_water_marks
        assert all(position >= fetched.rows[-1].position for position in marks.values())

    async def test_a_rollback_holds_nothing_back(self, harness: StoresHarness) -> None:
        """The positions that it drew belong to no row."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, outgoing("k"))
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage(db_tx, [outgoing("k"), outgoing("l")])
                _ = 1 / 0
        await _stage(stores, outgoing("m"))
        fetched = await stores[OUTBOX].fetch(leases, _LIMIT)
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
            fetched = await stores[OUTBOX].fetch(leases, _LIMIT)
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
        await _stage(stores, outgoing("a"), outgoing("bad"), outgoing("bad"), outgoing("good"))
        rows = (await stores[OUTBOX].fetch(leases, _LIMIT)).rows
        assert rows[1].partition != rows[3].partition
        assert await stores[OUTBOX].reschedule(leases, rows[2], 30, "refused")
        marks = (await stores[OUTBOX].fetch(leases, _LIMIT)).high_water_marks
        assert marks[rows[1].partition] == rows[1].position - 1
        assert marks[rows[3].partition] >= rows[3].position
        for row in rows[1:3]:
            assert await dead_letter(stores, leases, row, "refused", datetime.now(UTC))
        assert (await stores[OUTBOX].fetch(leases, _LIMIT)).high_water_marks[rows[1].partition] >= rows[3].position

    async def test_a_pending_watermark_is_kept_until_it_is_published(self, harness: StoresHarness) -> None:
        """Under the lease, with the rows; also that of a dead-lettered row; without the lease it cannot be changed."""
        stores, other = harness.first, await harness.instance()
        stale = await take_partitions(stores)
        await _stage(stores, outgoing("k"), outgoing("k"))
        rows = (await stores[OUTBOX].fetch(stale, _LIMIT)).rows
        partition = rows[0].partition
        assert await stores[OUTBOX].remove(stale, rows[:1], {partition: rows[0].position}) == 1
        assert (await other[OUTBOX].fetch(stale, _LIMIT)).pending_watermarks == {partition: rows[0].position}
        assert await dead_letter(stores, stale, rows[1], "too large", datetime.now(UTC))
        assert (await other[OUTBOX].fetch(stale, _LIMIT)).pending_watermarks == {partition: rows[1].position}
        fresh = await take_partitions(other, "successor")
        assert await stores[OUTBOX].remove(stale, [], {partition: 0}) == 0
        assert (await other[OUTBOX].fetch(fresh, _LIMIT)).pending_watermarks == {partition: rows[1].position}
        assert (await other[OUTBOX].fetch(stale, _LIMIT)).high_water_marks == {}
        assert await other[OUTBOX].remove(fresh, [], {partition: 0}) == 0
        assert (await other[OUTBOX].fetch(fresh, _LIMIT)).pending_watermarks == {}
