"""The suite of the dead letters. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.deadletters.store import (
    DEAD_LETTERS,
    DeadLetter,
    DeadLetterBacklog,
    DeadLetterFilter,
    DeadLetterStatus,
    Direction,
)
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.ids import new_id
from freehold.ports import Stores

__all__ = ["DeadLetterStoreConformance"]


class _GivenUp(Exception):
    """Ends a transaction with a rollback."""


def letter(
    harness: StoresHarness, *, consumer: str = "orders", type: str = "a.b", reason: str = "invalid-body"
) -> DeadLetter:
    """A dead letter with the present time."""
    return DeadLetter(
        id=new_id(),
        direction=Direction.INBOUND,
        consumer=consumer,
        topic="orders.commands",
        key="kéy",
        message_id=new_id(),
        type=type,
        reason=reason,
        error_type="CodecError",
        detail="does not fit at $.lines",
        attempts=3,
        failed_at=harness.clock.now(),
        status=DeadLetterStatus.DEAD,
        document=b'\x00\xff{"not": json',
    )


async def add(stores: Stores, *letters: DeadLetter) -> None:
    """Add dead letters in a transaction of their own."""
    async with stores.database.begin() as db_tx:
        for one in letters:
            await stores[DEAD_LETTERS].add(db_tx, one)


async def mark(stores: Stores, kept: DeadLetter, status: DeadLetterStatus) -> None:
    """Set a final status in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        await stores[DEAD_LETTERS].mark(db_tx, kept.id, status, None)


class DeadLetterStoreConformance:
    """What every store of dead letters must do. Bind it with a `harness` fixture."""

    async def test_a_letter_comes_back_as_it_was(self, harness: StoresHarness) -> None:
        """Including bytes that are not text; an unknown id raises an error."""
        kept = letter(harness)
        broken = replace(letter(harness), message_id=None, direction=Direction.OUTBOUND, type="")
        await add(harness.first, kept, broken)
        async with harness.first.database.begin() as db_tx:
            assert await harness.first[DEAD_LETTERS].get(db_tx, kept.id) == kept
            assert await harness.first[DEAD_LETTERS].get(db_tx, broken.id) == broken
            with pytest.raises(NotFound):
                await harness.first[DEAD_LETTERS].get(db_tx, new_id())

    async def test_whatever_an_error_is_called_and_says_is_kept(self, harness: StoresHarness) -> None:
        """Readable, and cut off at a limit: an error text that cannot be stored would block the message."""
        odd = "a\x00b\ud800c\x1b[0m" + "x" * 100_000
        await add(harness.first, replace(letter(harness), reason=odd, error_type=odd, detail=odd))
        (kept,) = await harness.first[DEAD_LETTERS].find(DeadLetterFilter())
        for text in (kept.reason, kept.error_type, kept.detail):
            assert text.startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c")
            assert len(text) <= 10_000

    async def test_a_letter_belongs_to_the_transaction(self, harness: StoresHarness) -> None:
        """The removal of the message and the dead letter are committed together or not at all."""
        stores = harness.first
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                await stores[DEAD_LETTERS].add(db_tx, letter(harness))
                raise _GivenUp
        assert list(await stores[DEAD_LETTERS].find(DeadLetterFilter(status=None))) == []

    async def test_letters_are_found_newest_first(self, harness: StoresHarness) -> None:
        """By every part of the filter, and at most the limit."""
        kept = []
        for consumer, name, reason in (("a", "x", "r"), ("b", "x", "r"), ("a", "y", "r"), ("a", "x", "s")):
            kept.append(letter(harness, consumer=consumer, type=name, reason=reason))
            harness.clock.advance(1)
        await add(harness.first, *kept)
        newest = kept[::-1]

        async def find(**wanted: Any) -> list[DeadLetter]:
            return list(await harness.first[DEAD_LETTERS].find(replace(DeadLetterFilter(), **wanted)))

        assert await find() == newest
        assert await find(limit=2) == newest[:2]
        assert await find(consumer="a") == [newest[0], newest[1], newest[3]]
        assert await find(consumer="a", type="x") == [newest[0], newest[3]]
        assert await find(consumer="a", type="x", reason="r") == [newest[3]]
        assert await find(status=DeadLetterStatus.DISCARDED) == []
        assert await find(id=kept[1].id, status=None) == [kept[1]]
        assert await find(id=kept[1].id, consumer="a") == await find(id=new_id()) == []
        assert await find(id=kept[1].id, status=DeadLetterStatus.DISCARDED) == []

    async def test_pages_follow_one_another(self, harness: StoresHarness) -> None:
        """Also with equal times, and without dead letters that were added after the first page."""
        kept = [letter(harness) for _ in range(4)]
        harness.clock.advance(1)
        kept.append(letter(harness))
        await add(harness.first, *kept)
        newest = sorted(kept, key=lambda each: (each.failed_at, each.id), reverse=True)
        wanted = DeadLetterFilter(consumer="orders", limit=2)
        found: list[DeadLetter] = []
        while page := await harness.first[DEAD_LETTERS].find(wanted):
            found += page
            wanted = replace(wanted, after=(page[-1].failed_at, page[-1].id))
            harness.clock.advance(1)
            await add(harness.first, letter(harness))
        assert found == newest

    async def test_an_edit_keeps_the_original(self, harness: StoresHarness) -> None:
        """The edited document is stored beside it; the last edit counts."""
        stores, kept = harness.first, letter(harness)
        await add(stores, kept)
        async with stores.database.begin() as db_tx:
            await stores[DEAD_LETTERS].edit(db_tx, kept.id, b"first")
            await stores[DEAD_LETTERS].edit(db_tx, kept.id, b"\x00second")
            with pytest.raises(NotFound):
                await stores[DEAD_LETTERS].edit(db_tx, new_id(), b"nothing")
        assert list(await stores[DEAD_LETTERS].find(DeadLetterFilter())) == [replace(kept, edited=b"\x00second")]

    async def test_a_letter_ends_once(self, harness: StoresHarness) -> None:
        """After a replay or discard it can be neither edited nor ended again."""
        stores, kept, replay = harness.first, letter(harness), new_id()
        await add(stores, kept)
        async with stores.database.begin() as db_tx:
            await stores[DEAD_LETTERS].mark(db_tx, kept.id, DeadLetterStatus.REPLAYED, replay)
        for status in (DeadLetterStatus.REPLAYED, DeadLetterStatus.DISCARDED):
            with pytest.raises(ConcurrencyConflict):
                await mark(stores, kept, status)
        with pytest.raises(ConcurrencyConflict):
            async with stores.database.begin() as db_tx:
                await stores[DEAD_LETTERS].edit(db_tx, kept.id, b"late")
        with pytest.raises(NotFound):
            await mark(stores, letter(harness), DeadLetterStatus.DISCARDED)
        found = await stores[DEAD_LETTERS].find(DeadLetterFilter(status=DeadLetterStatus.REPLAYED))
        assert list(found) == [replace(kept, status=DeadLetterStatus.REPLAYED, replayed_as=replay)]

    async def test_two_people_cannot_replay_the_same_letter(self, harness: StoresHarness) -> None:
        """`get` locks it: the second operator waits, and gets the final status."""
        stores, other, kept = harness.first, await harness.instance(), letter(harness)
        await add(stores, kept)

        async def look() -> DeadLetterStatus:
            async with other.database.begin() as db_tx:
                return (await other[DEAD_LETTERS].get(db_tx, kept.id)).status

        async with stores.database.begin() as db_tx:
            await stores[DEAD_LETTERS].get(db_tx, kept.id)
            second = asyncio.create_task(look())
            assert await has_to_wait(second)
            await stores[DEAD_LETTERS].mark(db_tx, kept.id, DeadLetterStatus.DISCARDED, None)
        assert await second is DeadLetterStatus.DISCARDED

    async def test_dead_ones_are_counted_by_reason(self, harness: StoresHarness) -> None:
        """Replayed and discarded ones are not counted."""
        letters = [
            letter(harness, reason=reason)
            for reason in ("invalid-body", "invalid-body", "rejected-by-broker", "rejected-by-broker")
        ]
        await add(harness.first, *letters)
        await mark(harness.first, letters[0], DeadLetterStatus.DISCARDED)
        assert await harness.first[DEAD_LETTERS].count() == {"invalid-body": 1, "rejected-by-broker": 2}

    async def test_the_oldest_dead_one_of_each_reason_is_known(self, harness: StoresHarness) -> None:
        """Replayed and discarded ones are neither counted nor the oldest."""
        now, store = harness.clock.now(), harness.first[DEAD_LETTERS]
        assert await store.backlog() == {}
        ages = {"invalid-body": (90, 50, 10), "rejected-by-broker": (30,), "unknown-type": (20,)}
        letters = {
            (reason, age): replace(letter(harness, reason=reason), failed_at=now - timedelta(seconds=age))
            for reason, all_of_them in ages.items()
            for age in all_of_them
        }
        await add(harness.first, *letters.values())
        for ended in (("invalid-body", 90), ("unknown-type", 20)):
            await mark(harness.first, letters[ended], DeadLetterStatus.DISCARDED)
        assert await store.backlog() == {
            "invalid-body": DeadLetterBacklog(2, now - timedelta(seconds=50)),
            "rejected-by-broker": DeadLetterBacklog(1, now - timedelta(seconds=30)),
        }

    async def test_only_what_ended_long_ago_is_pruned(self, harness: StoresHarness) -> None:
        """The age counts from the replay or discard; an undecided dead letter stays, however old."""
        stores = harness.first
        letters = [replace(letter(harness), failed_at=harness.clock.now() - timedelta(days=90)) for _ in range(5)]
        await add(stores, *letters)
        for one in letters[:3]:
            await mark(stores, one, DeadLetterStatus.DISCARDED)
        assert await stores[DEAD_LETTERS].prune(60, limit=100) == 0
        harness.clock.advance(61)
        await mark(stores, letters[3], DeadLetterStatus.DISCARDED)
        assert await stores[DEAD_LETTERS].prune(60, limit=2) == 2
        assert await stores[DEAD_LETTERS].prune(60, limit=2) == 1
        left = await stores[DEAD_LETTERS].find(DeadLetterFilter(status=None))
        assert {one.id for one in left} == {letters[3].id, letters[4].id}
