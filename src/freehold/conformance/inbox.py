"""The suite of the inbox: receipts here, deferred messages in `deferred`. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from freehold.conformance.deferred import DeferredMessagesConformance
from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.errors import ConcurrencyConflict
from freehold.ids import new_id
from freehold.inbox.reply import HEADER_OUTCOME, OUTCOME_DONE, OUTCOME_REJECTED, REPLY_TYPE, REPLY_VERSION
from freehold.inbox.store import INBOX, IncomingMessage, ReceiveResult, ReceiveStatus
from freehold.messages import Envelope, MessageKind, encode_envelope
from freehold.ports import Stores

__all__ = ["InboxStoreConformance", "ReceiptsConformance"]

NEW, DUPLICATE, CANCELLED, NO_EFFECT, BLOCKED = ReceiveStatus
_CONSUMER = "orders"


class _GivenUp(Exception):
    """Ends a transaction with a rollback."""


def arrival(key: str, *, compensates: str | None = None, partition_key: str = "k") -> IncomingMessage:
    """An incoming message with a receipt key."""
    return IncomingMessage(receipt_key=key, topic="orders.commands", key=partition_key, compensates=compensates)


async def receive(stores: Stores, *arrivals: IncomingMessage, consumer: str = _CONSUMER) -> Sequence[ReceiveResult]:
    """Receive in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        return await stores[INBOX].receive(db_tx, consumer, arrivals)


def _reply(outcome: str) -> bytes:
    """The document of a reply with an outcome."""
    now = datetime.now(UTC)
    return encode_envelope(
        Envelope(
            id=new_id(),
            type=REPLY_TYPE,
            version=REPLY_VERSION,
            kind=MessageKind.REPLY,
            source="orders",
            topic="shop.replies",
            key="k",
            time=now,
            hlc=1,
            correlation_id=new_id(),
            causation_id=new_id(),
            headers={HEADER_OUTCOME: outcome},
            body=b"{}",
        )
    )


async def words(stores: Stores, *arrivals: IncomingMessage, consumer: str = _CONSUMER) -> list[ReceiveStatus]:
    """The statuses of messages that are received in a transaction of their own."""
    return [receipt.status for receipt in await receive(stores, *arrivals, consumer=consumer)]


class ReceiptsConformance:
    """What every inbox must do with incoming messages."""

    async def test_people_see_when_a_message_was_handled(self, harness: StoresHarness) -> None:
        """By its receipt, for each consumer."""
        at = harness.clock.now()
        assert await words(harness.first, arrival("a")) == [NEW]
        harness.clock.advance(5)
        assert await harness.first[INBOX].received_at(_CONSUMER, "a") == at
        assert await harness.first[INBOX].received_at(_CONSUMER, "b") is None
        assert await harness.first[INBOX].received_at("others", "a") is None

    async def test_the_age_of_the_oldest_receipt_shows_whether_pruning_keeps_up(self, harness: StoresHarness) -> None:
        """For each consumer; 0 where there is no receipt."""
        inbox = harness.first[INBOX]
        assert await inbox.oldest_receipt_seconds(_CONSUMER) == 0.0
        await words(harness.first, arrival("a"))
        harness.clock.advance(30)
        await words(harness.first, arrival("b"))
        harness.clock.advance(5)
        assert await inbox.oldest_receipt_seconds(_CONSUMER) == pytest.approx(35)
        assert await inbox.oldest_receipt_seconds("others") == 0.0
        await inbox.prune(_CONSUMER, 20.0, 100)
        assert await inbox.oldest_receipt_seconds(_CONSUMER) == pytest.approx(5)

    async def test_a_message_is_fresh_once(self, harness: StoresHarness) -> None:
        """A second delivery is a duplicate, in another transaction and for another instance."""
        assert await words(harness.first, arrival("a"), arrival("b")) == [NEW, NEW]
        assert await words(await harness.instance(), arrival("b"), arrival("c"), arrival("a")) == [
            DUPLICATE,
            NEW,
            DUPLICATE,
        ]

    async def test_an_empty_call_says_nothing(self, harness: StoresHarness) -> None:
        """Without messages there are no receipts and no replies."""
        assert await words(harness.first) == []
        async with harness.first.database.begin() as db_tx:
            await harness.first[INBOX].save_replies(db_tx, _CONSUMER, {})

    async def test_a_key_twice_in_one_call_is_a_duplicate(self, harness: StoresHarness) -> None:
        """A redelivery may be in the same batch as the original."""
        assert await words(harness.first, arrival("a"), arrival("b"), arrival("a")) == [NEW, NEW, DUPLICATE]

    async def test_a_rolled_back_attempt_leaves_no_receipt(self, harness: StoresHarness) -> None:
        """The message is delivered again, and handled then."""
        stores = harness.first
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                assert (await stores[INBOX].receive(db_tx, _CONSUMER, [arrival("a")]))[0].status is NEW
                raise _GivenUp
        assert await words(stores, arrival("a")) == [NEW]

    async def test_two_consumers_of_one_message_do_not_shadow_each_other(self, harness: StoresHarness) -> None:
        """A message id that another consumer has handled is new for this one."""
        assert await words(harness.first, arrival("a")) == [NEW]
        assert await words(harness.first, arrival("a"), consumer="billing") == [NEW]

    async def test_the_answer_is_given_again(self, harness: StoresHarness) -> None:
        """Replies are stored with their receipts, in the same transaction."""
        stores = harness.first
        async with stores.database.begin() as db_tx:
            await stores[INBOX].receive(db_tx, _CONSUMER, [arrival("a"), arrival("b"), arrival("c")])
            await stores[INBOX].save_replies(db_tx, _CONSUMER, {"a": b"\x00one", "c": b"three"})
        answers = [receipt.reply for receipt in await receive(stores, arrival("c"), arrival("b"), arrival("a"))]
        assert answers == [b"three", None, b"\x00one"]

    async def test_the_answer_that_was_written_last_is_given_again(self, harness: StoresHarness) -> None:
        """Whatever bytes and length it has; after a rollback there is none."""
        stores = harness.first
        replies = {"a'\\ä": bytes(range(256)) + b"'; ROLLBACK; --", "b": b"", "c": b"long" * 10_000}
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[INBOX].receive(db_tx, _CONSUMER, [arrival(key) for key in replies])
                await stores[INBOX].save_replies_last(db_tx, _CONSUMER, replies)
                _ = 1 / 0
        for given in ({key: reply for key, reply in replies.items() if key != "c"}, {"c": replies["c"]}):
            async with stores.database.begin() as db_tx:
                found = await stores[INBOX].receive(db_tx, _CONSUMER, [arrival(key) for key in given])
                assert [each.status for each in found] == [NEW] * len(given)
                await stores[INBOX].save_replies_last(db_tx, _CONSUMER, given)
        async with stores.database.begin() as db_tx:
            found = await stores[INBOX].receive(db_tx, _CONSUMER, [arrival(key) for key in replies])
        assert [each.reply for each in found] == list(replies.values())

    async def test_a_concurrent_duplicate_waits_and_gets_the_answer(self, harness: StoresHarness) -> None:
        """Two instances get the same request at the same time: one handles it, the other repeats the reply."""
        stores, other = harness.first, await harness.instance()
        async with stores.database.begin() as db_tx:
            await stores[INBOX].receive(db_tx, _CONSUMER, [arrival("a")])
            late = asyncio.create_task(receive(other, arrival("a")))
            assert await has_to_wait(late)
            await stores[INBOX].save_replies(db_tx, _CONSUMER, {"a": b"done"})
        assert list(await late) == [ReceiveResult(DUPLICATE, b"done")]

    async def test_a_concurrent_duplicate_is_fresh_after_a_rollback(self, harness: StoresHarness) -> None:
        """When the first one rolls back, the second one handles it."""
        stores, other = harness.first, await harness.instance()
        late: asyncio.Task[list[ReceiveStatus]] | None = None
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                await stores[INBOX].receive(db_tx, _CONSUMER, [arrival("a")])
                late = asyncio.create_task(words(other, arrival("a"), arrival("b")))
                assert await has_to_wait(late)
                raise _GivenUp
        assert late is not None
        assert await late == [NEW, NEW]

    async def test_overlapping_batches_do_not_lock_each_other_out(self, harness: StoresHarness) -> None:
        """Batches with the same keys in opposite orders finish, and each key is new for exactly one."""
        instances = [harness.first, await harness.instance()]
        keys = [arrival(f"m{number:02}") for number in range(40)]
        for turn in range(5):
            batch = [arrival(f"{turn}-{one.receipt_key}") for one in keys]
            forth, back = await asyncio.gather(
                words(instances[0], *batch), words(instances[1], *reversed(batch)), return_exceptions=False
            )
            assert [one is NEW for one in forth] == [one is DUPLICATE for one in reversed(back)]

    async def test_a_circle_of_transactions_is_a_conflict(self, harness: StoresHarness) -> None:
        """Transactions that receive in several calls may deadlock: one gets a conflict, the other continues."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        instances = [harness.first, await harness.instance()]
        both = asyncio.Barrier(2)

        async def cross(stores: Stores, *keys: str) -> None:
            async with stores.database.begin() as db_tx:
                for key in keys:
                    await stores[INBOX].receive(db_tx, _CONSUMER, [arrival(key)])
                    if key == keys[0]:
                        await both.wait()

        outcomes = await asyncio.gather(
            cross(instances[0], "a", "b"), cross(instances[1], "b", "a"), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {ConcurrencyConflict, type(None)}

    async def test_a_compensation_of_a_handled_action_is_fresh(self, harness: StoresHarness) -> None:
        """There is an action to compensate, once."""
        assert await words(harness.first, arrival("act")) == [NEW]
        assert await words(harness.first, arrival("undo", compensates="act")) == [NEW]
        assert await words(harness.first, arrival("undo", compensates="act"), arrival("act")) == [DUPLICATE, DUPLICATE]

    async def test_a_compensation_before_its_action_cancels_it(self, harness: StoresHarness) -> None:
        """There is nothing to compensate, and the late action is never run, however often it is delivered."""
        stores = harness.first
        assert await words(stores, arrival("undo", compensates="act")) == [NO_EFFECT]
        assert await words(stores, arrival("act")) == [CANCELLED]
        assert await words(stores, arrival("act"), arrival("undo", compensates="act")) == [CANCELLED, DUPLICATE]
        assert await words(stores, arrival("undo again", compensates="act")) == [NO_EFFECT]

    async def test_a_cancelled_action_keeps_its_answer(self, harness: StoresHarness) -> None:
        """The reply to a cancelled action is stored like any other."""
        stores = harness.first
        await receive(stores, arrival("undo", compensates="act"))
        async with stores.database.begin() as db_tx:
            await stores[INBOX].receive(db_tx, _CONSUMER, [arrival("act")])
            await stores[INBOX].save_replies(db_tx, _CONSUMER, {"act": b"cancelled"})
        assert list(await receive(stores, arrival("act"))) == [ReceiveResult(CANCELLED, b"cancelled")]

    async def test_a_compensation_of_a_refused_action_has_no_effect(self, harness: StoresHarness) -> None:
        """A refusal that the saga did not learn in time left nothing to compensate; an action that was done did."""
        stores = harness.first
        for action, outcome, wanted in (("act", OUTCOME_REJECTED, NO_EFFECT), ("done", OUTCOME_DONE, NEW)):
            async with stores.database.begin() as db_tx:
                await stores[INBOX].receive(db_tx, _CONSUMER, [arrival(action)])
                await stores[INBOX].save_replies(db_tx, _CONSUMER, {action: _reply(outcome)})
            assert await words(stores, arrival(f"undo {action}", compensates=action)) == [wanted]

    async def test_action_and_compensation_in_one_call_count_in_their_order(self, harness: StoresHarness) -> None:
        """With the action first both are handled; with the compensation first the action is cancelled."""
        assert await words(harness.first, arrival("act"), arrival("undo", compensates="act")) == [NEW, NEW]
        for action, undo in (("z-act", "a-undo"), ("a-act", "z-undo")):
            arrivals = (arrival(undo, compensates=action), arrival(action))
            assert await words(harness.first, *arrivals) == [NO_EFFECT, CANCELLED]

    async def test_a_compensation_waits_for_its_action_in_progress(self, harness: StoresHarness) -> None:
        """An action in progress ends first; then the compensation finds what it committed."""
        stores, other = harness.first, await harness.instance()
        async with stores.database.begin() as db_tx:
            await stores[INBOX].receive(db_tx, _CONSUMER, [arrival("act")])
            undo = asyncio.create_task(words(other, arrival("undo", compensates="act")))
            assert await has_to_wait(undo)
        assert await undo == [NEW]

    async def test_a_compensation_cancels_an_action_that_was_rolled_back(self, harness: StoresHarness) -> None:
        """An action that failed while its compensation waited must not be tried again."""
        stores, other = harness.first, await harness.instance()
        undo: asyncio.Task[list[ReceiveStatus]] | None = None
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                await stores[INBOX].receive(db_tx, _CONSUMER, [arrival("act")])
                undo = asyncio.create_task(words(other, arrival("undo", compensates="act")))
                assert await has_to_wait(undo)
                raise _GivenUp
        assert undo is not None
        assert await undo == [NO_EFFECT]
        assert await words(stores, arrival("act")) == [CANCELLED]

    async def test_a_receipt_within_the_window_is_never_pruned(self, harness: StoresHarness) -> None:
        """Within the window a redelivery or a replayed dead letter is a duplicate; afterwards receipts are deleted."""
        stores = harness.first
        await receive(stores, *(arrival(f"old {number}") for number in range(5)))
        harness.clock.advance(600)
        await receive(stores, arrival("young"))
        assert await stores[INBOX].prune(_CONSUMER, 601, limit=100) == 0
        assert await words(stores, arrival("old 0"), arrival("young")) == [DUPLICATE, DUPLICATE]
        harness.clock.advance(2)
        assert await stores[INBOX].prune(_CONSUMER, 601, limit=3) == 3
        assert await stores[INBOX].prune(_CONSUMER, 601, limit=3) == 2
        assert await stores[INBOX].prune(_CONSUMER, 601, limit=3) == 0
        assert await words(stores, arrival("young")) == [DUPLICATE]

    async def test_a_consumer_prunes_its_own_receipts_only(self, harness: StoresHarness) -> None:
        """Consumers of one database have different windows: pruning by one does not make a message new for another."""
        stores = harness.first
        for consumer in ("billing", _CONSUMER):
            await receive(stores, *(arrival(f"old {number}") for number in range(3)), consumer=consumer)
        harness.clock.advance(600)
        assert await stores[INBOX].prune("billing", 60, limit=2) == 2
        assert await stores[INBOX].prune("billing", 60, limit=100) == 1
        assert await stores[INBOX].prune("billing", 60, limit=100) == 0
        assert await words(stores, *(arrival(f"old {number}") for number in range(3))) == [DUPLICATE] * 3
        assert await words(stores, arrival("old 0"), consumer="billing") == [NEW]

    async def test_any_text_is_a_key(self, harness: StoresHarness) -> None:
        """Keys come from other services: quotes, other scripts and long texts are valid keys."""
        keys = ['"', "'; --", "ключ", "鍵\n\t\\", "k" * 500, " ", "$1"]
        arrivals = [arrival(key, partition_key=key) for key in keys]
        assert await words(harness.first, *arrivals) == [NEW] * len(keys)
        assert await words(harness.first, *arrivals) == [DUPLICATE] * len(keys)


class InboxStoreConformance(ReceiptsConformance, DeferredMessagesConformance):
    """What every inbox store must do. Bind it with a `harness` fixture."""
