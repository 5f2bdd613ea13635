"""Which batches share a transaction, and when a consumer rests for a fuller one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.unit.runtime.trial import Happened, envelope_of, eventually, memory_broker, settings_for

from freehold import Retry, RunningService, Service, Transaction
from freehold.broker import Batch, Consumer, Delivery, Subscription
from freehold.consistency.store import PROGRESS
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import ConcurrencyConflict, LeaseLost, Unavailable
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.pattern import dispatcher_of, router_of
from freehold.inbox.store import ReceiveResult
from freehold.inbox.work import HandlerCall
from freehold.messages import encode_envelope
from freehold.messages.lanes import lane_name
from freehold.testing import ManualClock


@dataclass
class Batched:
    partition: int
    deliveries: Sequence[Delivery]
    topic: str = "elsewhere.events"
    acked: int | None = None
    counted: bool = True
    lost: bool = False

    async def ack(self, count: int, *, counted: bool = True) -> None:
        assert self.acked is None
        self.acked, self.counted = count, counted
        if self.lost:
            raise LeaseLost("planned")


def batch(partition: int, *numbers: int, attempt: int = 1) -> Batched:
    """Messages of a partition; each tells that its lane has been read up to its number."""
    lane = lane_name("elsewhere", partition)
    envelopes = [
        envelope_of(Happened(f"k{partition}", number), lane=lane, position=number, watermark=number)
        for number in numbers
    ]
    return Batched(partition, [Delivery(encode_envelope(each), attempt, str(each.id)) for each in envelopes])


@dataclass
class Scripted:
    """A broker whose one consumer delivers what it is given, each in one fetch. `asked` are the fetches' limits."""

    ready: list[Batched | Exception] = field(default_factory=list)
    asked: list[tuple[int, bool]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    idle: bool = False

    async def subscribe(self, subscription: Subscription) -> Consumer:
        return self

    async def fetch(self, limit: int, wait_seconds: float) -> Batch | None:
        self.asked.append((limit, wait_seconds > 0))
        await asyncio.sleep(0)  # as a real one: another worker may be asking too
        if not self.ready and wait_seconds:
            self.news.clear()
            self.idle = True
            await self.news.wait()
            self.idle = False
        if not self.ready:
            return None
        given = self.ready.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    async def close(self) -> None:
        return

    def bring(self, *batches: Batched) -> None:
        self.ready.extend(batches)
        self.news.set()


@dataclass
class Trial:
    """A consumer and what it did: the numbers that each transaction handled, also where it was rolled back.

    `held` are the numbers whose handler waits for `released`; `failing` those whose handler raises; `slow` the seconds
    that the handlers of numbers take. On a database whose transactions go `side_by_side` a held one waits before its
    transaction, and is in `begun`: the database in memory has one writer.
    """

    runner: ConsumerRunner
    broker: Scripted
    clock: ManualClock
    transactions: list[list[int]]
    begun: list[list[int]]
    running: RunningService
    held: set[int]
    released: asyncio.Event
    failing: set[int]

    async def made_known(self, *partitions: int) -> None:
        """Handle one message of each partition, numbered from 100 on, so that the time of its handler is known."""
        for partition in partitions:
            first = batch(partition, 100 + partition)
            self.broker.bring(first)
            await eventually(lambda: first.acked is not None)  # noqa: B023 - awaited in the round

    async def watermarks(self) -> dict[str, int]:
        """How far the lanes have been read."""
        assert self.running.stores[PROGRESS] is not None
        return {each.lane: each.watermark for each in await self.running.stores[PROGRESS].progress("trial")}


@asynccontextmanager
async def consuming(
    *ready: Batched | Exception,
    side_by_side: bool = False,
    workers: int = 1,
    limit: int = 8,
    held: Sequence[int] = (),
    failing: Sequence[int] = (),
    slow: Mapping[int, float] | None = None,
) -> AsyncIterator[Trial]:
    service, clock, broker = Service("trial"), ManualClock(), Scripted(list(ready))
    waiting, released, raising = set(held), asyncio.Event(), set(failing)
    transactions: list[list[int]] = []
    begun: list[list[int]] = []
    handled: dict[int, list[int]] = {}

    @service.handles(Happened, retry=Retry(attempts=1))
    async def handle(event: Happened, tx: Transaction) -> None:
        if id(tx.db_tx) not in handled:
            handled[id(tx.db_tx)] = []
            transactions.append(handled[id(tx.db_tx)])
            kept.append(tx.db_tx)
        handled[id(tx.db_tx)].append(event.number)
        clock.advance((slow or {}).get(event.number, 0.0))
        if event.number in waiting and not side_by_side:
            await released.wait()
        if event.number in raising:
            raise ValueError("planned")

    kept: list[object] = []
    settings = settings_for("trial")
    async with RunningService(service, settings, broker=memory_broker(), roles=(), clock=clock) as running:
        features = replace(running.stores.database.features, concurrent_writers=side_by_side)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(running.stores.database), "features", features)
            dispatcher = dispatcher_of(running.context)
            handle_now = dispatcher.handle

            async def handle_later(works: Sequence[HandlerCall], **given: Any) -> Sequence[ReceiveResult]:
                numbers = [json.loads(work.envelope.body)["number"] for work in works if work.envelope is not None]
                if side_by_side and waiting.intersection(numbers):
                    begun.append(numbers)
                    await released.wait()
                return await handle_now(works, **given)

            dispatcher.handle = handle_later  # type: ignore[method-assign] # the object is this test's own
            runner = ConsumerRunner(
                dispatcher,
                router_of(running.context),
                broker,  # type: ignore[arg-type] # a consumer subscribes, and nothing else
                service.topics,
                workers=workers,
                batch_limit=limit,
            )
        await runner.start()
        try:
            yield Trial(runner, broker, clock, transactions, begun, running, waiting, released, raising)
        finally:
            released.set()
            await runner.stop()


async def test_what_several_partitions_have_ready_shares_a_transaction_and_each_is_acked() -> None:
    batches = [batch(0, 1, 2), batch(1, 3), batch(2, 4)]
    async with consuming(*batches) as trial:
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert trial.transactions == [[1, 2, 3, 4]]
    assert [each.acked for each in batches] == [2, 1, 1]


async def test_together_they_hold_no_more_than_a_transaction_may() -> None:
    batches = [batch(0, 1, 2, 3), batch(1, 4, 5), batch(2, 6)]
    async with consuming(*batches, limit=5) as trial:
        await eventually(lambda: batches[-1].acked is not None)
    assert trial.transactions == [[1, 2, 3, 4, 5], [6]]
    assert trial.broker.asked[:3] == [(5, True), (2, False), (5, True)]


async def test_what_came_before_is_handled_by_itself() -> None:
    batches = [batch(0, 1), batch(1, 2, 3, attempt=2), batch(2, 4)]
    async with consuming(*batches) as trial:
        await eventually(lambda: batches[-1].acked is not None)
    assert trial.transactions == [[1], [2], [3], [4]]


async def test_where_transactions_go_side_by_side_a_free_worker_takes_its_own() -> None:
    batches = [batch(0, 1), batch(1, 2)]
    async with consuming(*batches, side_by_side=True, workers=2) as trial:
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert trial.transactions == [[1], [2]]


async def test_quick_partitions_share_a_transaction_also_where_workers_are_free() -> None:
    async with consuming(side_by_side=True, workers=4) as trial:
        await trial.made_known(0, 1, 2)
        batches = [batch(0, 1), batch(1, 2), batch(2, 3)]
        trial.broker.bring(*batches)
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert trial.transactions[3:] == [[1, 2, 3]]


async def test_a_slow_partition_does_not_hold_up_the_others() -> None:
    async with consuming(side_by_side=True, workers=4, held=[1], slow={100: 1.0}) as trial:
        await trial.made_known(0, 1, 2)
        slow, quick = batch(0, 1), [batch(1, 2), batch(2, 3)]
        trial.broker.bring(quick[0], slow, quick[1])
        await eventually(lambda: all(each.acked is not None for each in quick))
        assert slow.acked is None
        later = [batch(2, 4), batch(1, 5)]
        trial.broker.bring(*later)
        await eventually(lambda: all(each.acked is not None for each in later))
        assert slow.acked is None
        trial.released.set()
        await eventually(lambda: slow.acked is not None)
    assert sorted(trial.transactions[3:]) == [[1], [2], [3], [4, 5]]


async def test_many_messages_whose_handlers_together_take_long_share_no_transaction() -> None:
    slow = {100: 0.003, 101: 0.003}
    async with consuming(side_by_side=True, workers=4, slow=slow) as trial:
        await trial.made_known(0, 1)
        batches = [batch(0, 1, 2), batch(1, 3, 4)]
        trial.broker.bring(*batches)
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert sorted(trial.transactions[2:]) == [[1, 2], [3, 4]]


async def test_with_one_worker_they_share_a_transaction_however_slow_they_are() -> None:
    async with consuming(side_by_side=True, workers=1, slow={100: 1.0, 101: 1.0}) as trial:
        await trial.made_known(0, 1)
        batches = [batch(0, 1, 2), batch(1, 3, 4)]
        trial.broker.bring(*batches)
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert trial.transactions[2:] == [[1, 2, 3, 4]]


async def test_a_slow_partition_is_quick_again_in_the_end() -> None:
    async with consuming(side_by_side=True, workers=4, slow={100: 1.0}) as trial:
        await trial.made_known(0, 1)
        for number in range(200, 264):
            once = batch(0, number)
            trial.broker.bring(once)
            await eventually(lambda: once.acked is not None)  # noqa: B023 - awaited in the round
        batches = [batch(0, 1), batch(1, 2)]
        trial.broker.bring(*batches)
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert trial.transactions[-1] == [1, 2]


async def test_what_becomes_ready_during_a_transaction_shares_the_next_one() -> None:
    async with consuming(side_by_side=True, workers=4, held=[1]) as trial:
        await trial.made_known(0, 1, 2)
        trial.broker.bring(batch(0, 1))
        await eventually(lambda: [1] in trial.begun)
        during = [batch(1, 2), batch(2, 3)]
        trial.broker.bring(*during)
        for _ in range(100):
            await asyncio.sleep(0)
        assert trial.broker.ready == during
        trial.released.set()
        await eventually(lambda: all(each.acked is not None for each in during))
    assert trial.transactions[3:] == [[1], [2, 3]]


async def test_a_transaction_that_takes_long_unexpectedly_does_not_hold_up_the_next_one() -> None:
    async with consuming(side_by_side=True, workers=4, held=[1]) as trial:
        await trial.made_known(0, 1, 2)
        first = batch(0, 1)
        trial.broker.bring(first)
        await eventually(lambda: [1] in trial.begun)
        during = [batch(1, 2), batch(2, 3)]
        trial.broker.bring(*during)
        trial.clock.advance(0.01)
        await eventually(lambda: all(each.acked is not None for each in during))
        assert first.acked is None
        trial.released.set()
        await eventually(lambda: first.acked is not None)
    assert trial.transactions[3:] == [[2, 3], [1]]


async def test_a_full_transaction_is_followed_by_another_one_at_once() -> None:
    async with consuming(side_by_side=True, workers=2, limit=2, held=[1]) as trial:
        await trial.made_known(0, 1)
        first, second = batch(0, 1, 2), batch(1, 3, 4)
        trial.broker.bring(first, second)
        await eventually(lambda: second.acked is not None)
        assert first.acked is None
        trial.released.set()
        await eventually(lambda: first.acked is not None)


async def test_what_no_worker_could_take_before_a_stop_is_released_uncounted() -> None:
    async with consuming(side_by_side=True, workers=2, held=[1, 2], slow={100: 1.0, 102: 1.0}) as trial:
        await trial.made_known(0, 1, 2)
        held, quick, aside = batch(0, 1), batch(1, 2), batch(2, 3)
        trial.broker.bring(held)
        await eventually(lambda: [1] in trial.begun)
        trial.broker.bring(quick, aside)
        await eventually(lambda: [2] in trial.begun)
        assert (trial.broker.ready, aside.acked) == ([], None)
        trial.released.set()
        await trial.runner.stop()
    assert [(each.acked, each.counted) for each in (held, quick, aside)] == [(1, True), (1, True), (0, False)]


async def test_a_poisoned_message_of_a_shared_transaction_fails_alone() -> None:
    async with consuming(side_by_side=True, workers=4, failing=[3]) as trial:
        await trial.made_known(0, 1, 2)
        batches = [batch(0, 1, 2), batch(1, 3, 4), batch(2, 5)]
        trial.broker.bring(*batches)
        await eventually(lambda: all(each.acked is not None for each in batches))
        (letter,) = await trial.running.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert (letter.key, letter.reason) == ("k1", "attempts-exhausted")
    assert trial.transactions[3] == [1, 2, 3]
    assert [numbers for numbers in trial.transactions[4:] if numbers != [3]] == [[1], [2], [4], [5]]
    assert [each.acked for each in batches] == [2, 2, 1]


async def test_workers_do_not_scatter_what_could_go_together() -> None:
    batches = [batch(number, number) for number in range(1, 7)]
    async with consuming(*batches, workers=4) as trial:
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert trial.transactions == [[1, 2, 3, 4, 5, 6]]


async def test_nothing_is_acked_before_the_commit_of_all() -> None:
    batches = [batch(0, 1), batch(1, 2)]
    async with consuming(*batches, held=[2]) as trial:
        await eventually(lambda: trial.transactions == [[1, 2]])
        assert [each.acked for each in batches] == [None, None]
        await trial.runner.stop(0.0)
        assert [each.acked for each in batches] == [0, 0]
        assert await trial.watermarks() == {}


async def test_a_partition_lost_meanwhile_keeps_no_other_from_being_acked() -> None:
    batches = [batch(0, 1), batch(1, 2), batch(2, 3)]
    batches[1].lost = True
    async with consuming(*batches) as trial:
        await eventually(lambda: all(each.acked is not None for each in batches))
        last = batch(0, 4)
        trial.broker.bring(last)
        await eventually(lambda: last.acked is not None)
    assert trial.transactions == [[1, 2, 3], [4]]
    assert [each.acked for each in batches] == [1, 1, 1]
    assert trial.runner.last_error is None


async def test_where_one_fails_the_others_are_handled_all_the_same() -> None:
    batches = [batch(0, 1, 2), batch(1, 3, 4), batch(2, 5)]
    async with consuming(*batches, failing=[3]) as trial:
        await eventually(lambda: all(each.acked is not None for each in batches))
        (letter,) = await trial.running.stores[DEAD_LETTERS].find(DeadLetterFilter())
        assert await trial.watermarks() == {lane_name("elsewhere", 0): 2, lane_name("elsewhere", 1): 4} | {
            lane_name("elsewhere", 2): 5
        }
    assert (letter.key, letter.reason) == ("k1", "attempts-exhausted")
    assert trial.transactions[0] == [1, 2, 3]
    assert [numbers for numbers in trial.transactions[1:] if numbers != [3]] == [[1], [2], [4], [5]]
    assert [each.acked for each in batches] == [2, 2, 1]


async def test_what_all_of_them_say_of_their_lanes_is_noted() -> None:
    batches = [batch(0, 1, 2), batch(1, 3)]
    async with consuming(*batches) as trial:
        await eventually(lambda: all(each.acked is not None for each in batches))
        assert await trial.watermarks() == {lane_name("elsewhere", 0): 2, lane_name("elsewhere", 1): 3}


async def test_what_was_rolled_back_in_the_end_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, failing = [batch(0, 1), batch(1, 2)], [True]
    async with consuming() as trial:
        database = type(trial.running.stores.database)
        begin = database.begin

        @asynccontextmanager
        async def rolled_back_once(self: Any) -> AsyncIterator[Any]:
            async with begin(self) as db_tx:
                yield db_tx
                if failing:
                    raise ConcurrencyConflict(f"planned {failing.pop()}")

        monkeypatch.setattr(database, "begin", rolled_back_once)
        trial.broker.bring(*batches)
        await eventually(lambda: all(each.acked is not None for each in batches))
        assert await trial.watermarks() == {lane_name("elsewhere", 0): 1, lane_name("elsewhere", 1): 2}
    assert trial.transactions == [[1, 2], [1], [2]]
    assert [each.acked for each in batches] == [1, 1]


@pytest.mark.parametrize("attempt", [2, 3])
async def test_while_the_one_that_may_kill_is_handled_nothing_else_is_handed_out(attempt: int) -> None:
    """Else the counts of healthy messages would rise with its own. Once, that is no matter yet."""
    doubtful, other = batch(0, 1, attempt=attempt), batch(1, 2)
    async with consuming(doubtful, workers=4, held=[1]) as trial:
        await eventually(lambda: trial.transactions == [[1]])
        trial.broker.bring(other)
        if attempt == 2:
            await eventually(lambda: not trial.broker.ready)
        else:
            for _ in range(100):
                await asyncio.sleep(0)
            assert trial.broker.ready == [other]
        trial.released.set()
        await eventually(lambda: other.acked is not None)
    assert doubtful.acked == 1


async def test_a_broker_that_goes_away_in_between_leaves_what_was_fetched() -> None:
    batches = [batch(0, 1), batch(1, 2)]
    async with consuming(batches[0], Unavailable("planned"), batches[1]) as trial:
        await eventually(lambda: all(each.acked is not None for each in batches))
    assert trial.transactions == [[1], [2]]


async def test_under_load_a_consumer_rests_for_as_long_as_its_transaction_took() -> None:
    slow = dict.fromkeys(range(5), 0.002)
    async with consuming(slow=slow) as trial:
        for number in range(3):
            once = batch(0, number)
            trial.broker.bring(once)
            await eventually(lambda: once.acked is not None)  # noqa: B023 - awaited in the round
        await eventually(lambda: bool(trial.clock._sleepers))  # it rests
        during = [batch(0, 3), batch(1, 4)]
        trial.broker.bring(*during)
        for _ in range(100):
            await asyncio.sleep(0)
        assert trial.broker.ready == during
        trial.clock.advance(0.002)
        await eventually(lambda: all(each.acked is not None for each in during))
    assert trial.transactions == [[0], [1], [2], [3, 4]]


async def test_messages_that_come_later_than_a_transaction_takes_wait_for_nothing() -> None:
    async with consuming(slow=dict.fromkeys(range(10), 0.002)) as trial:
        for number in range(10):
            await eventually(lambda: trial.broker.idle)
            trial.clock.advance(0.003)
            once = batch(0, number)
            trial.broker.bring(once)
            await eventually(lambda: once.acked is not None)  # noqa: B023 - awaited in the round


async def test_after_slow_handlers_a_consumer_does_not_rest() -> None:
    async with consuming(slow=dict.fromkeys(range(6), 1.0)) as trial:
        for number in range(6):
            once = batch(0, number)
            trial.broker.bring(once)
            await eventually(lambda: once.acked is not None)  # noqa: B023 - awaited in the round


async def test_a_full_batch_is_followed_at_once() -> None:
    batches = [batch(0, number, number + 1) for number in range(0, 12, 2)]
    async with consuming(*batches, limit=2, slow=dict.fromkeys(range(12), 1.0)):
        await eventually(lambda: batches[-1].acked is not None)


async def test_a_stop_ends_the_rest_and_takes_nothing_more() -> None:
    async with consuming(slow=dict.fromkeys(range(3), 0.002)) as trial:
        for number in range(3):
            once = batch(0, number)
            trial.broker.bring(once)
            await eventually(lambda: once.acked is not None)  # noqa: B023 - awaited in the round
        await eventually(lambda: bool(trial.clock._sleepers))
        late = batch(0, 4)
        trial.broker.bring(late)
        await trial.runner.stop(30.0)
    assert late.acked is None
