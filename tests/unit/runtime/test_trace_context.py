"""The trace context of messages: kept by what is handled at once, new for what is delayed, retried or replayed."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.runtime.trial import Happened, Request, envelope_of, eventually, memory_broker, put, read_topic, running

from freehold import Retry, Service, Transaction
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DeadLetterFilter
from freehold.messages import Envelope
from freehold.tracecontext import TraceContext

_PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_STATE = "vendor=1"


def _caused(number: int = 1) -> Envelope:
    parent = f"00-{number:032x}-{number:016x}-01"
    return envelope_of(Happened(f"k{number}", number), trace_parent=parent, trace_state=f"vendor={number}")


def _is_new(sent: Envelope, cause: Envelope) -> bool:
    """Whether a message has another trace than its cause, with the same decision on sampling."""
    made, old = TraceContext.parse(sent.trace_parent), TraceContext.parse(cause.trace_parent)
    assert made is not None
    assert old is not None
    assert made.sampled == old.sampled
    return made.trace_id != old.trace_id


async def test_what_a_handler_publishes_has_the_context_of_its_message() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened)
    async def pass_on(event: Happened, tx: Transaction) -> None:
        tx.send(Request(event.key, event.number))

    cause = _caused()
    async with running(service, broker):
        await put(broker, cause)
        (sent,) = await read_topic(broker, "trial.commands", 1)
    assert (sent.trace_parent, sent.trace_state) == (cause.trace_parent, cause.trace_state)


async def test_each_message_of_a_batch_keeps_its_own_trace() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles_batch(Happened)
    async def pass_on(pairs: Sequence[tuple[Happened, Transaction]], _: Transaction) -> None:
        for event, tx in pairs:
            tx.send(Request(event.key, event.number))

    causes = {f"k{number}": _caused(number) for number in range(1, 6)}
    await put(broker, *causes.values())
    async with running(service, broker):
        sent = await read_topic(broker, "trial.commands", 5)
    assert {each.key: each.trace_parent for each in sent} == {key: cause.trace_parent for key, cause in causes.items()}


async def test_a_scheduled_message_begins_a_trace() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened)
    async def later(event: Happened, tx: Transaction) -> None:
        tx.schedule(Request(event.key, 1), delay_seconds=0.01)
        tx.schedule(Request(event.key, 0), delay_seconds=0.0)

    cause = _caused()
    async with running(service, broker):
        await put(broker, cause)
        sent = {each.body: each for each in await read_topic(broker, "trial.commands", 2)}
    assert sorted(_is_new(each, cause) for each in sent.values()) == [False, True]


async def test_a_retry_of_a_deferred_message_begins_a_trace() -> None:
    service, broker = Service("trial"), memory_broker()
    attempts: list[int] = []

    @service.handles(Happened, retry=Retry(attempts=3, delay_seconds=0.01))
    async def fail_once(event: Happened, tx: Transaction) -> None:
        attempts.append(event.number)
        if len(attempts) < 2:
            raise ValueError("once")
        tx.send(Request(event.key, event.number))

    cause = _caused()
    async with running(service, broker):
        await put(broker, cause)
        (sent,) = await read_topic(broker, "trial.commands", 1)
    assert len(attempts) > 1
    assert _is_new(sent, cause)


async def test_a_replayed_dead_letter_begins_a_trace() -> None:
    service, broker = Service("trial"), memory_broker()
    seen: list[int] = []

    @service.handles(Happened, retry=Retry(attempts=1))
    async def fail_once(event: Happened, tx: Transaction) -> None:
        seen.append(event.number)
        if len(seen) == 1:
            raise ValueError("once")
        tx.send(Request(event.key, event.number))

    cause = _caused()
    async with running(service, broker) as started:
        await put(broker, cause)
        await eventually(lambda: len(seen) == 1)
        actions = DeadLetterActions(started.context)
        while not (letters := await actions.find(DeadLetterFilter())):
            await started.context.clock.sleep(0.01)
        await actions.replay(letters[0].id, actor="test", reason="test")
        (sent,) = await read_topic(broker, "trial.commands", 1)
    assert _is_new(sent, cause)
