"""The relay: confirms before removal, order per key, outages waited out, refusals that block their key alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.unit.runtime.trial import Request, eventually, memory_broker, read_topic, running, settings_for

from freehold import RunningService, Service
from freehold.broker import OutgoingMessage, PublishConfirmed, PublishFailed, PublishOutcome
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter, Direction
from freehold.errors import MessageRejected, Unavailable
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import LEASES
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import OUTBOX
from freehold.policy import Retry


@dataclass
class ScriptedBroker:
    """Stores or refuses as the test says, by key."""

    stored: list[OutgoingMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    away: bool = False
    stop_after: int | None = None
    calls: int = 0

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        self.calls += 1
        if self.away:
            raise Unavailable("planned")
        outcomes: list[PublishOutcome] = []
        for message in messages:
            if message.key in self.refused:
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


async def _relay(started: RunningService, broker: ScriptedBroker) -> RelayRunner:
    relay = RelayRunner(
        "trial",
        started.stores,
        broker,  # type: ignore[arg-type] # the relay publishes, and nothing else
        lambda: tokens,
        poll_seconds=0.02,
        refused=Retry(attempts=2, delay_seconds=0.01, delay_seconds_max=0.01),
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
