"""The suite of the port of sent messages. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.conformance.outbox import outgoing, take_partitions
from freehold.outbox.log import BROKER_LOGS, BrokerLog
from freehold.outbox.sent import SENT, SentAgain
from freehold.outbox.store import OUTBOX, LossState, StagedMessage
from freehold.ports import Stores

__all__ = ["SentStoreConformance"]

_LIMIT: Final = 1000


async def _stage(stores: Stores, *documents: bytes, key: str = "k") -> None:
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing(key, document) for document in documents])


async def _rows(stores: Stores, leases: Mapping[int, int]) -> Sequence[StagedMessage]:
    return (await stores[OUTBOX].fetch(leases, _LIMIT)).rows


async def _confirm(stores: Stores, leases: Mapping[int, int]) -> Sequence[StagedMessage]:
    """Remove all rows, and keep them as sent messages."""
    rows = await _rows(stores, leases)
    assert await stores[OUTBOX].remove(leases, rows, keep=LossState()) == len(rows)
    return rows


async def _lose(stores: Stores, identity: str) -> BrokerLog:
    """Note another log in the broker's place: a loss."""
    return await stores[BROKER_LOGS].note("here", identity)


async def _publish(stores: Stores, leases: Mapping[int, int], limit: int = _LIMIT) -> list[bytes]:
    """Like a relay: recall what rows wait for, fetch, and keep what was published."""
    await stores[SENT].recall(leases, limit)
    fetched = await stores[OUTBOX].fetch(leases, limit)
    await stores[OUTBOX].remove(leases, fetched.rows, keep=fetched.loss)
    return _documents(fetched.rows)


async def _again(
    stores: Stores, *, within_seconds: float = 9e5, after: int = 0, through: int | None = None, limit: int = _LIMIT
) -> SentAgain:
    kept = await stores[SENT].kept()
    through = (kept.last_position or 0) if through is None else through
    async with stores.database.begin() as db_tx:
        since = kept.now - timedelta(seconds=within_seconds)
        return await stores[SENT].send_again(db_tx, since, after, through, limit)


def _documents(rows: Sequence[StagedMessage]) -> list[bytes]:
    return [row.message.document for row in rows]


class SentStoreConformance:
    """What every store of sent messages must do."""

    async def test_what_is_removed_is_kept_where_that_is_asked_for(self, harness: StoresHarness) -> None:
        """With or without a pending watermark of its partition; rows that are removed without `keep` are deleted."""
        stores = harness.first
        leases = await take_partitions(stores)
        assert (await stores[SENT].kept()).last_position is None
        await _stage(stores, b"gone", b"one", b"two")
        rows = await _rows(stores, leases)
        assert await stores[OUTBOX].remove(leases, rows[:1]) == 1
        assert (await stores[SENT].kept()).last_position is None
        assert await stores[OUTBOX].remove(leases, rows[1:2], keep=LossState()) == 1
        assert await stores[OUTBOX].remove(leases, rows[1:2], keep=LossState()) == 0
        pending_watermarks = {rows[2].partition: rows[2].position}
        assert await stores[OUTBOX].remove(leases, rows[2:], pending_watermarks, keep=LossState()) == 1
        assert (await stores[OUTBOX].fetch(leases, _LIMIT)).pending_watermarks == pending_watermarks
        kept = await stores[SENT].kept()
        assert (kept.oldest_at, kept.last_position) == (kept.now, rows[2].position)
        assert (await _again(stores)).moved == 2
        assert await _rows(stores, leases) == rows[1:]

    async def test_a_stale_token_keeps_nothing(self, harness: StoresHarness) -> None:
        """The row stays in the outbox, for the relay that has the lease now."""
        stores = harness.first
        stale = await take_partitions(stores, "paused")
        await _stage(stores, b"one")
        rows = await _rows(stores, stale)
        fresh = await take_partitions(stores, "successor")
        assert await stores[OUTBOX].remove(stale, rows, {rows[0].partition: rows[0].position}, keep=LossState()) == 0
        assert (await stores[SENT].kept()).last_position is None
        assert await _rows(stores, fresh) == rows

    async def test_sent_again_is_at_its_old_place(self, harness: StoresHarness) -> None:
        """Before messages that were staged later, in the original order; new positions are higher."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, b"1", b"2")
        await _stage(stores, b"3", key="other")
        first = await _confirm(stores, leases)
        await _stage(stores, b"4")
        assert (await _again(stores)).moved == 3
        rows = await _rows(stores, leases)
        assert _documents(rows) == [b"1", b"2", b"3", b"4"]
        assert rows[:3] == first
        assert (await stores[SENT].kept()).last_position is None
        await _confirm(stores, leases)
        await _stage(stores, b"5")
        (last,) = await _rows(stores, leases)
        assert last.position > rows[-1].position

    async def test_high_water_marks_stay_true_while_messages_are_sent_again(self, harness: StoresHarness) -> None:
        """Where the limit cuts off the moved rows, so is the high-water mark."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, *(str(number).encode() for number in range(6)))
        await _confirm(stores, leases)
        await _stage(stores, b"new")
        await _again(stores)
        fetched = await stores[OUTBOX].fetch(leases, 3)
        assert _documents(fetched.rows) == [b"0", b"1", b"2"]
        assert set(fetched.high_water_marks.values()) == {fetched.rows[-1].position}

    async def test_steps_go_on_where_the_one_before_has_ended(self, harness: StoresHarness) -> None:
        """In steps with a limit, up to the last message at the beginning, so that a message that is confirmed again
        meanwhile is not moved a second time.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, *(str(number).encode() for number in range(5)))
        rows = await _confirm(stores, leases)
        through = rows[-1].position
        step = await _again(stores, limit=2)
        assert step == SentAgain(2, rows[1].position, done=False)
        await _confirm(stores, leases)
        await _stage(stores, b"new")
        await _confirm(stores, leases)
        moved = []
        while not step.done:
            step = await _again(stores, after=step.position, through=through, limit=2)
            moved.append(step.moved)
            assert b"new" not in _documents(await _confirm(stores, leases))
        assert sum(moved) == 3

    async def test_only_what_was_confirmed_since_is_sent_again(self, harness: StoresHarness) -> None:
        """The first confirmation counts, also for a message that was sent again."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, b"old")
        await _confirm(stores, leases)
        harness.clock.advance(100)
        await _stage(stores, b"young")
        await _confirm(stores, leases)
        assert (await _again(stores, within_seconds=50)).moved == 1
        assert _documents(await _confirm(stores, leases)) == [b"young"]
        assert (await _again(stores)).moved == 2
        await _confirm(stores, leases)
        kept = await stores[SENT].kept()
        assert kept.oldest_at == kept.now - timedelta(seconds=100)
        assert (await _again(stores, within_seconds=50)).moved == 1

    async def test_two_at_once_send_each_message_again_once(self, harness: StoresHarness) -> None:
        """A second call finds nothing to move, because the messages are in the outbox already."""
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        await _stage(stores, *(str(number).encode() for number in range(40)))
        await _confirm(stores, leases)
        steps = await asyncio.gather(_again(stores), _again(other), _again(stores, limit=7), _again(other, limit=30))
        assert sum(step.moved for step in steps) == 40
        assert (await _again(stores)).moved == 0
        assert len(await _rows(stores, leases)) == 40

    async def test_what_a_loss_has_taken_of_a_key_goes_before_what_is_newer_of_it(self, harness: StoresHarness) -> None:
        """A newer row of the key waits for it; other keys do not wait."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _lose(stores, "first")
        await _stage(stores, b"a1", b"a2", key="a")
        await _stage(stores, b"b1", key="b")
        await _confirm(stores, leases)
        await _stage(stores, b"a3", key="a")
        await _stage(stores, b"c1", key="c")
        assert await stores[SENT].recall(leases, _LIMIT) == 0
        assert _documents(await _rows(stores, leases)) == [b"a3", b"c1"]
        await _lose(stores, "second")
        fetched = await stores[OUTBOX].fetch(leases, _LIMIT)
        assert (_documents(fetched.rows), fetched.loss) == ([b"c1"], LossState(1, open=True))
        assert await stores[SENT].recall(leases, 1) == 1
        assert _documents(await _rows(stores, leases)) == [b"a1", b"c1"]
        assert await stores[SENT].recall(leases, _LIMIT) == 1
        assert await stores[SENT].recall(leases, _LIMIT) == 0
        assert await _publish(stores, leases) == [b"a1", b"a2", b"a3", b"c1"]
        await _stage(stores, b"a4", key="a")
        await _stage(stores, b"b2", key="b")
        assert await _publish(stores, leases) == [b"b1", b"a4", b"b2"]
        assert await _rows(stores, leases) == []

    async def test_each_loss_takes_what_was_published_before_it(self, harness: StoresHarness) -> None:
        """A message that was sent again after the first loss is lost with the second; a row that was fetched before a
        loss was recorded counts as lost, wherever it was published.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        await _lose(stores, "first")
        await _stage(stores, b"1")
        await _confirm(stores, leases)
        await _lose(stores, "second")
        await _stage(stores, b"2")
        assert await _publish(stores, leases) == [b"1", b"2"]
        await _stage(stores, b"3")
        before = await stores[OUTBOX].fetch(leases, _LIMIT)
        await _lose(stores, "third")
        await stores[OUTBOX].remove(leases, before.rows, keep=before.loss)
        await _stage(stores, b"4")
        assert await _publish(stores, leases) == [b"1", b"2", b"3", b"4"]
        await _stage(stores, b"5")
        assert await _publish(stores, leases) == [b"5"]

    async def test_nothing_waits_for_a_loss_that_was_ended_or_is_too_old(self, harness: StoresHarness) -> None:
        """Messages of an ended loss are not sent; receipts of messages that were confirmed long ago may have been
        pruned.
        """
        stores = harness.first
        leases = await take_partitions(stores)
        await _lose(stores, "first")
        await _stage(stores, b"1")
        await _confirm(stores, leases)
        await _stage(stores, b"2")
        lost = await _lose(stores, "second")
        assert await _rows(stores, leases) == []
        harness.clock.advance(100)
        assert await stores[SENT].recall(leases, _LIMIT, recall_seconds=50) == 0
        assert _documents((await stores[OUTBOX].fetch(leases, _LIMIT, recall_seconds=50)).rows) == [b"2"]
        async with stores.database.begin() as db_tx:
            assert await stores[BROKER_LOGS].end_loss(db_tx, lost)
        assert await stores[SENT].recall(leases, _LIMIT) == 0
        assert _documents(await _rows(stores, leases)) == [b"2"]

    async def test_a_key_that_is_blocked_is_recalled_when_its_time_has_come(self, harness: StoresHarness) -> None:
        """And it blocks the recall of no other key."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _lose(stores, "first")
        await _stage(stores, b"a1", key="a")
        await _stage(stores, b"b1", key="b")
        await _confirm(stores, leases)
        await _stage(stores, b"a2", key="a")
        (row,) = await _rows(stores, leases)
        assert await stores[OUTBOX].reschedule(leases, row, 60, "refused")
        await _stage(stores, b"b2", key="b")
        await _lose(stores, "second")
        assert await stores[SENT].recall(leases, 1) == 1
        assert await _publish(stores, leases) == [b"b1", b"b2"]
        harness.clock.advance(61)
        assert await _publish(stores, leases) == [b"a1", b"a2"]

    async def test_relays_and_a_resend_at_once_keep_the_order_of_each_key(self, harness: StoresHarness) -> None:
        """Whichever moves a row, the fetched rows of a key rise from the oldest lost one."""
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        await _lose(stores, "first")
        for number in range(30):
            await _stage(stores, str(number).encode(), key=f"key-{number % 3}")
        await _confirm(stores, leases)
        await _lose(stores, "second")
        for number in range(30, 36):
            await _stage(stores, str(number).encode(), key=f"key-{number % 3}")
        published: list[int] = []

        async def relay() -> None:
            while len(set(published)) < 36:
                published.extend(int(document) for document in await _publish(stores, leases, 4))

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(relay())
            tasks.create_task(_again(other, limit=5))
            tasks.create_task(_again(other, after=10, limit=7))
        for key in range(3):
            first_times = list(dict.fromkeys(number for number in published if number % 3 == key))
            assert first_times == sorted(first_times)

    async def test_a_rollback_moves_nothing(self, harness: StoresHarness) -> None:
        """A process that is killed while it moves messages leaves them where they were."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores, b"one", b"two")
        await _confirm(stores, leases)
        kept = await stores[SENT].kept()
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                assert (await stores[SENT].send_again(db_tx, kept.now, 0, kept.last_position or 0, 10)).moved == 2
                _ = 1 / 0
        assert await _rows(stores, leases) == []
        assert (await _again(stores)).moved == 2

    async def test_prune_deletes_the_oldest(self, harness: StoresHarness) -> None:
        """By the first confirmation, at most the limit in one call; newer ones stay."""
        stores = harness.first
        leases = await take_partitions(stores)
        for number in range(4):
            await _stage(stores, str(number).encode())
            await _confirm(stores, leases)
            harness.clock.advance(10)
        assert (await _again(stores, within_seconds=15)).moved == 1
        await _confirm(stores, leases)
        assert await stores[SENT].prune(15, 2) == 2
        assert await stores[SENT].prune(15, 2) == 1
        assert await stores[SENT].prune(15, 2) == 0
        await _again(stores)
        assert _documents(await _rows(stores, leases)) == [b"3"]
