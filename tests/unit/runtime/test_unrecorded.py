"""What became of a message cannot be written down: its key waits, and nobody else, however long that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

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
    settings_for,
)

from freehold import Rejected, Retry, RunningService, Service, Transaction, event, lifecycle
from freehold.broker import OutgoingMessage, PublishFailed, PublishOutcome
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import DatabaseError, MessageRejected
from freehold.ids import stable_hash
from freehold.inbox.store import INBOX
from freehold.outbox.store import OUTBOX

_ONCE = Retry(attempts=1)
_KEYS = [f"key-{number}" for number in range(24)]


@event("trial.noted", key="key")
class Noted:
    key: str


class _Refusing:
    """A store's method that refuses some calls, for as long as it does."""

    def __init__(self, method: Any, refuses: Any) -> None:
        self.on = True
        self.refused = 0
        self._method = method
        self._refuses = refuses

    async def __call__(self, *args: Any, **options: Any) -> Any:
        if self.on and self._refuses(*args):
            self.refused += 1
            raise DatabaseError("invalid byte sequence")
        return await self._method(*args, **options)


def _service(poison: str, retry: Retry) -> tuple[Service, list[str]]:
    service, handled = Service("trial"), list[str]()

    @service.handles(Happened, retry=retry)
    async def happened(event: Happened, tx: Transaction) -> None:
        if event.key == poison or event.number < 0:
            raise ValueError("planned")
        handled.append(event.key)

    return service, handled


async def test_a_first_arrival_that_cannot_be_put_off_holds_up_its_partition_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "FAILING_SECONDS_MAX", 0.0)
    (service, handled), broker = _service("poison", Retry(attempts=5, delay_seconds=0.01)), memory_broker()
    async with running(service, broker) as started:
        inbox: Any = started.stores[INBOX]
        defer = _Refusing(inbox.defer, lambda *args: args[2].key == "poison")
        monkeypatch.setattr(inbox, "defer", defer)
        await put(broker, envelope_of(Happened("poison", 1)))
        await eventually(lambda: defer.refused > 2)
        await put(broker, *(envelope_of(Happened(key, 2)) for key in _KEYS))
        mine = _partition(broker, "poison")
        others = [key for key in _KEYS if _partition(broker, key) != mine]
        await eventually(lambda: set(others) <= set(handled))
        readiness = await started.readiness()
        assert readiness.problems.keys() == {"consumer trial"}
        assert f"elsewhere.events partition {mine} has failed for" in readiness.problems["consumer trial"]
        defer.on = False
        await eventually(lambda: set(handled) == set(_KEYS))
        async with asyncio.timeout(30):
            while not (await started.readiness()).ready:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.01)


async def test_a_deferred_message_whose_dead_letter_is_refused_lets_its_neighbours_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retry = Retry(attempts=2, delay_seconds=0.3, delay_seconds_max=0.3)
    service, tries, broker = Service("trial"), dict[str, int](), memory_broker()

    @service.handles(Happened, retry=retry)
    async def happened(event: Happened, tx: Transaction) -> None:
        tries[event.key] = tries.get(event.key, 0) + 1
        if event.key == "poison" or tries[event.key] == 1:
            raise ValueError("planned")

    async with running(service, broker) as started:
        letters: Any = started.stores[DEAD_LETTERS]
        add = _Refusing(letters.add, lambda *args: args[1].key == "poison")
        monkeypatch.setattr(letters, "add", add)
        begun = asyncio.get_running_loop().time()
        await put(broker, *(envelope_of(Happened(key, 1)) for key in ("poison", *_KEYS)))
        await eventually(lambda: add.refused > 0 and all(tries.get(key) == 2 for key in _KEYS), 50.0)
        assert asyncio.get_running_loop().time() - begun < 55.0, "that is the time of a claim"
        (left,) = await started.stores[INBOX].deferred("trial", 10)
        assert left.reason == "its failure could not be recorded: DatabaseError"
        add.on = False

        async def dead_lettered() -> bool:
            return [each.key for each in await letters.find(DeadLetterFilter())] == ["poison"]

        async with asyncio.timeout(30):
            while not await dead_lettered():  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.02)


async def test_a_deferred_message_that_cannot_even_be_put_off_lets_its_neighbours_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "FAILING_SECONDS_MAX", 0.0)
    retry = Retry(attempts=9, delay_seconds=0.3, delay_seconds_max=0.3)
    service, tries, broker = Service("trial"), dict[str, int](), memory_broker()

    @service.handles(Happened, retry=retry)
    async def happened(event: Happened, tx: Transaction) -> None:
        tries[event.key] = tries.get(event.key, 0) + 1
        if event.key == "poison" or tries[event.key] == 1:
            raise ValueError("planned")

    async with running(service, broker) as started:
        inbox: Any = started.stores[INBOX]
        reschedule = _Refusing(inbox.reschedule, lambda *args: args[0].key == "poison")
        monkeypatch.setattr(inbox, "reschedule", reschedule)
        await put(broker, *(envelope_of(Happened(key, 1)) for key in ("poison", *_KEYS)))
        await eventually(lambda: reschedule.refused > 0 and all(tries.get(key) == 2 for key in _KEYS), 50.0)
        assert (await started.readiness()).problems.keys() == {"deferred trial"}
        assert "deferred trial" in {name for name, each in (await started.health()).runners.items() if each.last_error}


async def test_what_a_stop_finds_claimed_is_free_at_once(tmp_path: object) -> None:
    retry = Retry(attempts=9, delay_seconds=0.05, delay_seconds_max=0.05)
    service, broker = Service("trial"), memory_broker()
    at_work, failing, handled = asyncio.Event(), True, list[str]()

    @service.handles(Happened, retry=retry)
    async def happened(event: Happened, tx: Transaction) -> None:
        if failing:
            if at_work.is_set():
                await asyncio.Event().wait()
            raise ValueError("planned")
        handled.append(event.key)

    settings = settings_for("trial", database=f"sqlite:///{tmp_path}/trial.db", drain_seconds=0.1)
    async with RunningService(service, settings, broker=broker) as started:
        await started.pause("deferred")
        await put(broker, *(envelope_of(Happened(key, 1)) for key in ("a", "b", "c")))
        async with asyncio.timeout(30):
            while (await started.stores[INBOX].stats()).keys < 3:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.01)
            while (await started.stores[INBOX].next_due_seconds("trial") or 0.0) > 0:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)  # the others are due then, too
        at_work.set()
        await started.resume("deferred")
        deferred: Any = started.loops.running["deferred"][0]
        await eventually(lambda: deferred._claimed is not None)
        counts = [each.attempts for each in await started.stores[INBOX].deferred("trial", 10)]
        assert sorted(counts) == [1, 1, 2], "a message that ends the process would be counted alone"
    failing = False
    async with RunningService(service, settings, broker=broker):
        await eventually(lambda: sorted(handled) == ["a", "b", "c"], 30.0)


async def test_a_refusal_that_cannot_travel_is_a_failure_like_any_other() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Request, retry=_ONCE)
    async def request(command: Request, tx: Transaction) -> Answered:
        if command.key == "poison":
            raise Rejected("no", "half a pair: \ud800")
        return Answered(command.number)

    async with running(service, broker) as started:
        commands = [envelope_of(Request(key, 1), reply_to="other.replies") for key in ("poison", "a", "b")]
        await put(broker, *commands)
        assert {each.key for each in await read_topic(broker, "other.replies", 2)} == {"a", "b"}

        async with asyncio.timeout(30):
            while not (found := await started.stores[INBOX].deferred("trial", 10)):  # noqa: ASYNC110 - from outside
                await asyncio.sleep(0.01)
        assert [each.key for each in found] == ["poison"]
        assert (await started.readiness()).ready


async def test_a_row_whose_refusal_cannot_be_recorded_holds_up_its_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "FAILING_SECONDS_MAX", 0.0)
    service, broker = Service("trial"), memory_broker()
    publish = broker.publish

    async def picky(
        messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        wanted = [message for message in messages if message.key != "poison"]
        outcomes = iter(await publish(wanted, timeout_seconds))
        return [
            PublishFailed(MessageRejected("never")) if message.key == "poison" else next(outcomes)
            for message in messages
        ]

    monkeypatch.setattr(broker, "publish", picky)
    async with running(service, broker, poll_seconds=0.05) as started:
        outbox: Any = started.stores[OUTBOX]
        reschedule = _Refusing(outbox.reschedule, lambda *_: True)
        monkeypatch.setattr(outbox, "reschedule", reschedule)
        for number in range(3):
            async with started.transaction() as tx:
                for key in ("poison", *_KEYS):
                    tx.publish(Noted(key))
            heard = await read_topic(broker, "trial.events", (number + 1) * len(_KEYS))
            assert "poison" not in {each.key for each in heard}
        await eventually(lambda: reschedule.refused > 2)
        assert started.loops.running["relay"][1].state is lifecycle.RunnerState.RUNNING
        assert (await started.readiness()).problems.keys() == {"relay trial"}
        reschedule.on = False
        async with asyncio.timeout(30):
            while not (await started.readiness()).ready:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.01)


def _partition(broker: Any, key: str) -> int:
    return int(stable_hash(key) % broker.partitions)
