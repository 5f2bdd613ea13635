"""Parts of the operations that need no running shop: pauses, durations, copies, poison, the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from freehold.broker import Broker, OutgoingMessage, PublishConfirmed, Subscription
from freehold.errors import CodecError, ConfigurationError, Unavailable
from freehold.ids import new_id
from freehold.inbox.work import MessageRouter
from freehold.runtime.adapters import open_broker
from freehold_shop.faults.board import FaultBoard
from freehold_shop.faults.catalogue import catalogue
from freehold_shop.faults.duplicates import DuplicatingBroker, Switch
from freehold_shop.faults.fault import Trouble
from freehold_shop.faults.poison import publish_poison
from freehold_shop.inventory.service import inventory
from freehold_shop.supervisor.assemble import Ports
from freehold_shop.supervisor.children import restart_delay_seconds
from freehold_shop.supervisor.plan import SERVICE_NAMES, Plan, parse_instances
from freehold_shop.supervisor.servers import ServersInfrastructure


class SlowEnding:
    """The end of a fault that the test says to be over, or to have failed."""

    def __init__(self) -> None:
        self.over = False
        self.error: Unavailable | None = None

    def poll(self) -> bool:
        if self.error is not None:
            raise self.error
        return self.over


class RecordingSite:
    """Notes what faults do; `refuses` makes it fail."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []
        self.refuses = False
        self.ending = SlowEnding()

    def payments_rule(self, rule: str, *, on: bool) -> None:
        self._note("rule", rule, on)

    def crash(self, service: str) -> None:
        self._note("crash", service)

    def broker_outage(self, *, on: bool) -> None:
        self._note("broker", on)

    def stop_processes(self, service: str, *, on: bool) -> None:
        self._note("stop", service, on)

    def empty_broker(self) -> None:
        self._note("emptied", True)

    def send_again(self) -> SlowEnding:
        self._note("emptied", False)
        return self.ending

    def broker_limit(self, *, on: bool) -> None:
        self._note("limit", on)

    def database_trouble(self, service: str, trouble: Trouble, *, on: bool) -> None:
        self._note("database", service, trouble, on)

    def crash_database(self, service: str) -> None:
        self._note("database killed", service, True)

    def end_sessions(self, service: str) -> None:
        self._note("sessions", service, True)

    def stop_relays(self, service: str, *, on: bool) -> None:
        self._note("relays", service, on)

    def duplicate_messages(self, *, on: bool) -> None:
        self._note("duplicates", on)

    def slow_projections(self, *, on: bool) -> None:
        self._note("projections", on)

    def poison(self) -> None:
        self._note("poison", True)

    def discard_poison(self) -> SlowEnding:
        self._note("poison", False)
        return self.ending

    def _note(self, *what: object) -> None:
        if self.refuses:
            raise Unavailable("not now")
        self.done.append(what)


class Board:
    """A board with a clock that the test sets."""

    def __init__(self) -> None:
        self.site = RecordingSite()
        self.time = 0.0
        self.board = FaultBoard(self.site, catalogue(SERVICE_NAMES, "mariadb"), lambda: self.time)


def test_every_lasting_fault_undoes_what_it_did() -> None:
    for name, fault in catalogue(SERVICE_NAMES, "mariadb").items():
        fixture = Board()
        fixture.board.begin(name, None)
        assert fixture.board.on() == ([name] if fault.lasting else [])
        fixture.board.heal(None)
        fixture.site.ending.over = True
        fixture.board.end_due()
        assert fixture.board.on() == []
        if fault.lasting:
            begun, ended = fixture.site.done
            assert (begun[:-1], begun[-1], ended[-1]) == (ended[:-1], True, False)


def test_a_fault_ends_when_its_time_is_over_and_not_before() -> None:
    fixture = Board()
    fixture.board.begin("payments-down", 5.0)
    fixture.time = 4.9
    assert fixture.board.end_due() == []
    fixture.time = 5.0
    assert fixture.board.end_due() == ["payments-down"]
    assert fixture.board.on() == []


def test_beginning_again_changes_the_duration_alone() -> None:
    fixture = Board()
    fixture.board.begin("broker-down", 5.0)
    fixture.board.begin("broker-down", None)
    assert (fixture.site.done, fixture.board.next_end()) == ([("broker", True)], None)


def test_a_fault_that_cannot_be_ended_stays_on_and_is_tried_again() -> None:
    fixture = Board()
    fixture.board.begin("broker-down", 5.0)
    fixture.site.refuses = True
    fixture.time = 6.0
    assert fixture.board.end_due() == []
    with pytest.raises(Unavailable):
        fixture.board.heal(None)
    assert fixture.board.on() == ["broker-down"]
    fixture.site.refuses = False
    fixture.time = 8.0
    assert fixture.board.end_due() == ["broker-down"]


def test_a_fault_that_takes_its_time_to_end_is_on_until_then_and_ended_once() -> None:
    fixture = Board()
    fixture.board.begin("poison-message", None)
    (state,) = fixture.board.heal("poison-message")
    assert (state.on, state.ending) == (True, True)
    assert fixture.board.heal("poison-message") == fixture.board.heal(None) == [state]
    assert fixture.board.end_due() == []
    with pytest.raises(Unavailable, match="is being healed"):
        fixture.board.begin("poison-message", None)
    fixture.site.ending.over = True
    assert fixture.board.end_due() == ["poison-message"]
    assert (fixture.board.heal("poison-message"), fixture.board.on()) == ([], [])
    assert fixture.site.done == [("poison", True), ("poison", False)]


def test_an_end_that_fails_later_leaves_the_fault_on_and_says_why() -> None:
    fixture = Board()
    fixture.board.begin("poison-message", 5.0)
    fixture.time = 5.0
    assert fixture.board.end_due() == []
    assert fixture.board.next_end() is None, "it is being ended: there is nothing to wait for but that"
    fixture.site.ending.error = Unavailable("orders reads nothing")
    fixture.board.end_due()
    (state,) = [each for each in fixture.board.states() if each.name == "poison-message"]
    assert (state.on, state.ending, state.reason) == (True, False, "orders reads nothing")
    fixture.site.ending = SlowEnding()
    fixture.site.ending.over = True
    fixture.time = 7.0
    fixture.board.end_due()
    assert fixture.board.end_due() == ["poison-message"]


def test_what_outlives_the_shop_is_ended_by_the_next_one() -> None:
    before = Board()
    for name in ("broker-down", "poison-message", "orders-database-full"):
        before.board.begin(name, None)
    assert before.board.outliving() == ["poison-message"]
    after = Board()
    after.board.end_left(["broker-down", "poison-message", "no-such-fault"])
    assert after.board.on() == ["poison-message"]
    after.board.end_due()
    after.site.ending.over = True
    assert after.board.end_due() == ["poison-message"]
    assert after.site.done == [("poison", False)]


def test_a_process_that_dies_again_and_again_is_started_ever_more_slowly() -> None:
    assert [restart_delay_seconds(failures) for failures in (1, 2, 3, 4)] == [0.0, 0.1, 0.2, 0.4]
    assert restart_delay_seconds(1_000) == 5.0


@pytest.mark.parametrize("text", ["orders", "orders=", "orders=two", "orders=-1", "=", "orders=1e3"])
def test_instances_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not SERVICE=N"):
        parse_instances([text])


@pytest.mark.parametrize(
    ("instances", "single_process"),
    [({"orders": 0}, False), ({"orders": 9}, False), ({"x": 1}, False), ({"orders": 2}, True)],
)
def test_a_plan_that_cannot_run_is_refused(instances: dict[str, int], single_process: bool, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Plan(tmp_path, instances=instances, single_process=single_process)


def test_shops_that_begin_at_the_same_moment_share_no_port(tmp_path: Path) -> None:
    """Nobody listens at the provider's port yet, and both want the usual one."""
    shops = [Ports(Plan(tmp_path / name, usual_ports=True)) for name in ("first", "second")]
    try:
        first, second = (set(each.urls.values()) for each in shops)
        assert not first & second
    finally:
        for each in shops:
            each.close()


async def test_every_tenth_message_is_published_twice_while_the_switch_is_on() -> None:
    broker, switch = open_broker("memory://"), Switch(on=True)
    duplicating = DuplicatingBroker(broker, switch)
    await duplicating.open()
    try:
        documents = [str(number).encode() for number in range(20)]
        messages = [OutgoingMessage(id=new_id(), topic="t.events", key="k", document=each) for each in documents]
        assert all(isinstance(each, PublishConfirmed) for each in await duplicating.publish(messages, 5.0))
        assert await read_all(duplicating, "t.events") == [*documents, b"9", b"19"]
        switch.on = False
        await duplicating.publish(messages[:10], 5.0)
    finally:
        await duplicating.close()


async def test_poison_is_unreadable_to_the_service_that_gets_it() -> None:
    broker = open_broker("memory://")
    await broker.open()
    try:
        count = await publish_poison(broker, inventory.handlers)
        documents = [each for topic in sorted(inventory.topics) for each in await read_all(broker, topic)]
    finally:
        await broker.close()
    assert count == len(documents) >= len(inventory.handlers) + 2
    reader = MessageRouter(inventory.handlers.values())
    for number, document in enumerate(documents):
        work = reader.route(document, topic="t", location=str(number))
        assert work is not None
        assert work.decode_failure is not None
        assert isinstance(work.decode_failure.error, CodecError)


async def read_all(broker: Broker, topic: str) -> list[bytes]:
    group = f"g{new_id()}"
    consumer = await broker.subscribe(Subscription(group=group, topics=frozenset({topic})))
    found: list[bytes] = []
    try:
        while any(each.pending for each in await broker.lag(group)):
            batch = await consumer.fetch(100, 60.0)
            assert batch is not None
            found += [delivery.document for delivery in batch.deliveries]
            await batch.ack(len(batch.deliveries))
    finally:
        await consumer.close()
    return found


INFRASTRUCTURE_REFUSES: Mapping[str, Callable[[ServersInfrastructure], None]] = {
    "limit": ServersInfrastructure.begin_broker_limit,
    "emptied": ServersInfrastructure.empty_broker,
    "outage": ServersInfrastructure.begin_broker_outage,
}


@pytest.mark.parametrize("begin", INFRASTRUCTURE_REFUSES.values(), ids=INFRASTRUCTURE_REFUSES.keys())
def test_a_server_that_the_shop_did_not_start_is_left_alone(
    begin: Callable[[ServersInfrastructure], None], tmp_path: Path
) -> None:
    infrastructure = ServersInfrastructure(tmp_path, environ={"FREEHOLD_BROKER": "nats://elsewhere"})
    with pytest.raises(ConfigurationError, match="this shop has not started"):
        begin(infrastructure)
