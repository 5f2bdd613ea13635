"""The way of a message into a service: once, in order, isolated where it fails, parked where it cannot be handled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.unit.runtime.trial import (
    Answered,
    Happened,
    Request,
    envelope_of,
    eventually,
    memory_broker,
    put,
    read_topic,
    running,
)

from freehold import Rejected, Retry, RunningService, Service, Transaction
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter
from freehold.errors import ConcurrencyConflict, Unavailable
from freehold.ids import stable_hash
from freehold.inbox.reply import HEADER_OUTCOME
from freehold.inbox.store import INBOX
from freehold.messages import MessageKind, decode_body, message_type
from freehold.transaction import outgoing

FAST = Retry(attempts=3, delay_seconds=0.01, delay_seconds_max=0.02)


async def test_a_message_that_comes_twice_is_handled_once() -> None:
    service, broker, seen = Service("trial"), memory_broker(), list[int]()

    @service.handles(Happened)
    async def handle(event: Happened, tx: Transaction) -> None:
        seen.append(event.number)

    first, last = envelope_of(Happened("a", 1)), envelope_of(Happened("a", 2))
    async with running(service, broker):
        await put(broker, first, first)
        await put(broker, first, last)
        await eventually(lambda: 2 in seen)
    assert seen == [1, 2]


async def test_messages_of_a_key_come_in_order_also_around_a_failing_one() -> None:
    service, broker, seen = Service("trial"), memory_broker(), list[tuple[str, int]]()
    failures = {("a", 3): 2}

    @service.handles(Happened, retry=FAST)
    async def handle(event: Happened, tx: Transaction) -> None:
        place = (event.key, event.number)
        if failures.get(place, 0):
            failures[place] -= 1
            raise ValueError("planned")
        seen.append(place)

    async with running(service, broker):
        for number in range(8):
            await put(broker, *(envelope_of(Happened(key, number)) for key in "abc"))
        await eventually(lambda: len(set(seen)) == 24)
    committed = [place for n, place in enumerate(seen) if place not in seen[n + 1 :]]
    for key in "abc":
        assert [number for found, number in committed if found == key] == list(range(8))


async def test_a_poison_message_parks_its_key_alone_and_then_itself() -> None:
    service, broker, seen = Service("trial"), memory_broker(), list[tuple[str, int]]()

    @service.handles(Happened, retry=FAST)
    async def handle(event: Happened, tx: Transaction) -> None:
        if (event.key, event.number) == ("poison", 0):
            raise ValueError("a value that must not be told: 4711")
        seen.append((event.key, event.number))

    async with running(service, broker) as started:
        await put(broker, *(envelope_of(Happened(key, n)) for n in range(3) for key in ("poison", "good")))
        await eventually(lambda: {("poison", 1), ("poison", 2), ("good", 2)} <= set(seen))
        (letter,) = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert (letter.reason, letter.error_type, letter.attempts) == ("attempts-exhausted", "ValueError", 3)
    assert "4711" not in letter.detail
    assert "handle" in letter.detail


async def test_what_cannot_be_read_is_a_dead_letter_with_a_reason() -> None:
    service, broker, seen = Service("trial"), memory_broker(), list[int]()

    @service.handles(Happened)
    async def handle(event: Happened, tx: Transaction) -> None:
        seen.append(event.number)

    async with running(service, broker) as started:
        await put(broker, envelope_of(Happened("a", 1), version=9))
        await put(broker, envelope_of(Happened("a", 2), body=b'{"key":"a","number":"secret"}'))
        await put(broker, envelope_of(Request("a", 3)), envelope_of(Happened("a", 4), type="elsewhere.other"))
        no_envelope = replace(outgoing(envelope_of(Happened("a", 5))), document=b"not json")
        await broker.publish([no_envelope], 5.0)
        await put(broker, envelope_of(Happened("a", 6)))
        await eventually(lambda: 6 in seen)
        await _count(started, {"invalid-body": 1, "unknown-type": 1, "invalid-envelope": 1})
        letters = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert set(seen) == {6}
    assert all("secret" not in letter.detail for letter in letters)


async def test_a_handler_that_kills_its_process_is_given_up() -> None:
    """The broker hands the batch out again and again; the counts tell, and only the culprit is given up."""
    service, broker, seen, deaths = Service("trial"), memory_broker(), list[int](), list[int]()

    @service.handles(Happened)
    async def handle(event: Happened, tx: Transaction) -> None:
        if event.number == 1:
            deaths.append(event.number)
            await asyncio.Event().wait()  # until it is ended: as near to a kill as a test in one process comes
        seen.append(event.number)

    await put(broker, *(envelope_of(Happened("a", number)) for number in range(3)))
    for _ in range(8):
        deaths.clear()
        async with running(service, broker, database="memory://killed") as started:
            await eventually(lambda: 2 in seen or len(deaths) > 0)
            await started.stop(0.0)
        if 2 in seen:
            break
    assert 2 in seen
    async with running(service, broker, database="memory://killed") as started:
        (letter,) = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert letter.reason == "consumer-crashed"


async def test_a_message_that_kills_takes_no_healthy_one_with_it(tmp_path: Path) -> None:
    """Its partition comes first each time, and others are delivered while it is handled: their counts must not rise
    with its own.
    """
    service, broker, seen, deaths = Service("trial"), memory_broker(), set[str](), list[str]()
    letters: Sequence[DeadLetter] = ()
    keys = [f"k{number}" for number in range(12)]
    partitions = {key: stable_hash(key) % broker.partitions for key in keys}
    killer = sorted(keys, key=lambda key: partitions[key])[4]

    @service.handles(Happened)
    async def handle(event: Happened, tx: Transaction) -> None:
        if event.key == killer:
            deaths.append(event.key)
            await asyncio.Event().wait()  # until it is ended
        seen.add(event.key)

    healthy = {key for key in keys if partitions[key] != partitions[killer]}
    await put(broker, *(envelope_of(Happened(key, 1)) for key in keys if key in healthy or key == killer))
    for _ in range(12):
        deaths.clear()
        async with running(service, broker, database=f"sqlite:///{tmp_path}/trial.db") as started:
            await eventually(lambda: len(deaths) > 0 or healthy <= seen)
            letters = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
            await started.stop(0.0)
        if letters and healthy <= seen:
            break
    assert [(letter.key, letter.reason) for letter in letters] == [(killer, "consumer-crashed")]
    assert healthy <= seen


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()], ids=repr)
async def test_what_is_no_exception_is_the_message_s_failure(error: BaseException) -> None:
    """It would end a worker, and in the end the consumer, without a word."""
    service, broker, seen = Service("trial"), memory_broker(), list[str]()

    @service.handles(Happened, retry=FAST)
    async def handle(event: Happened, tx: Transaction) -> None:
        if event.key == "poison":
            raise error
        seen.append(event.key)

    async with running(service, broker) as started:
        await put(broker, envelope_of(Happened("poison", 1)), envelope_of(Happened("a", 2)))
        await _count(started, {"attempts-exhausted": 1})
        await put(broker, envelope_of(Happened("b", 3)))
        await eventually(lambda: {"a", "b"} <= set(seen))
        (letter,) = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert (letter.key, letter.error_type, letter.attempts) == ("poison", "HandlerAborted", 3)
    assert type(error).__name__ in letter.detail


async def test_an_absent_database_holds_messages_up_and_counts_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    service, broker, seen = Service("trial"), memory_broker(), list[int]()

    @service.handles(Happened, retry=Retry(attempts=1))
    async def handle(event: Happened, tx: Transaction) -> None:
        seen.append(event.number)

    async with running(service, broker) as started:
        database = type(started.stores.database)
        with monkeypatch.context() as absence:
            asked = list[object]()
            absence.setattr(database, "begin", lambda *_: _absent(asked))
            absence.setattr(database, "probe", lambda *_: _absent(asked))
            await put(broker, envelope_of(Happened("a", 1)))
            await eventually(lambda: len(asked) >= 3)
            assert seen == []
        await eventually(lambda: seen == [1])
        assert await started.stores[DEAD_LETTERS].count() == {}
        assert (await started.stores[INBOX].stats()).pending == 0


def _absent(asked: list[object]) -> None:
    asked.append(None)
    raise Unavailable("planned")


async def test_an_unavailable_other_service_is_the_handlers_failure() -> None:
    service, broker, tries = Service("trial"), memory_broker(), list[int]()

    @service.handles(Happened, retry=FAST)
    async def handle(event: Happened, tx: Transaction) -> None:
        tries.append(event.number)
        raise Unavailable("the weather service is away")

    async with running(service, broker) as started:
        await put(broker, envelope_of(Happened("a", 1)))
        await eventually(lambda: len(tries) == 3)
        await _count(started, {"attempts-exhausted": 1})
        (letter,) = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert letter.detail.startswith("the weather service is away, at tests/unit/runtime/test_consumer.py:")


async def test_a_conflict_is_tried_again_at_once_and_counts_for_nothing() -> None:
    service, broker, tries = Service("trial"), memory_broker(), list[int]()

    @service.handles(Happened, retry=Retry(attempts=1))
    async def handle(event: Happened, tx: Transaction) -> None:
        tries.append(event.number)
        if len(tries) < 4:
            raise ConcurrencyConflict("planned")

    async with running(service, broker) as started:
        await put(broker, envelope_of(Happened("a", 1)))
        await eventually(lambda: len(tries) == 4)
        await put(broker, envelope_of(Happened("a", 2)))
        await eventually(lambda: tries == [1, 1, 1, 1, 2])
        assert await started.stores[DEAD_LETTERS].count() == {}
        assert (await started.stores[INBOX].stats()).pending == 0


async def test_a_handler_without_end_is_cancelled_and_retried() -> None:
    service, broker, tries = Service("trial"), memory_broker(), list[int]()

    @service.handles(Happened, retry=FAST, timeout_seconds=0.03)
    async def handle(event: Happened, tx: Transaction) -> None:
        tries.append(event.number)
        if len(tries) < 2:
            await asyncio.Event().wait()

    async with running(service, broker) as started:
        await put(broker, envelope_of(Happened("a", 1)))
        await eventually(lambda: len(tries) >= 2)
        assert await started.stores[DEAD_LETTERS].count() == {}


async def test_a_request_is_answered_once_and_again_to_a_duplicate() -> None:
    service, broker, tries = Service("trial"), memory_broker(), list[int]()

    @service.handles(Request)
    async def handle(request: Request, tx: Transaction) -> Answered | Rejected | None:
        tries.append(request.number)
        if request.number == 1:
            raise Rejected("out-of-stock", "none left")
        return Answered(7) if request.number == 2 else None

    saga = {"freehold-saga": str(uuid4()), "freehold-attempt": "1", "other": "x"}
    requests = [
        envelope_of(Request("k", n), reply_to="asker.replies", idempotency_key=f"key-{n}", headers=saga)
        for n in range(1, 4)
    ]
    again = replace(requests[1], id=uuid4(), headers={**saga, "freehold-attempt": "2"})
    async with running(service, broker):
        await put(broker, *requests)
        replies = await read_topic(broker, "asker.replies", 3)
        await put(broker, again)
        repeated = (await read_topic(broker, "asker.replies", 4))[3]
    assert [reply.headers[HEADER_OUTCOME] for reply in replies] == ["rejected", "done", "done"]
    refusal = b'{"code":"out-of-stock","detail":"none left"}'
    assert [reply.body for reply in replies] == [refusal, b'{"number":7}', b"{}"]
    assert {(reply.kind, reply.key) for reply in replies} == {(MessageKind.REPLY, "k")}
    assert "other" not in replies[0].headers
    assert (repeated.body, repeated.causation_id) == (replies[1].body, again.id)
    assert repeated.headers["freehold-attempt"] == "2"
    assert repeated.id != replies[1].id
    assert tries.count(2) <= 2


async def test_a_compensation_before_its_action_cancels_it() -> None:
    service, broker, tries = Service("trial"), memory_broker(), list[int]()

    @service.handles(Request)
    async def handle(request: Request, tx: Transaction) -> None:
        tries.append(request.number)

    undo = envelope_of(Request("k", 2), reply_to="asker.replies", idempotency_key="undo", compensates="action")
    action = envelope_of(Request("k", 1), reply_to="asker.replies", idempotency_key="action")
    async with running(service, broker):
        await put(broker, undo, action)
        replies = await read_topic(broker, "asker.replies", 2)
    assert [reply.headers[HEADER_OUTCOME] for reply in replies] == ["no-effect", "cancelled"]
    assert tries == []


async def test_a_request_that_died_can_still_be_undone_and_is_then_cancelled_for_ever() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Request, retry=Retry(attempts=1))
    async def handle(request: Request, tx: Transaction) -> None:
        raise ValueError("planned")

    action = envelope_of(Request("k", 1), reply_to="asker.replies", idempotency_key="action")
    undo = envelope_of(Request("k", 2), reply_to="asker.replies", idempotency_key="undo", compensates="action")
    async with running(service, broker) as started:
        await put(broker, action)
        await _count(started, {"attempts-exhausted": 1})
        await put(broker, action)
        await put(broker, undo)
        (reply,) = await read_topic(broker, "asker.replies", 1)
        assert reply.headers[HEADER_OUTCOME] == "no-effect"
        await _count(started, {"attempts-exhausted": 1})


async def test_what_a_handler_sends_is_caused_by_its_message() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened)
    async def handle(event: Happened, tx: Transaction) -> None:
        tx.send(Request(event.key, event.number))

    @service.handles(Request)
    async def ignore(request: Request, tx: Transaction) -> None:
        return None

    causes = [envelope_of(Happened(f"k{n}", n), trace_parent=f"00-{n + 1:032x}-{n + 1:016x}-01") for n in range(5)]
    async with running(service, broker):
        await put(broker, *causes)
        sent = await read_topic(broker, "trial.commands", 5)
    for envelope in sent:
        number = int(envelope.key[1:])
        assert decode_body(envelope.body, message_type(Request)).number == number
        cause = causes[number]
        assert (envelope.causation_id, envelope.correlation_id) == (cause.id, cause.correlation_id)
        assert envelope.trace_parent == cause.trace_parent
        assert envelope.hlc > cause.hlc


async def _count(started: RunningService, wanted: dict[str, int]) -> None:
    async with asyncio.timeout(30):
        while await started.stores[DEAD_LETTERS].count() != wanted:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)
