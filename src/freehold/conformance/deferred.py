"""The suite of the inbox, second part: deferred messages. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.inbox.store import INBOX, DeferredMessage, IncomingMessage, ReceiveStatus
from freehold.ports import Stores

__all__ = ["DeferredMessagesConformance"]

NEW, DUPLICATE, CANCELLED, NO_EFFECT, BLOCKED = ReceiveStatus
_CONSUMER = "orders"


class _GivenUp(Exception):
    """Ends a transaction with a rollback."""


def message(receipt_key: str, key: str = "k", position: int | None = None) -> IncomingMessage:
    """An incoming message of a partition key."""
    return IncomingMessage(receipt_key=receipt_key, topic="orders.commands", key=key, deferred_position=position)


async def defer(
    stores: Stores,
    arrival: IncomingMessage,
    *,
    delay_seconds: float = 0.0,
    attempts: int = 1,
    consumer: str = _CONSUMER,
) -> None:
    """Defer in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        document = b"\x00" + arrival.receipt_key.encode()
        await stores[INBOX].defer(
            db_tx, consumer, arrival, document, attempts=attempts, delay_seconds=delay_seconds, reason="Failed"
        )


async def claim(stores: Stores, *, limit: int = 10, visibility_timeout_seconds: float = 60.0) -> list[DeferredMessage]:
    """Claim what is due."""
    return list(await stores[INBOX].claim_due(_CONSUMER, limit, visibility_timeout_seconds))


async def claim_one(stores: Stores) -> DeferredMessage:
    """Claim the only message that is due."""
    (claimed,) = await claim(stores)
    return claimed


async def words(stores: Stores, *arrivals: IncomingMessage, consumer: str = _CONSUMER) -> list[ReceiveStatus]:
    """The statuses of messages that are received in a transaction of their own."""
    async with stores.database.begin() as db_tx:
        return [receipt.status for receipt in await stores[INBOX].receive(db_tx, consumer, arrivals)]


async def finish(stores: Stores, claimed: DeferredMessage) -> bool:
    """Finish an attempt in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        return await stores[INBOX].finish(db_tx, claimed)


class DeferredMessagesConformance:
    """What every inbox must do with deferred messages."""

    async def test_whatever_the_reason_says_is_kept(self, harness: StoresHarness) -> None:
        """Readable, also after a reschedule."""
        stores, odd = harness.first, "a\x00b\ud800c" + "x" * 100_000
        arrival = IncomingMessage(receipt_key="odd", topic="t", key="k")
        async with stores.database.begin() as db_tx:
            await stores[INBOX].defer(db_tx, _CONSUMER, arrival, b"{}", attempts=1, delay_seconds=0.0, reason=odd)
        for _ in range(2):
            (kept,) = await stores[INBOX].deferred(_CONSUMER, 10)
            assert kept.reason.startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c")
            assert await stores[INBOX].reschedule(await claim_one(stores), 0.0, odd)

    async def test_a_deferred_message_blocks_its_key_alone(self, harness: StoresHarness) -> None:
        """Later messages of the key are blocked and get no receipt; other keys, topics and consumers continue."""
        stores = harness.first
        await defer(stores, message("1"))
        elsewhere = IncomingMessage(receipt_key="5", topic="orders.events", key="k")
        assert await words(stores, message("2"), message("3", "other"), message("4"), elsewhere) == [
            BLOCKED,
            NEW,
            BLOCKED,
            NEW,
        ]
        assert await words(stores, message("2"), consumer="billing") == [NEW]
        await finish(stores, await claim_one(stores))
        assert await words(stores, message("2"), message("4")) == [NEW, NEW]

    async def test_a_blocked_arrival_leaves_nothing_behind(self, harness: StoresHarness) -> None:
        """A blocked compensation does not cancel its action: both wait in order."""
        stores = harness.first
        await defer(stores, message("act"))
        undo = IncomingMessage(receipt_key="undo", topic="orders.commands", key="k", compensates="act")
        assert await words(stores, undo) == [BLOCKED]
        claimed = await claim_one(stores)
        assert await words(stores, message("act", position=claimed.position)) == [NEW]

    async def test_a_try_comes_first_of_its_key(self, harness: StoresHarness) -> None:
        """A deferred message is blocked only by an earlier one."""
        stores = harness.first
        await defer(stores, message("1"))
        await defer(stores, message("2"))
        first, second = await stores[INBOX].deferred(_CONSUMER, 10)
        assert await words(stores, message("2", position=second.position)) == [BLOCKED]
        assert await words(stores, message("1", position=first.position)) == [NEW]

    async def test_a_claim_tells_everything_of_the_message(self, harness: StoresHarness) -> None:
        """The original document, the counted attempt; it is hidden for the visibility timeout."""
        stores = harness.first
        await defer(stores, message("1", "kéy"), attempts=2)
        claimed = await claim_one(stores)
        assert claimed.document == b"\x001"
        assert (claimed.consumer, claimed.topic, claimed.key) == (_CONSUMER, "orders.commands", "kéy")
        assert (claimed.receipt_key, claimed.attempts, claimed.reason) == ("1", 3, "Failed")
        assert claimed.due_at == harness.clock.now() + timedelta(seconds=60)

    async def test_a_try_is_counted_before_it_begins(self, harness: StoresHarness) -> None:
        """A message that crashes its process is detected: each started attempt is counted, though none ended."""
        await defer(harness.first, message("poison"), attempts=1)
        for attempts in (2, 3, 4):
            killed = await harness.instance()
            assert (await claim_one(killed)).attempts == attempts
            harness.clock.advance(61)

    async def test_only_the_first_of_a_key_is_claimed(self, harness: StoresHarness) -> None:
        """Order within a key is kept; keys do not wait for each other."""
        stores = harness.first
        for receipt_key, key in (("1", "a"), ("2", "a"), ("3", "b")):
            await defer(stores, message(receipt_key, key))
        first = await claim(stores)
        assert [one.receipt_key for one in first] == ["1", "3"]
        assert await claim(stores) == []
        assert await finish(stores, first[0])
        assert [one.receipt_key for one in await claim(stores)] == ["2"]

    async def test_a_message_waits_until_it_is_due(self, harness: StoresHarness) -> None:
        """By the database's time; the first message of a key blocks later ones that are due earlier."""
        stores = harness.first
        assert await stores[INBOX].next_due_seconds(_CONSUMER) is None
        await defer(stores, message("1"), delay_seconds=30)
        await defer(stores, message("2"))
        assert await stores[INBOX].next_due_seconds(_CONSUMER) == pytest.approx(30)
        assert await stores[INBOX].next_due_seconds("billing") is None
        assert await claim(stores) == []
        harness.clock.advance(31)
        assert await stores[INBOX].next_due_seconds(_CONSUMER) == pytest.approx(-1)
        assert (await claim_one(stores)).receipt_key == "1"

    async def test_a_claim_is_limited(self, harness: StoresHarness) -> None:
        """The longest due come first."""
        for number in range(4):
            await defer(harness.first, message(str(number), str(number)), delay_seconds=number)
        harness.clock.advance(10)
        claimed = [await claim(harness.first, limit=3), await claim(harness.first, limit=3)]
        assert [[one.receipt_key for one in some] for some in claimed] == [["0", "1", "2"], ["3"]]

    async def test_what_waits_behind_one_message_is_claimed_after_it(self, harness: StoresHarness) -> None:
        """Many more messages of a key than a claim reads: they block no other key, and each is claimed in order."""
        stores = harness.first
        for number in range(30):
            await defer(stores, message(f"crowd {number}", "crowd"))
        (first,) = await claim(stores, limit=2)
        assert await stores[INBOX].reschedule(first, 600.0, "Failed")
        assert await claim(stores, limit=2) == []
        assert await stores[INBOX].next_due_seconds(_CONSUMER) == 600.0
        await defer(stores, message("other", "other"))
        (other,) = await claim(stores, limit=2)
        assert other.receipt_key == "other"
        assert await finish(stores, other)
        harness.clock.advance(600)
        turns = []
        while claimed := await claim(stores, limit=2):
            assert await finish(stores, claimed[0])
            turns.append(claimed[0].receipt_key)
        assert turns == [f"crowd {number}" for number in range(30)]

    async def test_a_claim_beside_an_end_leaves_nobody_waiting(self, harness: StoresHarness) -> None:
        """A claim that runs while the first message of a key is finished does not leave the next one waiting."""
        stores, other = harness.first, await harness.instance()
        for number in range(12):
            await defer(stores, message(f"m{number}", "k"))
        for number in range(12):
            (claimed,) = await claim(stores, limit=1)
            assert claimed.receipt_key == f"m{number}"
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(claim(other, limit=1)) for _ in range(3)]
                group.create_task(finish(stores, claimed))
            for look in looks:
                for taken in look.result():
                    assert await other[INBOX].reschedule(taken, 0.0, "released")
        assert await claim(stores) == []
        assert await stores[INBOX].next_due_seconds(_CONSUMER) is None

    async def test_two_instances_never_claim_the_same_message(self, harness: StoresHarness) -> None:
        """Claims at the same time share the messages."""
        for number in range(20):
            await defer(harness.first, message(str(number), str(number)))
        instances = [harness.first, await harness.instance(), await harness.instance()]
        claims = await asyncio.gather(*(claim(stores, limit=7) for stores in instances))
        claimed = [one.receipt_key for some in claims for one in some]
        assert len(claimed) == len(set(claimed))
        while more := await claim(harness.first, limit=7):
            claimed += [one.receipt_key for one in more]
        assert sorted(claimed) == sorted(str(number) for number in range(20))

    async def test_a_stale_claim_ends_nothing(self, harness: StoresHarness) -> None:
        """After another instance has claimed the message, the first claim can neither finish nor reschedule it."""
        stores, other = harness.first, await harness.instance()
        await defer(stores, message("1"))
        slow = await claim_one(stores)
        harness.clock.advance(61)
        current = await claim_one(other)
        assert not await finish(stores, slow)
        assert not await stores[INBOX].reschedule(slow, 5, "Late")
        assert await finish(other, current)
        assert not await finish(other, current)
        assert not await other[INBOX].reschedule(current, 5, "Late")

    async def test_a_claim_that_is_given_back_counts_for_no_attempt(self, harness: StoresHarness) -> None:
        """It can be claimed again at once; only the latest claim can be released, and only once."""
        stores, other = harness.first, await harness.instance()
        await defer(stores, message("1"))
        for _ in range(3):
            claimed = await claim_one(stores)
            assert claimed.attempts == 2
            assert await stores[INBOX].release(claimed)
            assert not await stores[INBOX].release(claimed)
            assert not await finish(stores, claimed)
        slow = await claim_one(stores)
        harness.clock.advance(61)
        current = await claim_one(other)
        assert current.attempts == 3
        assert not await stores[INBOX].release(slow)
        assert await finish(other, current)

    async def test_finishing_belongs_to_the_transaction(self, harness: StoresHarness) -> None:
        """After a rollback the attempt is not finished."""
        stores = harness.first
        await defer(stores, message("1"))
        claimed = await claim_one(stores)
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                assert await stores[INBOX].finish(db_tx, claimed)
                raise _GivenUp
        assert await stores[INBOX].reschedule(claimed, 5, "Again")
        (waiting,) = await stores[INBOX].deferred(None, 10)
        assert (waiting.reason, waiting.attempts) == ("Again", 2)
        assert waiting.due_at == harness.clock.now() + timedelta(seconds=5)

    async def test_a_message_being_finished_is_not_claimed(self, harness: StoresHarness) -> None:
        """A claim skips a message that another transaction is finishing, or waits for that transaction."""
        stores, other = harness.first, await harness.instance()
        await defer(stores, message("1"))
        claimed = await claim_one(stores)
        harness.clock.advance(61)
        async with stores.database.begin() as db_tx:
            assert await stores[INBOX].finish(db_tx, claimed)
            attempt = asyncio.create_task(claim(other))
            await has_to_wait(attempt)
        assert await attempt == []

    async def test_deferring_belongs_to_the_transaction(self, harness: StoresHarness) -> None:
        """After a rollback nothing is deferred; within the transaction the deferred message is visible at once."""
        stores = harness.first
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                await stores[INBOX].defer(
                    db_tx, _CONSUMER, message("1"), b"1", attempts=1, delay_seconds=0, reason="Failed"
                )
                (receipt,) = await stores[INBOX].receive(db_tx, _CONSUMER, [message("2")])
                assert receipt.status is BLOCKED
                raise _GivenUp
        assert await words(stores, message("2")) == [NEW]

    async def test_people_see_what_is_deferred(self, harness: StoresHarness) -> None:
        """Oldest first, by consumer; the age is for alarms."""
        stores = harness.first
        empty = await stores[INBOX].stats()
        assert (empty.pending, empty.keys, empty.oldest_seconds) == (0, 0, 0.0)
        await defer(stores, message("1", "a"), delay_seconds=500)
        harness.clock.advance(40)
        await defer(stores, message("2", "a"))
        await defer(stores, message("3", "b"), consumer="billing")
        stats = await stores[INBOX].stats()
        assert (stats.pending, stats.keys) == (3, 2)
        assert stats.oldest_seconds == pytest.approx(40)
        assert [one.receipt_key for one in await stores[INBOX].deferred(None, 10)] == ["1", "2", "3"]
        assert [one.receipt_key for one in await stores[INBOX].deferred(None, 2)] == ["1", "2"]
        assert [one.receipt_key for one in await stores[INBOX].deferred("billing", 10)] == ["3"]
