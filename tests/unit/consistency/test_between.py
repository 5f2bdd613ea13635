"""From the outbox to the wait, step by step: no step may run ahead of the one before, and none may forget."""

from __future__ import annotations

import pytest
from tests.unit.consistency.lane_services import LANE, Told, overheard, turned

from freehold import Transaction
from freehold.broker import PublishConfirmed, PublishFailed
from freehold.conformance.outbox import take_partitions
from freehold.consistency import ConsistencyToken, Fresh, Stale, Stalled
from freehold.errors import MessageRejected, Unavailable
from freehold.eventstore.store import EVENTS


async def _ignore(_message: Told, _tx: Transaction) -> None:
    return


async def test_a_debt_is_paid_by_a_message_of_its_own_once() -> None:
    """Two keys in one call: the second is known to be there with the next round, and then all has been said."""
    async with turned(_ignore) as both:
        token = await both.tell("a", "b")
        await both.publish()
        assert both.log.said() == [(1, 1), (2, 0)]
        await both.consume()
        assert isinstance(await both.wait(token), Stale)
        await both.publish()
        await both.publish()
        assert both.log.said()[2:] == [(None, 2)]
        await both.consume()
        assert await both.wait(token) == Fresh()


async def test_a_debt_outlives_the_relay_that_made_it() -> None:
    """The successor knows it from the database."""
    async with turned(_ignore) as both:
        token = await both.tell("a", "b")
        await both.publish()
        both.leases = await take_partitions(both.source.stores, "successor")
        await both.publish()
        await both.consume()
        assert await both.wait(token) == Fresh()


async def test_a_debt_is_paid_by_the_next_event() -> None:
    """No message of its own is needed where one comes anyway."""
    async with turned(_ignore) as both:
        await both.tell("a", "b")
        await both.publish()
        await both.tell("c")
        await both.publish()
        await both.publish()
        assert both.log.said() == [(1, 1), (2, 0), (3, 3)]


async def test_a_debt_stays_where_its_payment_fails() -> None:
    async with turned(_ignore) as both:
        await both.tell("a", "b")
        await both.publish()
        both.log.outcomes = dict.fromkeys((f"watermark/{n}" for n in range(9)), PublishFailed(MessageRejected("no")))
        await both.publish()
        both.log.outcomes = {}
        await both.publish()
        assert both.log.said()[2:] == [(None, 2)]


async def test_what_the_broker_had_already_has_a_pending_watermark() -> None:
    """The confirmation was lost, and more is settled by now: the broker keeps what the message said at first."""
    async with turned(_ignore) as both:
        token = await both.tell("a", "b")
        both.log.outcomes = {"b": PublishConfirmed(duplicate=True)}
        await both.publish()
        await both.publish()
        assert both.log.said() == [(1, 1), (None, 2)]
        await both.consume()
        assert await both.wait(token) == Fresh()


async def test_the_position_of_a_dead_lettered_row_is_a_pending_watermark() -> None:
    """Whoever waits for it goes on without it."""
    async with turned(_ignore) as both:
        both.log.outcomes = {"a": PublishFailed(MessageRejected("too large"))}
        token = await both.tell("a")
        await both.publish()
        assert both.log.documents == []
        await both.publish()
        assert both.log.said() == [(None, 1)]
        await both.consume()
        assert await both.wait(token) == Fresh()


async def test_a_watermark_is_noted_after_everything_of_its_batch() -> None:
    """Also where the batch failed and its messages are handled one by one: to whoever looks meanwhile it is not there,
    and with one still to come no wait may end.
    """
    seen: list[tuple[int, bool]] = []
    batch = True

    async def handle(message: Told, tx: Transaction) -> None:
        nonlocal batch
        if batch and message.number == 1:
            batch = False
            raise ValueError
        fresh = await both.wait(token) == Fresh()
        seen.append((await both.watermark(), fresh))

    async with turned(handle) as both:
        token = await both.tell("a", "a", "a")
        await both.publish()
        await both.consume()
        assert seen == [(0, False)] * 4
        assert await both.watermark() == 3
        assert await both.wait(token) == Fresh()


async def test_a_batch_that_stops_half_way_notes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message fails, the first is handled by itself, then the database goes and the service stops."""
    tries = 0

    async def away(_seconds: float) -> None:
        raise Unavailable("planned")

    async def handle(message: Told, _tx: Transaction) -> None:
        nonlocal tries
        if message.number == 1:
            tries += 1
            if tries == 1:
                raise ValueError
            monkeypatch.setattr(both.reader.stores.database, "probe", away)
            both.consumer._stop.set()
            raise Unavailable("planned")

    async with turned(handle) as both:
        await both.tell("a", "a")
        await both.publish()
        await both.consume()
        assert (tries, both.read, await both.watermark()) == (2, 0, 0)


async def test_a_deferred_message_holds_the_wait_from_its_place_on() -> None:
    """Whatever the watermark says; what is before it is fresh; it ends when the message is handled at last."""
    failing = {"b"}

    async def handle(message: Told, _tx: Transaction) -> None:
        if message.key in failing:
            raise ValueError

    async with turned(handle) as both:
        before, held, behind = [await both.tell(key) for key in ("a", "b", "c")]
        await both.publish()
        await both.publish()
        await both.consume()
        assert await both.watermark() == 3
        assert await both.wait(before) == Fresh()
        for token in (held, behind):
            found = await both.wait(token)
            assert isinstance(found, Stalled)
            assert [(each.name, each.reached) for each in found.behind] == [(LANE, 1)]
        failing.clear()
        both.clock.advance(2.0)
        await both.try_deferred()
        assert await both.wait(behind) == Fresh()


async def test_messages_behind_a_deferred_one_of_their_key_hold_the_wait_too() -> None:
    """They are deferred in a batch of their own, which advances the watermark in the same transaction."""
    failing = {"b"}

    async def handle(message: Told, _tx: Transaction) -> None:
        if message.key in failing:
            raise ValueError

    async with turned(handle) as both:
        await both.tell("b")
        await both.publish()
        await both.consume()
        failing.clear()
        behind = await both.tell("b")
        await both.publish()
        await both.consume()
        assert await both.watermark() == 2
        assert isinstance(await both.wait(behind), Stalled)
        both.clock.advance(2.0)
        await both.try_deferred()
        assert isinstance(await both.wait(behind), Stalled)
        await both.try_deferred()
        assert await both.wait(behind) == Fresh()


async def test_a_position_of_nothing_is_there() -> None:
    """Also in a lane that was not heard of."""
    async with turned(_ignore) as both:
        assert await both.wait(ConsistencyToken({LANE: 0})) == Fresh()


@pytest.mark.parametrize("failing", [False, True])
async def test_what_handling_a_lane_appended_goes_with_it(failing: bool) -> None:
    """Whoever waits for the lane waits for the read models of what was kept, whether it came in a batch or alone."""
    tries = 0

    async def handle(message: Told, tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        if failing and tries == 2:
            raise ValueError
        tx.keep(f"heard-{message.key}")

    async with turned(handle) as both:
        token = await both.tell("a", "a")
        await both.publish()
        await both.consume()
        assert await both.kept() == await both.reader.stores[EVENTS].high_water_mark() > 0
        assert await both.wait(token) == Fresh()
        found = await both.wait(token, overheard.name)
        assert isinstance(found, Stalled)
        assert [(each.name, each.awaited) for each in found.behind] == [("overheard", await both.kept())]


async def test_what_a_deferred_message_appended_goes_with_its_lane() -> None:
    """It is handled long after the lane's watermark was noted."""
    failing = True

    async def handle(message: Told, tx: Transaction) -> None:
        if failing:
            raise ValueError
        tx.keep(f"heard-{message.key}")

    async with turned(handle) as both:
        token = await both.tell("a")
        await both.publish()
        await both.consume()
        assert (await both.watermark(), await both.kept()) == (1, 0)
        failing = False
        both.clock.advance(2.0)
        await both.try_deferred()
        assert await both.kept() == await both.reader.stores[EVENTS].high_water_mark() > 0
        assert await both.wait(token) == Fresh()
        assert isinstance(await both.wait(token, overheard.name), Stalled)
