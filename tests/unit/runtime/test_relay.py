"""The relay: confirms before removal, order per key, outages waited out, refusals that block their key alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.runtime.trial import Request, eventually, memory_broker, read_topic, running, settings_for

from freehold import RunningService, Service, event
from freehold.broker import OutgoingMessage, PublishConfirmed, PublishFailed, PublishOutcome
from freehold.clock import SystemClock
from freehold.conformance.outbox import outgoing
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter, Direction
from freehold.errors import MessageRejected, Unavailable
from freehold.ids import stable_hash
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import LEASES
from freehold.messages import decode_envelope
from freehold.outbox.pace import REST_SECONDS_MAX, RelayPace
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import OUTBOX, OutboxBatch, StagedMessage
from freehold.outbox.watermark import PendingSince, WatermarkStamper
from freehold.policy import Retry
from freehold.testing import ManualClock


@event("trial.marked", key="key")
class Marked:
    key: str


class NotingClock(SystemClock):
    """Notes for how long somebody wanted to sleep. Where it does not end, a sleep ends by cancellation only."""

    def __init__(self, *, ends: bool = True) -> None:
        self.slept: list[float] = []
        self._ends = ends

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._ends or not seconds:
            await super().sleep(seconds)
        else:
            await asyncio.get_running_loop().create_future()


@dataclass
class ScriptedBroker:
    """Stores or refuses as the test says, by key."""

    stored: list[OutgoingMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    away: bool = False
    refusals: int = 1_000_000
    stop_after: int | None = None
    calls: int = 0

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        self.calls += 1
        if self.away:
            raise Unavailable("planned")
        outcomes: list[PublishOutcome] = []
        refused, self.refusals = self.refused if self.refusals > 0 else set[str](), self.refusals - 1
        for message in messages:
            if message.key in refused:
                outcomes.append(PublishFailed(MessageRejected("too large")))
            elif self.stop_after is not None and len(self.stored) >= self.stop_after:
                outcomes.append(PublishFailed(Unavailable("cut off")))
            else:
                self.stored.append(message)
                outcomes.append(PublishConfirmed())
        return outcomes


def _without_loops() -> RunningService:
    return RunningService(Service("trial"), settings_for("trial"), roles=())


async def _stage(started: RunningService, *keys: str) -> None:
    for number, key in enumerate(keys):
        async with started.transaction() as tx:
            tx.send(Request(key, number))


async def _relay(started: RunningService, broker: ScriptedBroker, **options: Any) -> RelayRunner:
    relay = RelayRunner(
        "trial",
        started.stores,
        broker,  # type: ignore[arg-type] # the relay publishes, and nothing else
        lambda: tokens,
        **{
            "poll_seconds": 0.02,
            "refused": Retry(attempts=2, delay_seconds=0.01, delay_seconds_max=0.01),
            "clock": NotingClock(),
            **options,
        },
    )
    leases = started.stores[LEASES]
    names = [f"outbox/{n}" for n in range(started.stores[OUTBOX].partitions)]
    await leases.ensure(names)
    taken = [await leases.acquire(record, "test") for record in await leases.list("outbox/")]
    tokens = {n: each.token for n, each in enumerate(taken) if each is not None}
    await relay.start()
    return relay


async def _pending(started: RunningService) -> int:
    return (await started.stores[OUTBOX].stats()).pending


async def _empty(started: RunningService) -> None:
    async with asyncio.timeout(30):
        while await _pending(started):  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.005)


async def test_messages_stay_through_an_outage_and_keep_their_order() -> None:
    async with _without_loops() as started:
        broker = ScriptedBroker(away=True)
        relay = await _relay(started, broker)
        await _stage(started, *"abcabcabc")
        await eventually(lambda: broker.calls >= 3)
        assert await _pending(started) == 9
        broker.away = False
        await _empty(started)
        await relay.stop()
        assert [message.key for message in broker.stored] == list("abcabcabc")
        assert isinstance(relay.last_error, Unavailable)


async def test_what_was_not_confirmed_is_published_again_and_what_was_is_gone() -> None:
    async with _without_loops() as started:
        broker = ScriptedBroker(stop_after=4)
        relay = await _relay(started, broker)
        await _stage(started, *"aaaaaa")
        await eventually(lambda: len(broker.stored) == 4)
        broker.stop_after = None
        await _empty(started)
        await relay.stop()
        assert len({message.id for message in broker.stored}) == len(broker.stored) == 6


async def test_a_refused_message_blocks_its_key_alone_and_ends_as_a_dead_letter() -> None:
    async with _without_loops() as started:
        broker = ScriptedBroker(refused={"bad"})
        relay = await _relay(started, broker)
        await _stage(started, "bad", "good", "good")
        await eventually(lambda: len(broker.stored) == 2)
        await _empty(started)
        await relay.stop()
        (letter,) = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
        assert (letter.direction, letter.key) == (Direction.OUTBOUND, "bad")
        assert relay.counters.dead_lettered == 1


async def test_a_commit_wakes_the_relay_long_before_it_polls() -> None:
    broker = memory_broker()
    async with running(Service("trial"), broker, poll_seconds=30.0) as started:
        keeper = started.loops.running["relay"][0]
        assert isinstance(keeper, LeaseManager)
        await eventually(lambda: bool(keeper.tokens))
        async with started.transaction() as tx:
            tx.send(Request("a", 1))
        assert len(await read_topic(broker, "trial.commands", 1, seconds=3)) == 1


async def test_a_rollback_publishes_nothing() -> None:
    broker = memory_broker()
    async with running(Service("trial"), broker) as started:
        try:
            async with started.transaction() as tx:
                tx.send(Request("a", 1))
                await tx.write()
                raise ValueError("planned")
        except ValueError:
            pass
        assert await _pending(started) == 0


@dataclass
class Steps:
    """Calls `at` before and after each step of a relay's round, with a number."""

    at: Callable[[int], Awaitable[None]]
    broker: ScriptedBroker
    number: int = 0

    def around(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*args: Any, **kwargs: Any) -> Any:
            await self._pass()
            result = await call(*args, **kwargs)
            await self._pass()
            return result

        return step

    async def _pass(self) -> None:
        self.number += 1
        await self.at(self.number)

    def install(self, started: RunningService, patch: pytest.MonkeyPatch) -> None:
        outbox = started.stores[OUTBOX]
        for name in ("fetch", "remove"):
            patch.setattr(outbox, name, self.around(getattr(outbox, name)))
        patch.setattr(self.broker, "publish", self.around(self.broker.publish))


@pytest.mark.parametrize("number", range(1, 7))
async def test_a_commit_at_each_step_of_a_round_is_published_without_a_poll(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round has its rows already, or gets the new one: a wake in between must not be lost with the next wait."""
    async with _without_loops() as started:
        broker, steps = ScriptedBroker(), list[int]()
        relay = await _relay(started, broker, poll_seconds=3600.0)
        await eventually(lambda: _idles(relay))

        async def commit(at: int) -> None:
            steps.append(at)
            if at == number:
                await _stage(started, "b")
                relay.wake()

        Steps(commit, broker).install(started, monkeypatch)
        await _stage(started, "a")
        relay.wake()
        await eventually(lambda: len(broker.stored) == 2, seconds=10)
        await _empty(started)
        await eventually(lambda: _idles(relay))
        await relay.stop()
        assert sorted(message.key for message in broker.stored) == ["a", "b"]
        assert len(steps) <= 12  # two rounds, and no third one for the same wake


async def test_a_commit_alone_costs_one_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that found its messages is not followed by an empty one."""
    async with _without_loops() as started:
        broker, calls = ScriptedBroker(), list[int]()
        relay = await _relay(started, broker, poll_seconds=3600.0)
        await eventually(lambda: _idles(relay))

        async def count(at: int) -> None:
            calls.append(at)

        Steps(count, broker).install(started, monkeypatch)
        await _stage(started, "a")
        relay.wake()
        await eventually(lambda: len(calls) >= 6)
        await eventually(lambda: _idles(relay))
        await relay.stop()
        assert len(calls) == 6  # before and after: fetch, publish, remove


async def test_a_relay_that_is_always_woken_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _without_loops() as started:
        broker, clock = ScriptedBroker(), NotingClock()
        relay = await _relay(started, broker, poll_seconds=3600.0, clock=clock)

        async def wake(_: int) -> None:
            await asyncio.sleep(0.001)  # a round takes time
            relay.wake()

        Steps(wake, broker).install(started, monkeypatch)
        relay.wake()
        await eventually(lambda: len(clock.slept) >= 20)
        monkeypatch.undo()
        await relay.stop()
        rests = [seconds for seconds in clock.slept if seconds < 3600.0]
        assert max(rests) <= REST_SECONDS_MAX
        assert min(rests[5:]) > 0.001


async def test_a_relay_that_is_woken_in_its_rests_alone_is_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round may be shorter than the time between two messages. Once nobody wakes the relay, it removes, and waits."""
    async with _without_loops() as started:
        broker = ScriptedBroker()
        relay = await _relay(started, broker, poll_seconds=3600.0, clock=NotingClock(ends=False))
        await eventually(lambda: _idles(relay))
        rests: list[float] = []

        async def rest(seconds: float) -> None:
            rests.append(seconds)
            if len(rests) < 6:
                await _stage(started, f"a{len(rests)}")
                relay.wake()

        monkeypatch.setattr(relay, "rest", rest)
        relay._pace.rest_seconds(0.0)
        await _stage(started, "a0")
        relay.wake()
        await eventually(lambda: len(broker.stored) == 6 and _idles(relay))
        assert len(rests) == 6
        assert rests[-1] > 0.0
        assert await _pending(started) == 0
        await relay.stop()


def test_a_rest_grows_with_the_rounds_in_a_row_and_ends_with_an_idle_one() -> None:
    pace = RelayPace(200)
    assert [pace.rest_seconds(0.002) for _ in range(5)] == [0.0, 0.002, 0.004, 0.008, 0.008]
    assert pace.rest_seconds(1.0) == REST_SECONDS_MAX
    pace.idle()
    assert pace.rest_seconds(1.0) == 0.0


def test_batches_grow_in_a_backlog_of_small_messages_and_shrink_after_it() -> None:
    def rows(size: int) -> list[StagedMessage]:
        return [StagedMessage(1, 0, outgoing("a", b"x" * size), 0)]

    pace = RelayPace(200)
    limits = []
    for _ in range(4):
        pace.moved(rows(300), 0.01, more=True)
        limits.append(pace.limit)
    assert limits == [400, 800, 1000, 1000]
    pace.moved(rows(300), 0.6, more=True)
    assert pace.limit == 500  # a lease is not handed over before the round ends
    pace.moved(rows(3 * 1024 * 1024), 0.01, more=True)
    assert pace.limit == 200
    pace.moved(rows(300), 0.01, more=True)
    pace.moved(rows(300), 0.01, more=False)
    assert pace.limit == 200


async def test_a_backlog_goes_on_at_once() -> None:
    async with _without_loops() as started:
        broker = ScriptedBroker()
        await _stage(started, *"abcdefghij" * 3)
        relay = await _relay(started, broker, poll_seconds=3600.0, limit=4, clock=NotingClock())
        await _empty(started)
        await relay.stop()
        assert [message.key for message in broker.stored] == list("abcdefghij" * 3)


async def test_what_a_dead_letter_blocked_follows_at_once() -> None:
    """Nobody wakes the relay for it, and the poll is far away."""
    async with _without_loops() as started:
        broker = ScriptedBroker(refused={"bad"}, refusals=1)
        await _stage(started, "bad", "bad", "good")
        relay = await _relay(started, broker, poll_seconds=3600.0, refused=Retry(attempts=1))
        await _empty(started)
        await relay.stop()
        assert [message.key for message in broker.stored] == ["good", "bad"]


async def test_a_pending_watermark_is_announced_soon_although_nothing_follows() -> None:
    """Two keys of one lane in one batch: the second one's watermark is certain only when both are stored."""
    async with _without_loops() as started:
        broker = ScriptedBroker()
        lanes = WatermarkStamper("trial", started.stores[OUTBOX].partitions, SystemClock())
        keys = [key for key in map(str, range(100)) if stable_hash(key) % started.stores[OUTBOX].partitions == 3][:2]
        async with started.transaction() as tx:
            for key in keys:
                tx.publish(Marked(key))
        relay = await _relay(started, broker, poll_seconds=3600.0, lanes=lanes)
        await eventually(lambda: len(broker.stored) == 3, seconds=10)
        await eventually(lambda: _idles(relay))
        await relay.stop()
        last = decode_envelope(broker.stored[2].document)
        assert last.watermark == decode_envelope(broker.stored[1].document).position
        assert not (await started.stores[OUTBOX].fetch(dict(relay._held()), 10)).pending_watermarks


async def test_under_load_a_pending_watermark_waits_for_the_next_event_of_its_lane() -> None:
    """A message of its own for each lane in each small round would be most of what consumers get."""
    clock = ManualClock()
    pending = PendingSince(clock)
    row = StagedMessage(9, 0, outgoing("a"), 0)
    assert not pending.overdue(OutboxBatch([row], {1: 9}, {1: 5}))
    clock.advance(0.005)
    assert not pending.overdue(OutboxBatch([row], {1: 9}, {1: 5}))
    clock.advance(0.006)
    assert list(pending.overdue(OutboxBatch([row], {1: 9}, {1: 5}))) == [1]
    assert not pending.overdue(OutboxBatch([row], {1: 9}, {1: 7}))
    assert list(pending.overdue(OutboxBatch([], {1: 9}, {1: 7}))) == [1]


@pytest.mark.parametrize("wait", ["idle", "rest", "outage", "watermark"])
async def test_a_stop_ends_each_wait(wait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _without_loops() as started:
        broker, clock = ScriptedBroker(away=wait == "outage"), NotingClock(ends=False)
        relay = await _relay(started, broker, poll_seconds=3600.0, clock=clock)
        await _stage(started, "a")
        if wait == "rest":
            monkeypatch.setattr(relay._pace, "rest_seconds", lambda _: 1800.0)
            Steps(lambda _: _wake(relay), broker).install(started, monkeypatch)
        if wait == "watermark":
            relay._pending_rounds = 3
        relay.wake()
        await eventually(lambda: bool(clock.slept) and clock.slept[-1] != 0.0)
        async with asyncio.timeout(5):
            await relay.stop(60.0)
        assert await _pending(started) == int(wait == "outage")


async def test_what_was_confirmed_is_removed_before_leases_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The removal is left to the next round, which would be another relay's: it would publish everything again."""
    async with _without_loops() as started:
        broker, clock = ScriptedBroker(), NotingClock(ends=False)
        relay = await _relay(started, broker, poll_seconds=3600.0, clock=clock)
        await eventually(lambda: _idles(relay))
        monkeypatch.setattr(relay._pace, "rest_seconds", lambda _: 1800.0)
        Steps(lambda _: _wake(relay), broker).install(started, monkeypatch)
        await _stage(started, "a")
        relay.wake()
        await eventually(lambda: clock.slept[-1] == 1800.0)
        assert (len(broker.stored), await _pending(started)) == (1, 1)
        await relay.finish_round()
        assert await _pending(started) == 0
        monkeypatch.undo()
        await relay.stop()


async def test_commits_cost_the_keeper_of_leases_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a timer of its own: no statement for a commit."""
    async with running(Service("trial"), memory_broker(), poll_seconds=30.0, lease_seconds=600.0) as started:
        keeper, relay = started.loops.running["relay"]
        assert isinstance(keeper, LeaseManager)
        assert isinstance(relay, RelayRunner)
        await eventually(lambda: len(keeper.tokens) == started.stores[OUTBOX].partitions and not keeper.woken)
        leases, calls = started.stores[LEASES], list[str]()
        for name in ("ensure", "list", "acquire", "renew", "release", "delete"):
            call = getattr(leases, name)

            async def noted(*args: Any, name: str = name, call: Any = call) -> Any:
                calls.append(name)
                return await call(*args)

            monkeypatch.setattr(leases, name, noted)
        for _ in range(100):
            await _stage(started, "a")
        await eventually(lambda: relay.counters.published == 100)
        assert calls == []
        monkeypatch.undo()


async def _wake(relay: RelayRunner) -> None:
    relay.wake()


def _idles(relay: RelayRunner) -> bool:
    """Whether the relay waits, and has nothing to remove."""
    clock = relay.clock
    assert isinstance(clock, NotingClock)
    return bool(clock.slept) and clock.slept[-1] == 3600.0 and not relay.woken
