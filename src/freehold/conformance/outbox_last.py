"""The part of the outbox's suite about messages that are a transaction's last write. Bound with `outbox`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from freehold.broker import OutgoingMessage
from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.conformance.outbox_marks import LIMIT, documents, outgoing, take_partitions
from freehold.errors import TransactionEnded
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores

__all__ = ["OutboxLastWriteConformance"]

_ODD_KEY = "ä'$1;-- \\'\U0001f600 freehold_outbox \\"
_ODD_DOCUMENT = bytes(range(256)) + b"'; ROLLBACK; --\\"


async def _stage_last(stores: Stores, *messages: OutgoingMessage) -> list[int]:
    """Stage messages as the last write of a transaction of their own; returns their positions."""
    told: list[int] = []
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage_last(db_tx, messages, told.extend)
    return told


class OutboxLastWriteConformance:
    """What every outbox must do with messages that are the last write of a transaction."""

    async def test_what_is_staged_last_appears_with_the_commit(self, harness: StoresHarness) -> None:
        """Unchanged, whatever characters and bytes it has; its position is known when the block has ended."""
        stores = harness.first
        leases = await take_partitions(stores)
        message = outgoing(_ODD_KEY, _ODD_DOCUMENT)
        told: list[Sequence[int]] = []
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage_last(db_tx, [message], told.append)
            assert (await stores[OUTBOX].fetch(leases, LIMIT)).rows == []
        (row,) = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert row.message == message
        assert [list(positions) for positions in told] == [[row.position]]

    async def test_many_staged_last_keep_the_order_given(self, harness: StoresHarness) -> None:
        """After what was staged before, over all keys, in any number, and however long the documents are."""
        stores = harness.first
        leases = await take_partitions(stores)
        sizes = (1, 0, 2, 7, 100)
        messages = [
            outgoing(f"key-{number % 7}{_ODD_KEY}", f"{number}".encode() * (1 + 10_000 * (number % 9 == 0)))
            for number in range(1 + sum(sizes))
        ]
        told: list[int] = []
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, messages[:1])
            at = 1
            for size in sizes:
                await stores[OUTBOX].stage_last(db_tx, messages[at : at + size], told.extend if size else None)
                at += size
        rows = (await stores[OUTBOX].fetch(leases, LIMIT)).rows
        assert {row.message.id for row in rows} == {message.id for message in messages}
        assert sorted(told) == [row.position for row in rows][1:]
        for key in {message.key for message in messages}:
            of_key = [message.document for message in messages if message.key == key]
            assert [row.message.document for row in rows if row.message.key == key] == of_key

    async def test_a_rollback_leaves_nothing_that_was_staged_last(self, harness: StoresHarness) -> None:
        """An exception after it."""
        stores = harness.first
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage_last(db_tx, [outgoing("k")])
                _ = 1 / 0
        assert (await stores[OUTBOX].stats()).pending == 0
        assert len(await _stage_last(stores, outgoing("k"))) == 1
        assert (await stores[OUTBOX].stats()).pending == 1

    async def test_nothing_is_staged_last_after_the_end(self, harness: StoresHarness) -> None:
        """It is refused, and has no effect on another transaction."""
        stores = harness.first
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage_last(db_tx, [outgoing("k")])
        with pytest.raises(TransactionEnded):
            await stores[OUTBOX].stage_last(db_tx, [outgoing("late")])
        assert (await stores[OUTBOX].stats()).pending == 1

    async def test_a_last_write_waits_for_transactions_of_its_key(self, harness: StoresHarness) -> None:
        """The transaction that waits has the greater position. A cancellation meanwhile leaves all of it, or nothing,
        and a connection that can be used.
        """
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("k", b"first")])
            second = asyncio.create_task(_stage_last(other, outgoing("k", b"second")))
            assert await has_to_wait(second)
            second.cancel()
            assert (await stores[OUTBOX].fetch(leases, LIMIT)).rows == []
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(second, 30)
        await _stage_last(other, outgoing("k", b"third"))
        found = documents((await stores[OUTBOX].fetch(leases, LIMIT)).rows)
        assert found in ([b"first", b"second", b"third"], [b"first", b"third"])

    async def test_keys_in_any_order_staged_last_cause_no_deadlock(self, harness: StoresHarness) -> None:
        """Each transaction has the same keys in another order."""
        stores = harness.first
        keys = [f"key-{number}" for number in range(6)]

        async def work(turn: int) -> None:
            rotated = keys[turn % 6 :] + keys[: turn % 6]
            await _stage_last(stores, *(outgoing(key) for key in (rotated if turn % 2 else rotated[::-1])))

        async with asyncio.TaskGroup() as group:
            for turn in range(24):
                group.create_task(work(turn))
        assert (await stores[OUTBOX].stats()).pending == 24 * 6

    async def test_last_writes_of_one_row_keep_the_marks_and_the_order_of_a_key(self, harness: StoresHarness) -> None:
        """While many transactions write one row each, a new row is above each mark that was reported before, and above
        each row of its key that was read before.
        """
        stores, other = harness.first, await harness.instance()
        leases = await take_partitions(stores)
        seen: set[int] = set()
        highest: dict[str, int] = {}
        mark = 0

        async def look() -> None:
            nonlocal mark
            fetched = await stores[OUTBOX].fetch(leases, LIMIT)
            for row in fetched.rows:
                if row.position not in seen:
                    assert row.position > max(mark, highest.get(row.message.key, 0))
                    highest[row.message.key] = row.position
                    seen.add(row.position)
            mark = max(mark, *fetched.high_water_marks.values())

        async def write(writer: Stores, turn: int) -> None:
            for number in range(12):
                message = outgoing(f"key-{(turn + number) % 5}")
                async with writer.database.begin() as db_tx:
                    if number % 4 == 3:
                        await writer[OUTBOX].stage(db_tx, [message])
                        await asyncio.sleep(0.002 * (number % 3))  # a slow transaction, with its marker held
                    else:
                        await writer[OUTBOX].stage_last(db_tx, [message])

        writers = [asyncio.create_task(write(other if turn % 2 else stores, turn)) for turn in range(6)]
        while (await asyncio.wait(writers, timeout=0.001))[1]:
            await look()
        await asyncio.gather(*writers)
        await look()
        assert len(seen) == 6 * 12
        assert mark >= max(seen)
