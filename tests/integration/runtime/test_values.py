"""Values that nobody could read or keep are refused where they enter, the same on every engine, and change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.runtime.trial import Happened, envelope_of, memory_broker, put, settings_for

from freehold import (
    Decider,
    Inbox,
    InvalidValue,
    Repository,
    Retry,
    RunningService,
    Saga,
    Service,
    Transaction,
    command,
    event,
    local,
    step,
)
from freehold.audit.store import AUDIT, AuditEntry
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import DeclarationError
from freehold.eventstore.store import EVENTS
from freehold.messages.values import DELAY_SECONDS_MAX
from freehold.outbox.store import OUTBOX
from freehold.saga.store import SAGAS, SagaFilter
from freehold.schedule.store import SCHEDULE


@event("trial.counted", key="key")
class Counted:
    key: str
    number: float = 1.0


@event("trial.unordered", key="key")
class Unordered:
    key: str | None


@command("trial.count", key="key")
class Count:
    key: str
    number: float = 1.0


@dataclass(frozen=True, slots=True)
class State:
    key: str
    number: float = 1.0


async def spoil(state: State, _: Transaction) -> State:
    return replace(state, number=float("nan")) if state.key == "spoilt" else state


class Counting(Saga[State], name="trial.counting", key="key"):
    count = step(Count, no_compensation=True)
    end = local(spoil, after=count, no_compensation=True)


class Spoiling(Saga[State], name="trial.spoiling", key="key"):
    begin = local(spoil, no_compensation=True)


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.servers)],
)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return f"memory://{uuid4().hex}"
        case "sqlite":
            return f"sqlite:///{tmp_path}/trial.db"
        case _:
            return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[RunningService]:
    service = Service("trial")
    service.orchestrates(Counting)
    service.orchestrates(Spoiling)
    settings = settings_for("trial", database=database_url)
    async with RunningService(service, settings, broker=memory_broker(), roles=()) as running:
        yield running


_BAD_NAMES: list[Any] = ["", "a\x00b", "a\nb", "\x7f", "\x85", "\ud800", "x" * 513, 5, b"k"]
_wrong: Any = "1"
_nan = float("nan")


@pytest.mark.parametrize("bad", _BAD_NAMES)
async def test_what_becomes_a_key_or_a_name_is_refused(running: RunningService, bad: Any) -> None:
    calls: list[tuple[str, Callable[[Transaction], object]]] = [
        ("key", lambda tx: tx.publish(Counted("k"), key=bad)),
        ("key", lambda tx: tx.publish(Counted(bad))),
        ("key", lambda tx: tx.send(Count("k"), key=bad)),
        ("key", lambda tx: tx.schedule(Count("k"), delay_seconds=1, key=bad)),
        ("subject", lambda tx: tx.publish(Counted("k"), subject=bad)),
        ("headers", lambda tx: tx.publish(Counted("k"), headers={bad: "x"})),
        ("stream", lambda tx: tx.append(bad, Counted("k"))),
        ("subject_key", lambda tx: tx.append("a-1", Counted("k"), subject_key=bad)),
        ("headers", lambda tx: tx.append("a-1", Counted("k"), headers={bad: "x"})),
    ]
    if not isinstance(bad, str) or (bad and len(bad) < 500):
        calls.append(("headers[h]", lambda tx: tx.publish(Counted("k"), headers={"h": bad})))
    for field, call in calls:
        async with running.transaction() as tx:
            with pytest.raises(InvalidValue) as caught:
                call(tx)
        assert caught.value.field == field
    await _nothing_happened(running)


async def test_a_saga_is_not_begun_with_a_key_that_is_none(running: RunningService) -> None:
    for bad in ("", "a\x00b", "x" * 513):
        with pytest.raises(InvalidValue) as caught:
            async with running.transaction() as tx:
                await Counting.start(tx, State(bad))
        assert caught.value.field == "key"
    wrong: Any = str(uuid4())
    with pytest.raises(InvalidValue, match="saga_id must be UUID"):
        async with running.transaction() as tx:
            await Counting.start(tx, State("k"), saga_id=wrong)
    await _nothing_happened(running)


@pytest.mark.parametrize("delay", [_nan, float("inf"), -0.5, 1e18, DELAY_SECONDS_MAX + 1, "1", None, True])
async def test_what_is_no_delay_is_refused(running: RunningService, delay: Any) -> None:
    async with running.transaction() as tx:
        with pytest.raises(InvalidValue) as caught:
            tx.schedule(Count("k"), delay_seconds=delay)
    assert caught.value.field == "delay_seconds"
    await _nothing_happened(running)


async def test_what_is_no_time_to_send_at_is_refused(running: RunningService) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that it has no zone is the fault
    absurd: list[Any] = [naive, datetime.max.replace(tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC), "tomorrow"]
    for at in absurd:
        async with running.transaction() as tx:
            with pytest.raises(InvalidValue) as caught:
                tx.schedule(Count("k"), at=at)
        assert caught.value.field == "at"
    await _nothing_happened(running)


async def test_a_delay_beside_a_time_is_refused(running: RunningService) -> None:
    none: dict[str, Any] = {}
    both: dict[str, Any] = {"delay_seconds": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}
    async with running.transaction() as tx:
        with pytest.raises(InvalidValue, match="at must not be given together with delay_seconds"):
            tx.schedule(Count("k"), **both)
        with pytest.raises(InvalidValue, match="delay_seconds"):
            tx.schedule(Count("k"), **none)
    await _nothing_happened(running)


async def test_a_time_long_past_is_at_once_and_the_longest_delay_is_kept(running: RunningService) -> None:
    async with running.transaction() as tx:
        tx.schedule(Count("k"), at=datetime(1, 1, 3, tzinfo=UTC))
        tx.schedule(Count("k"), delay_seconds=DELAY_SECONDS_MAX)
    first, last = await running.stores[SCHEDULE].find(None, 10)
    assert last.due_at - first.due_at > timedelta(days=36_000)


async def test_a_body_that_does_not_fit_its_class_is_refused(running: RunningService) -> None:
    calls: list[Callable[[Transaction], object]] = [
        lambda tx: tx.publish(Counted("k", _nan)),
        lambda tx: tx.publish(Counted("k", _wrong)),
        lambda tx: tx.send(Count("k", _nan)),
        lambda tx: tx.schedule(Count("k", _wrong), delay_seconds=1),
        lambda tx: tx.append("a-1", Counted("k"), Counted("k", _nan)),
    ]
    for call in calls:
        async with running.transaction() as tx:
            with pytest.raises(InvalidValue) as caught:
                call(tx)
        assert caught.value.field == "number"
    await _nothing_happened(running)


async def test_a_sagas_state_is_checked_when_it_begins_and_whenever_it_is_saved(running: RunningService) -> None:
    other: Any = Count("k")
    for saga, state, field in (
        (Counting, State("k", _nan), "number"),
        (Counting, State("k", _wrong), "number"),
        (Counting, other, "state"),
        (Spoiling, State("spoilt"), "number"),
    ):
        with pytest.raises(InvalidValue) as caught:
            async with running.transaction() as tx:
                await saga.start(tx, state)
        assert caught.value.field == field
    await _nothing_happened(running)


async def test_a_key_field_without_a_value_asks_for_no_order(running: RunningService) -> None:
    """The text of None would be one key for all of them."""
    async with running.transaction() as tx:
        first, second = tx.staging.envelope(Unordered(None)), tx.staging.envelope(Unordered(None))
    assert first.key == str(first.id)
    assert first.key != second.key


async def test_what_no_stream_can_expect_is_refused(running: RunningService) -> None:
    for expected in (2**63, True, None, 1.0):
        wrong: Any = expected
        async with running.transaction() as tx:
            with pytest.raises(InvalidValue) as caught:
                tx.append("a-1", Counted("k"), expected=wrong)
        assert caught.value.field == "expected"
    with pytest.raises(DeclarationError):
        async with running.transaction() as tx:
            tx.append("a-1", Counted("k"), expected=-1)


async def test_the_inbox_alone_takes_no_id_that_is_none(database_url: str) -> None:
    if database_url.startswith("memory"):
        pytest.skip("the memory database has no sessions to join")
    async with Inbox("reader", database_url) as inbox:
        for bad in ("", "a\x00b", "x" * 513):
            with pytest.raises(InvalidValue, match="message_id"):
                await inbox.first_time(object(), bad)
    with pytest.raises(InvalidValue, match="consumer"):
        Inbox("a\x00", database_url)


async def _nothing_happened(running: RunningService) -> None:
    assert (await running.stores[OUTBOX].stats()).pending == 0
    assert await running.stores[SCHEDULE].find(None, 10) == []
    assert await running.stores[EVENTS].high_water_mark() == 0
    assert await running.stores[SAGAS].find(SagaFilter()) == []


def _decide(_: int, command: str) -> list[Counted]:
    return [Counted(command)]


def _evolve(state: int, _: Counted) -> int:
    return state + 1


@pytest.mark.parametrize("bad", ["a\x00b", "a\nb", "\ud800", "x" * 512])
async def test_an_aggregate_is_neither_read_nor_written_by_an_id_that_no_engine_keeps(
    running: RunningService, bad: str
) -> None:
    books = Repository(Decider("book", 0, _decide, _evolve))
    async with running.transaction() as tx:
        with pytest.raises(InvalidValue) as caught:
            await books.load(tx, bad, must_exist=False)
    assert caught.value.field == "id"


async def test_a_failure_whose_text_no_engine_keeps_is_recorded_all_the_same(database_url: str) -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened, retry=Retry(attempts=1))
    async def happened(message: Happened, _: Transaction) -> None:
        raise ValueError("half a pair: \ud800, and \x00")

    settings = settings_for("trial", database=database_url, poll_seconds=0.05)
    async with RunningService(service, settings, broker=broker) as running:
        await put(broker, envelope_of(Happened("a", 1)), envelope_of(Happened("b", 2)))
        async with asyncio.timeout(30):
            while len(await running.stores[DEAD_LETTERS].find(DeadLetterFilter())) < 2:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.02)


async def test_what_people_say_about_what_they_do_is_kept_whatever_it_is(running: RunningService) -> None:
    entry = AuditEntry(datetime(2026, 1, 1, tzinfo=UTC), "ann\x00", "look", "it", "because \ud800")
    async with running.stores.database.begin() as db_tx:
        await running.stores[AUDIT].add(db_tx, entry)
    (kept,) = await running.stores[AUDIT].find("it", 10)
    assert kept.reason.startswith("because")
