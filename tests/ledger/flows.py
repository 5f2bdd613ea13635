"""What is counted: one step of each kind, done as the service does it. Imports the ground.

Each flow runs twice on the same service, and the second run counts: statements are prepared by then. What a flow needs
is made before `counting` begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

import httpx
from fastapi import FastAPI
from tests.ledger.ground import Charging, Failing, Forwarded, Ground, Handled, Order, Posted, Shipping

from freehold.broker import Batch
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DeadLetterFilter
from freehold.eventstore.store import EVENTS
from freehold.http import Tx, create_app
from freehold.inbox.store import INBOX
from freehold.runtime.prune_runner import PruneRunner
from freehold.saga import SagaEngine
from freehold.saga.handover import NOBODY
from freehold.schedule.schedule_runner import send_due

__all__ = ["FLOWS", "Flow"]


@dataclass(frozen=True, slots=True)
class Flow:
    """A step by its name, which is also that of its line in the baseline."""

    name: str
    run: Callable[[Ground], Awaitable[None]]


FLOWS: Final[list[Flow]] = []


def _flow(name: str) -> Callable[[Callable[[Ground], Awaitable[None]]], Callable[[Ground], Awaitable[None]]]:
    def declare(run: Callable[[Ground], Awaitable[None]]) -> Callable[[Ground], Awaitable[None]]:
        FLOWS.append(Flow(name, run))
        return run

    return declare


@_flow("transaction: nothing in it")
async def _nothing(ground: Ground) -> None:
    with ground.counting():
        async with ground.running.transaction():
            pass


@_flow("publish: 1 message")
async def _publish_one(ground: Ground) -> None:
    with ground.counting():
        await ground.commit(Posted(ground.name()))


@_flow("publish: 10 messages")
async def _publish_ten(ground: Ground) -> None:
    messages = [Posted(ground.name()) for _ in range(10)]
    with ground.counting():
        await ground.commit(*messages)


@_flow("schedule: 1 message")
async def _schedule(ground: Ground) -> None:
    with ground.counting():
        async with ground.running.transaction() as tx:
            tx.schedule(Posted(ground.name()), delay_seconds=1.0)


@_flow("schedule: a round that moves 1 message")
async def _move_due(ground: Ground) -> None:
    async with ground.running.transaction() as tx:
        tx.schedule(Posted(ground.name()), delay_seconds=1.0)
    await ground.pass_seconds(2.0)
    with ground.counting():
        assert await send_due(ground.running.stores, 200)


@_flow("relay: a round that moves 1 message")
async def _relay_one(ground: Ground) -> None:
    await _relay(ground, 1)


@_flow("relay: a round that moves 64 messages")
async def _relay_many(ground: Ground) -> None:
    await _relay(ground, 64)


@_flow("relay: a round in a backlog moves 1 message")
async def _relay_between(ground: Ground) -> None:
    await ground.drained()
    await ground.commit(*(Posted(ground.name()) for _ in range(3)))
    with ground.in_a_backlog():
        assert await ground.relay._round() == 1
        with ground.counting():
            assert await ground.relay._round() == 1
    await ground.drained()


@_flow("relay: a round that finds nothing")
async def _relay_none(ground: Ground) -> None:
    await _relay(ground, 0)


@_flow("leases: a keep-alive round")
async def _keep_alive(ground: Ground) -> None:
    held = len(ground.keeper.tokens)
    ground.clock.advance(ground.running.settings.lease_seconds / 3)
    with ground.counting():
        await ground.keeper._round()
    assert len(ground.keeper.tokens) == held


@_flow("handle: 1 event")
async def _handle_one(ground: Ground) -> None:
    await _handle(ground, await _brought(ground, Handled(ground.name())))


@_flow("handle: 64 events in a batch")
async def _handle_batch(ground: Ground) -> None:
    await _handle(ground, await _brought(ground, *(Handled(ground.name()) for _ in range(64))))


@_flow("handle: 1 event, the handler publishes 1")
async def _handle_and_publish(ground: Ground) -> None:
    await _handle(ground, await _brought(ground, Forwarded(ground.name())))


@_flow("handle: 1 command with its answer")
async def _handle_command(ground: Ground) -> None:
    await _start_sagas(ground, 1)
    await _handle(ground, await ground.fetched())


@_flow("handle: 64 commands with their answers in a batch")
async def _handle_commands(ground: Ground) -> None:
    await _start_sagas(ground, 64)
    await _handle(ground, await ground.wanted(64))


@_flow("handle: 1 event fails and is deferred")
async def _defer(ground: Ground) -> None:
    await _handle(ground, await _brought(ground, Failing(ground.name())))
    await ground.pass_seconds(2.0)
    await _deferred_round(ground)


@_flow("handle: 1 deferred event fails again and becomes a dead letter")
async def _dead_letter(ground: Ground) -> None:
    await ground.take(await _brought(ground, Failing(ground.name())))
    await ground.pass_seconds(2.0)
    with ground.counting():
        await _deferred_round(ground)


@_flow("dead letter: replay 1")
async def _replay(ground: Ground) -> None:
    await ground.take(await _brought(ground, Failing(ground.name())))
    await ground.pass_seconds(2.0)
    await _deferred_round(ground)
    actions = DeadLetterActions(ground.running.context)
    (letter,) = await actions.find(DeadLetterFilter(limit=1))
    with ground.counting():
        await actions.replay(letter.id, actor="ledger", reason="counted")
    await _deferred_round(ground)


@_flow("saga: start, first command sent")
async def _start(ground: Ground) -> None:
    await ground.drained()
    with ground.counting():
        await _start_sagas(ground, 1, drain=False)


@_flow("saga: a reply is taken, a call begins")
async def _reply(ground: Ground) -> None:
    await _start_sagas(ground, 1)
    await ground.take(await ground.fetched())
    await _handle(ground, await ground.fetched())


@_flow("saga: 64 replies in a batch are taken")
async def _replies(ground: Ground) -> None:
    await _start_sagas(ground, 64)
    await ground.take(await ground.wanted(64))
    await _handle(ground, await ground.wanted(64))


@_flow("saga: 1 call is made, next command sent")
async def _call(ground: Ground) -> None:
    await _due(ground)
    with ground.counting():
        assert await ground.sagas.take_due() == 1
        await ground.sagas.finish_calls()


@_flow("saga: the last reply is taken, the saga completes")
async def _complete(ground: Ground) -> None:
    await _due(ground)
    await ground.sagas.take_due()
    await ground.sagas.finish_calls()
    await ground.take(await ground.fetched())
    await _handle(ground, await ground.fetched())


@_flow("saga: 4 calls, from the start to the end")
async def _four_calls(ground: Ground) -> None:
    with ground.counting():
        await _start_charging(ground, 1)


@_flow("saga: 4 calls, 16 sagas at once, from the start to the end")
async def _four_calls_of_many(ground: Ground) -> None:
    with ground.counting():
        await _start_charging(ground, 16)


@_flow("append: 1 event")
async def _append_one(ground: Ground) -> None:
    await _append(ground, "plain", 1)


@_flow("append: 10 events")
async def _append_ten(ground: Ground) -> None:
    await _append(ground, "plain", 10)


@_flow("append: 1 event with an inline projection")
async def _append_inline(ground: Ground) -> None:
    await _append(ground, "along", 1)


@_flow("projection: a batch of 1 event")
async def _project_one(ground: Ground) -> None:
    await _project(ground, 1)


@_flow("projection: a batch of 100 events")
async def _project_many(ground: Ground) -> None:
    await _project(ground, 100)


@_flow("http: a request with an idempotency key, publishes 1")
async def _request(ground: Ground) -> None:
    async with _client(ground) as client:
        await _post(client, f"warm {ground.name()}")
        with ground.counting():
            await _post(client, ground.name())


@_flow("http: the same request again")
async def _request_again(ground: Ground) -> None:
    async with _client(ground) as client:
        key = ground.name()
        await _post(client, key)
        with ground.counting():
            assert (await _post(client, key)).headers["idempotency-replayed"] == "true"


@_flow("readiness: a look that writes")
async def _ready(ground: Ground) -> None:
    await ground.pass_seconds(60.0)
    with ground.counting():
        assert (await ground.running.readiness(60.0)).ready


@_flow("readiness: a look within five seconds of one that wrote")
async def _ready_again(ground: Ground) -> None:
    assert (await ground.running.readiness(60.0)).ready
    with ground.counting():
        assert (await ground.running.readiness(60.0)).ready


@_flow("prune: a round that finds nothing")
async def _prune(ground: Ground) -> None:
    pruning = cast("PruneRunner", ground.running.loops.make("prune")[0])
    with ground.counting():
        for name, (prune, older_than_seconds) in pruning._targets.items():
            await pruning._prune(name, prune, older_than_seconds)


async def _relay(ground: Ground, messages: int) -> None:
    await ground.drained()
    if messages:
        await ground.commit(*(Posted(ground.name()) for _ in range(messages)))
    with ground.counting():
        assert await ground.relay._round() == messages


async def _brought(ground: Ground, *messages: object) -> Batch:
    """What was published, as one batch of the broker."""
    await ground.drained()
    await ground.commit(*messages)
    return await ground.wanted(len(messages))


async def _handle(ground: Ground, batch: Batch) -> None:
    with ground.counting():
        await ground.take(batch)


async def _deferred_round(ground: Ground) -> None:
    """What the loop of deferred messages does in a round."""
    for message in await ground.running.stores[INBOX].claim_due(ground.running.service.name, 1, 60.0):
        await ground.deferred._handle_claimed(message)


async def _start_sagas(ground: Ground, number: int, *, drain: bool = True) -> None:
    if drain:
        await ground.drained()
    async with ground.running.transaction() as tx:
        for _ in range(number):
            await ground.running.sagas.start(tx, Shipping, Order(ground.name()))


async def _start_charging(ground: Ground, number: int) -> None:
    """As in a process whose runner works: the calls begin with the commits that lead to them."""
    ground.running.context.resource(SagaEngine).caller = ground.sagas.calls
    async with ground.running.transaction() as tx:
        for _ in range(number):
            await ground.running.sagas.start(tx, Charging, Order(ground.name()))
    ground.running.context.resource(SagaEngine).caller = NOBODY
    await ground.sagas.finish_calls()


async def _due(ground: Ground) -> None:
    """A saga whose call is to be made."""
    await ground.drained()
    while await ground.sagas.take_due():
        await ground.sagas.finish_calls()
        await ground.drained()
    await _start_sagas(ground, 1)
    await ground.take(await ground.fetched())
    await ground.take(await ground.fetched())


async def _append(ground: Ground, category: str, events: int) -> None:
    name = ground.name()
    with ground.counting():
        async with ground.running.transaction() as tx:
            for _ in range(events):
                tx.append(f"{category}-{name}", Posted(name))


async def _project(ground: Ground, events: int) -> None:
    await _append(ground, "behind", events)
    ground.head = await ground.running.stores[EVENTS].high_water_mark()
    with ground.counting():
        assert await ground.projection._round()
    assert not await ground.projection._round()


def _client(ground: Ground) -> httpx.AsyncClient:
    app: FastAPI = create_app(ground.running)
    app.state.freehold = ground.running

    @app.post("/posted", status_code=201)
    async def post(tx: Tx) -> None:
        tx.publish(Posted(ground.name()))

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://counted")


async def _post(client: httpx.AsyncClient, key: str) -> httpx.Response:
    answer = await client.post("/posted", headers={"Idempotency-Key": key})
    assert answer.status_code == 201, answer.text
    return answer
