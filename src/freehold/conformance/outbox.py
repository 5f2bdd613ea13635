"""The suite of the outbox port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.conformance.outbox_last import OutboxLastWriteConformance
from freehold.conformance.outbox_marks import (
    LIMIT,
    OutboxMarkConformance,
    documents,
    outgoing,
    stage,
    take_partitions,
)
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter, Direction
from freehold.ids import stable_hash
from freehold.leases.store import LEASES
from freehold.outbox.refusal import dead_letter
from freehold.outbox.sent import SENT
from freehold.outbox.store import OUTBOX, LossState, StagedMessage, lease_name
from freehold.ports import Stores

__all__ = ["OutboxStoreConformance", "outgoing", "take_partitions"]


class OutboxStoreConformance(OutboxLastWriteConformance, OutboxMarkConformance):
    """What every outbox must do."""

    async def test_what_is_staged_appears_with_the_commit(self, harness: StoresHarness) -> None:
        """Not before, and unchanged."""
        stores = harness.first
        leases = await take_partitions(stores)
        message = outgoing("ä'$1;--", b"\x00\xff%(p1)s ?1")
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [message])
            assert (await stores[OUTBOX].fetch(leases, LIMIT)).rows == []
        (row,) = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
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
        await stage(stores, outgoing("k"))
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
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert documents(rows) == [message.document for message in messages]
        assert [row.position for row in rows] == sorted({row.position for row in rows})
        assert documents((await stores[OUTBOX].fetch(leases, 10)).rows) == documents(rows)[:10]

    async def test_transactions_of_one_key_wait_for_each_other(self, harness: StoresHarness) -> None:
        """From staging to commit: the second one gets the greater position, and commits second."""
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("k", b"first")])
            second = asyncio.create_task(stage(other, outgoing("k", b"second")))
            assert await has_to_wait(second)
            assert (await stores[OUTBOX].fetch(leases, LIMIT)).rows == []
        await asyncio.wait_for(second, 30)
        assert documents((await stores[OUTBOX].fetch(leases, LIMIT)).rows) == [b"first", b"second"]

    async def test_transactions_of_other_keys_do_not_wait(self, harness: StoresHarness) -> None:
        """Where the engine has several writers."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores = harness.first
        leases = await take_partitions(stores)
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("slow", b"slow")])
            await asyncio.wait_for(stage(stores, outgoing("quick", b"quick")), 30)
            assert documents((await stores[OUTBOX].fetch(leases, LIMIT)).rows) == [b"quick"]
        assert documents((await stores[OUTBOX].fetch(leases, LIMIT)).rows) == [b"slow", b"quick"]

    async def test_keys_in_any_order_cause_no_deadlock(self, harness: StoresHarness) -> None:
        """Each transaction has the same keys in another order."""
        stores = harness.first
        keys = [f"key-{number}" for number in range(6)]

        async def work(turn: int) -> None:
            rotated = keys[turn % 6 :] + keys[: turn % 6]
            await stage(stores, *(outgoing(key) for key in (rotated if turn % 2 else rotated[::-1])))

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
            for row in (await stores[OUTBOX].fetch(leases, LIMIT)).rows:
                if row.position not in seen:
                    assert row.position > highest[row.message.key]
                    highest[row.message.key] = row.position
                    seen.add(row.position)

        async def write(writer: Stores, turn: int) -> None:
            for number in range(8):
                await stage(writer, outgoing(f"key-{(turn + number) % 3}"), outgoing(f"key-{number % 3}"))

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
        await stage(stores, *(outgoing(f"key-{number}", str(number).encode()) for number in range(5)))
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert await stores[OUTBOX].remove(leases, []) == 0
        assert await stores[OUTBOX].remove(leases, rows[1:3]) == 2
        assert await stores[OUTBOX].remove(leases, rows[1:3]) == 0
        assert documents((await stores[OUTBOX].fetch(leases, LIMIT)).rows) == [b"0", b"3", b"4"]

    async def test_advance_removes_a_batch_and_fetches_the_next(self, harness: StoresHarness) -> None:
        """Rows, pending watermarks and kept messages change as by `remove`, and the batch shows it already."""
        stores = harness.first
        leases = await take_partitions(stores)
        await stage(stores, *(outgoing("k", str(number).encode()) for number in range(9)))
        batch = await stores[OUTBOX].fetch(leases, 4)
        (partition,) = {row.partition for row in batch.rows}
        pending = {partition: batch.rows[-1].position}
        removed, following = await stores[OUTBOX].advance(leases, batch.rows, pending, 4)
        assert (removed, documents(following.rows), following.more) == (4, [b"4", b"5", b"6", b"7"], True)
        assert following.pending_watermarks == pending
        again, same = await stores[OUTBOX].advance(leases, batch.rows, {}, 4)
        assert (again, same.rows) == (0, following.rows)
        removed, last = await stores[OUTBOX].advance(leases, same.rows, {partition: 0}, 4, keep=LossState())
        assert (removed, documents(last.rows), last.more, last.pending_watermarks) == (4, [b"8"], False, {})
        assert (await stores[SENT].kept()).last_position == same.rows[-1].position
        removed, empty = await stores[OUTBOX].advance(leases, last.rows, {}, 4)
        assert (removed, empty.rows) == (1, [])
        assert empty.high_water_marks[partition] >= last.rows[-1].position

    async def test_advance_under_a_stale_token_changes_and_returns_nothing(self, harness: StoresHarness) -> None:
        """For each partition by itself: the rows of those that are still leased are removed."""
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores, "paused")
        await stage(stores, *(outgoing(f"key-{number}") for number in range(40)))
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        lost = rows[0].partition
        (record,) = [each for each in await other[LEASES].list(lease_name(lost)) if each.name == lease_name(lost)]
        assert await other[LEASES].acquire(record, "successor") is not None
        of_it = [row for row in rows if row.partition == lost]
        removed, batch = await stores[OUTBOX].advance(leases, rows, {lost: rows[0].position}, LIMIT)
        assert (removed, batch.rows) == (len(rows) - len(of_it), [])
        assert lost not in batch.high_water_marks
        left = await stores[OUTBOX].fetch(await take_partitions(other, "successor"), LIMIT)
        assert (left.rows, left.pending_watermarks) == (of_it, {})

    async def test_an_uneven_backlog_comes_in_order_and_as_a_whole(self, harness: StoresHarness) -> None:
        """Nearly all rows are of one partition. A batch may have fewer rows than the limit and say that there are more;
        no high-water mark is above a row that is left.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        keys = ["busy"] * 190 + [f"key-{number}" for number in range(10)]
        await stage(stores, *(outgoing(key, str(number).encode()) for number, key in enumerate(keys)))
        waiting = {each.staged.position: each.staged for each in await stores[OUTBOX].unsent(LIMIT)}
        found: list[StagedMessage] = []
        batch = await stores[OUTBOX].fetch(leases, 150)
        assert batch.more
        while batch.rows:
            assert len(batch.rows) <= 150
            assert [row.position for row in batch.rows] == sorted(row.position for row in batch.rows)
            found += batch.rows
            here = {row.position for row in batch.rows}
            for row in waiting.values():
                assert row.position in here or row.position > batch.high_water_marks[row.partition]
            for row in batch.rows:
                del waiting[row.position]
            _, batch = await stores[OUTBOX].advance(leases, batch.rows, {}, 150)
        assert not batch.more
        assert not waiting
        of_key = [int(row.message.document) for row in found if row.message.key == "busy"]
        assert of_key == list(range(190))

    async def test_a_stale_token_changes_nothing(self, harness: StoresHarness) -> None:
        """A relay whose leases were taken over can neither fetch, remove, reschedule nor dead-letter rows."""
        stores, other = harness.first, await harness.instance()
        stale = await take_partitions(stores, "paused")
        await stage(stores, outgoing("k"))
        rows = (await stores[OUTBOX].fetch(stale, LIMIT)).rows
        fresh = await take_partitions(other, "successor")
        assert await stores[OUTBOX].remove(stale, rows) == 0
        assert not await stores[OUTBOX].reschedule(stale, rows[0], 60, "refused")
        assert not await dead_letter(stores, stale, rows[0], "refused", datetime.now(UTC))
        assert (await stores[OUTBOX].fetch(stale, LIMIT)).rows == []
        assert (await other[OUTBOX].fetch(fresh, LIMIT)).rows == rows
        assert await stores[DEAD_LETTERS].find(DeadLetterFilter()) == []

    async def test_leases_guard_their_own_partition_only(self, harness: StoresHarness) -> None:
        """Rows of a partition that is not leased are neither fetched nor removed."""
        stores = harness.first
        leases = await take_partitions(stores)
        await stage(stores, *(outgoing(f"key-{number}") for number in range(40)))
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        partition = rows[0].partition
        some: Mapping[int, int] = {partition: leases[partition]}
        of_it = [row for row in rows if row.partition == partition]
        assert (await stores[OUTBOX].fetch(some, LIMIT)).rows == of_it
        assert await stores[OUTBOX].remove(some, rows) == len(of_it)
        assert (await stores[OUTBOX].stats()).pending == len(rows) - len(of_it)
        assert (await stores[OUTBOX].fetch({}, LIMIT)).rows == []

    async def test_a_rescheduled_row_blocks_its_key_alone(self, harness: StoresHarness) -> None:
        """All rows of the key wait, also later ones; other keys continue; then the row is fetched again, with the
        attempt counted.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        await stage(stores, outgoing("bad", b"b1"), outgoing("bad", b"b2"), outgoing("good", b"g1"))
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert await stores[OUTBOX].reschedule(leases, rows[0], 30, "refused")
        await stage(stores, outgoing("bad", b"b3"), outgoing("good", b"g2"))
        assert documents((await stores[OUTBOX].fetch(leases, LIMIT)).rows) == [b"g1", b"g2"]
        assert (await stores[OUTBOX].stats()).blocked_keys == 1
        harness.clock.advance(31)
        again = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert documents(again) == [b"b1", b"b2", b"g1", b"b3", b"g2"]
        assert [row.attempts for row in again] == [1, 0, 0, 0, 0]
        assert (await stores[OUTBOX].stats()).blocked_keys == 0

    async def test_people_see_what_is_unsent_and_what_holds_it_up(self, harness: StoresHarness) -> None:
        """Oldest first, of all partitions, at most the limit; no lease is needed."""
        stores = harness.first
        await stage(stores, outgoing("bad", b"b1"))
        harness.clock.advance(5)
        await stage(stores, outgoing("bad", b"b2"), outgoing("good", b"g1"))
        leases = await take_partitions(stores)
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
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
        await stage(stores, outgoing("k", b"never"), outgoing("k", b"next"))
        (row, _) = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert await dead_letter(stores, leases, row, "too large", datetime.now(UTC))
        assert not await dead_letter(stores, leases, row, "too large", datetime.now(UTC))
        (letter,) = await stores[DEAD_LETTERS].find(DeadLetterFilter())
        assert letter.direction is Direction.OUTBOUND
        assert letter.document == b"never"
        assert letter.message_id == row.message.id
        assert letter.topic == row.message.topic
        assert letter.detail == "too large"
        assert letter.attempts == 1
        assert documents((await stores[OUTBOX].fetch(leases, LIMIT)).rows) == [b"next"]

    async def test_stats_tell_how_much_and_how_long(self, harness: StoresHarness) -> None:
        """The age is that of the oldest row, 0 where there is none."""
        stores = harness.first
        assert (await stores[OUTBOX].stats()).oldest_seconds == 0
        await stage(stores, outgoing("k"))
        harness.clock.advance(90)
        await stage(stores, outgoing("l"))
        stats = await stores[OUTBOX].stats()
        assert stats.pending == 2
        assert stats.oldest_seconds == pytest.approx(90, abs=1)

    async def test_another_instance_finds_the_same_rows(self, harness: StoresHarness) -> None:
        """After a restart nothing is lost, and new positions are higher."""
        stores = harness.first
        leases = await take_partitions(stores)
        await stage(stores, outgoing("k", b"1"))
        (before,) = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert await stores[OUTBOX].remove(leases, [before]) == 1
        other = await harness.instance()
        await stage(other, outgoing("k", b"2"))
        (after,) = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert after.position > before.position
        assert other[OUTBOX].partitions == stores[OUTBOX].partitions
