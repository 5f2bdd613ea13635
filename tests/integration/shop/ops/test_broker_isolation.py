"""Who may do what with the shop's NATS: each service what is its own, and nothing else; every refusal comes at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from freehold.adapters.nats.names import Layout, Names
from freehold.broker import (
    OPERATOR,
    Broker,
    BrokerOptions,
    BrokerRights,
    OutgoingMessage,
    PublishConfirmed,
    PublishFailed,
    Subscription,
)
from freehold.conformance.broker_harness import eventually
from freehold.errors import Unavailable
from freehold.groups.log import TopicPartition
from freehold.ids import new_id
from freehold.runtime.adapters import broker_accounts, open_broker
from freehold.schema.rights import broker_rights
from freehold_shop.assembly import SERVICES
from freehold_shop.servers import RunningServer, find_nats_server, start_nats
from freehold_shop.servers.nats import empty_store
from freehold_shop.servers.process import ServerUnavailable
from freehold_shop.supervisor.streams import StreamProvision

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

OPTIONS = BrokerOptions(partitions=2, connect_timeout_seconds=10.0)
NAMES = Names(OPTIONS.prefix)
LAYOUT = NAMES.layout(OPTIONS.partitions)
RIGHTS: Mapping[str, BrokerRights] = {
    each.service: each for each in broker_rights([one.service for one in SERVICES.values()])
}
TOPICS = sorted({topic for each in RIGHTS.values() for topic in each.publishes | each.reads})
BEAT = b'{"topics": []}'
_ANSWER_SECONDS = 5.0
_STREAM_ACTIONS = ("CREATE", "UPDATE", "DELETE", "SNAPSHOT", "RESTORE", "MSG.DELETE", "MSG.GET", "PEER.REMOVE",
                   "LEADER.STEPDOWN")  # fmt: skip
_ON_ALL = ("STREAM.NAMES", "STREAM.LIST", "STREAM.TEMPLATE.NAMES", "META.LEADER.STEPDOWN", "SERVER.REMOVE")


def url(server: RunningServer, user: str) -> str:
    return f"nats://{user}:of-{user}@127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def server(servers_directory: Path) -> Iterator[RunningServer]:
    """A NATS with the shop's accounts, on which the operator has made the streams."""
    try:
        find_nats_server()
    except ServerUnavailable as error:
        pytest.skip(f"left out: {error}")
    with start_nats(servers_directory / "isolated-nats", accounts=_accounts()) as running:
        asyncio.run(_provision(running))
        yield running


def _accounts() -> str:
    passwords = {name: json.dumps(f"of-{name}") for name in (OPERATOR, *RIGHTS)}
    return broker_accounts("nats", list(RIGHTS.values()), OPTIONS, passwords)


async def _provision(server: RunningServer) -> None:
    provision = StreamProvision(url(server, OPERATOR), OPTIONS, list(RIGHTS))
    await provision.once()
    await provision.close()


@pytest.fixture
async def clients(server: RunningServer) -> AsyncIterator[Mapping[str, Client]]:
    """A connection of each service, and one of the operator."""
    async with _connected(server) as opened:
        yield opened


@asynccontextmanager
async def _connected(server: RunningServer) -> AsyncIterator[Mapping[str, Client]]:
    opened = {user: await nats.connect(url(server, user), allow_reconnect=False) for user in (OPERATOR, *RIGHTS)}
    yield opened
    for client in opened.values():
        await client.close()


async def ask(client: Client, subject: str, question: object = None, headers: dict[str, str] | None = None) -> Any:
    payload = question if isinstance(question, bytes) else json.dumps(question or {}).encode()
    answer = await client.request(subject, payload, timeout=_ANSWER_SECONDS, headers=headers)
    return json.loads(answer.data)


async def refused(client: Client, subject: str, question: object = None) -> bool:
    """Whether nobody is there for this subject: the server says so at once, and nothing was done."""
    try:
        await ask(client, subject, question)
    except nats.errors.NoRespondersError:
        return True
    return False


def reading(name: str, subject: str, **more: object) -> dict[str, object]:
    config = {"name": name, "ack_policy": "none", "filter_subject": subject, "mem_storage": True, "num_replicas": 1}
    return {"stream_name": NAMES.log, "config": {**config, "deliver_policy": "all", **more}}


def create(name: str, subject: str) -> str:
    return f"$JS.API.CONSUMER.CREATE.{NAMES.log}.{name}.{subject}"


async def count(clients: Mapping[str, Client], stream: str, subject: str) -> int:
    info = await ask(clients[OPERATOR], f"$JS.API.STREAM.INFO.{stream}", {"subjects_filter": subject})
    return sum((info["state"].get("subjects") or {}).values())


async def test_who_may_publish_to_which_topic(clients: Mapping[str, Client]) -> None:
    """Also to the topics of sagas that ask the service, and of services that its own sagas ask; to no other."""
    may = set()
    for partition in range(OPTIONS.partitions):
        may = {
            (service, topic)
            for service, topic in product(RIGHTS, TOPICS)
            if not await refused(clients[service], LAYOUT.message(TopicPartition(topic, partition)), b"{}")
        }
        assert may == {(service, topic) for service, rights in RIGHTS.items() for topic in rights.publishes}
    assert ("payments", "orders.events") not in may
    assert ("payments", "orders.replies") in may
    assert ("orders", "orders.replies") not in may


async def test_who_may_read_which_topic(clients: Mapping[str, Client]) -> None:
    may = set()
    for service, topic in product(RIGHTS, TOPICS):
        place = TopicPartition(topic, 0)
        name, subject = NAMES.reader(service, place), LAYOUT.message(place)
        if not await refused(clients[service], create(name, subject), reading(name, subject)):
            may.add((service, topic))
    assert may == {(service, topic) for service, rights in RIGHTS.items() for topic in rights.reads}


async def test_a_stream_from_before_the_first_release_is_published_to_and_read(servers_directory: Path) -> None:
    """Its subjects have no number of partitions; services have the same rights, and go on with it."""
    config = {**NAMES.log_config(OPTIONS.retention_seconds, OPTIONS.partitions), "subjects": [f"{NAMES.prefix}.log.>"]}
    layout = Layout.read(config)
    with start_nats(servers_directory / "nats-from-before", accounts=_accounts()) as running:
        async with _connected(running) as clients:
            await ask(clients[OPERATOR], f"$JS.API.STREAM.CREATE.{NAMES.log}", config)
            await _provision(running)
            publishes, reads = set(), set()
            for service, topic in product(RIGHTS, TOPICS):
                place = TopicPartition(topic, 1)
                name, subject = NAMES.reader(service, place), layout.message(place)
                if not await refused(clients[service], subject, b"{}"):
                    publishes.add((service, topic))
                if not await refused(clients[service], create(name, subject), reading(name, subject)):
                    reads.add((service, topic))
    assert publishes == {(service, topic) for service, rights in RIGHTS.items() for topic in rights.publishes}
    assert reads == {(service, topic) for service, rights in RIGHTS.items() for topic in rights.reads}


async def test_no_consumer_shows_more_than_the_topic_that_it_is_named_after(clients: Mapping[str, Client]) -> None:
    place = TopicPartition("orders.events", 0)
    name, own = NAMES.reader("payments", place), LAYOUT.message(place)
    foreign = LAYOUT.message(TopicPartition("users.events", 0))
    client = clients["payments"]
    for filters in ({"filter_subject": foreign}, {"filter_subject": ""}, {"filter_subject": f"{NAMES.prefix}.log.>"}):
        answer = await ask(client, create(name, own), reading(name, own, **filters))
        assert answer["error"]["err_code"] == 10131, answer
    for subject in (foreign, f"{NAMES.prefix}.log.>", f"{LAYOUT.base}.*.events.0", f"{LAYOUT.base}.orders.events.1"):
        assert await refused(client, create(name, subject), reading(name, subject))
    assert await refused(client, f"$JS.API.CONSUMER.CREATE.{NAMES.log}", reading("", foreign))
    assert await refused(client, f"$JS.API.CONSUMER.CREATE.{NAMES.log}.{name}", reading(name, foreign))
    assert await refused(client, f"$JS.API.CONSUMER.DURABLE.CREATE.{NAMES.log}.{name}", reading(name, foreign))
    # The name in the subject decides, not one in the question.
    await ask(client, create(name, own), reading(NAMES.reader("orders", place), own))
    await ask(client, create(name, own), reading(name, own, durable_name="payments=another"))
    listed = await ask(clients[OPERATOR], f"$JS.API.CONSUMER.NAMES.{NAMES.log}")
    assert NAMES.reader("orders", place) not in listed["consumers"]
    assert "payments=another" not in listed["consumers"]


async def test_nobody_touches_the_consumers_of_others(clients: Mapping[str, Client]) -> None:
    readers = [(service, topic) for service, rights in RIGHTS.items() for topic in sorted(rights.reads)]
    assert readers
    for reader, topic in readers:
        place = TopicPartition(topic, 0)
        for service, name in product(
            RIGHTS.keys() - {reader}, (NAMES.reader(reader, place), NAMES.counter(reader, place))
        ):
            await _keeps_off_consumer(clients[service], name, LAYOUT.message(place))


async def _keeps_off_consumer(client: Client, name: str, subject: str) -> None:
    consumer = f"{NAMES.log}.{name}"
    assert await refused(client, create(name, subject), reading(name, subject))
    assert await refused(client, f"$JS.API.CONSUMER.MSG.NEXT.{consumer}", {"batch": 1, "no_wait": True})
    for action in ("DELETE", "INFO", "PAUSE", "UNPIN", "LEADER.STEPDOWN", "DURABLE.CREATE"):
        assert await refused(client, f"$JS.API.CONSUMER.{action}.{consumer}"), action
    assert await refused(client, f"$JS.ACK.{consumer}.1.1.1.1.0", b"+TERM")


async def test_nobody_reads_or_changes_the_records_of_others(clients: Mapping[str, Client]) -> None:
    for service, other in product(RIGHTS, RIGHTS):
        if service != other:
            await _keeps_off_records(clients[service], other)


async def _keeps_off_records(client: Client, other: str) -> None:
    bucket, records = NAMES.bucket(other), NAMES.group(other)
    assert await refused(client, NAMES.place(other, TopicPartition("orders.events", 0)), b"{}")
    assert await refused(client, NAMES.member(other, "somebody"), b"{}")
    assert await refused(client, NAMES.probe(other), b"{}")
    assert await refused(client, f"$JS.API.STREAM.PURGE.{bucket}")
    assert await refused(client, f"$JS.API.STREAM.INFO.{bucket}")
    assert await refused(client, f"$JS.API.CONSUMER.CREATE.{bucket}.mine.{records}.>", {})
    assert await refused(client, f"$JS.API.CONSUMER.MSG.NEXT.{bucket}.mine", {"batch": 1})
    assert await refused(client, f"$JS.API.DIRECT.GET.{bucket}.{records}.place.orders.events.0")
    assert await refused(client, f"$JS.API.STREAM.MSG.GET.{bucket}", {"seq": 1})
    for action in ("DELETE", "INFO"):
        assert await refused(client, f"$JS.API.CONSUMER.{action}.{bucket}.mine")


async def test_nobody_decides_over_streams_or_asks_for_all_of_them(clients: Mapping[str, Client]) -> None:
    """Not even over his own: made from a copy of another's, it would show what that holds."""
    for service in RIGHTS:
        await _keeps_off_streams(clients[service], service)


async def _keeps_off_streams(client: Client, service: str) -> None:
    copying = {"name": NAMES.bucket(service), "sources": [{"name": NAMES.log}]}
    for stream in (NAMES.log, NAMES.bucket(service), NAMES.bucket("orders"), "another"):
        for action, api in product(_STREAM_ACTIONS, ("$JS.API", f"{NAMES.prefix}.api")):
            assert await refused(client, f"{api}.STREAM.{action}.{stream}", copying), (action, stream)
        assert await refused(client, f"$JS.API.DIRECT.GET.{stream}", {"seq": 1})
    assert await refused(client, f"$JS.API.STREAM.PURGE.{NAMES.log}")
    for question in (*_ON_ALL, f"CONSUMER.NAMES.{NAMES.log}", f"CONSUMER.LIST.{NAMES.log}"):
        assert await refused(client, f"$JS.API.{question}")
        assert await refused(client, f"{NAMES.prefix}.api.{question}")
    for account in ("HUB", "orders", "$SYS"):
        for question in ("INFO", "CONNZ", "JSZ", "SUBSZ"):
            assert service == account or await refused(client, f"$SYS.REQ.ACCOUNT.{account}.{question}")
    for question in ("PING", "PING.JSZ", "PING.VARZ", "PING.SUBSZ", "PING.ACCOUNTZ"):
        assert await refused(client, f"$SYS.REQ.SERVER.{question}"), question
    assert await refused(client, f"$JS.API.ACCOUNT.PURGE.{service}")
    assert await refused(client, f"$JS.API.ACCOUNT.STREAM.MOVE.{service}.{NAMES.log}")


async def test_the_server_shows_each_his_own_connections(clients: Mapping[str, Client]) -> None:
    """It tells every account of itself, also one that asks for another."""
    for service in RIGHTS:
        answer = await ask(clients[service], "$SYS.REQ.SERVER.PING.CONNZ", {"acc": "orders", "auth": True})
        assert {each["account"] for each in answer["data"]["connections"]} == {service}
        answer = await ask(clients[service], "$SYS.REQ.ACCOUNT.PING.STATZ", {"accounts": ["orders"]})
        assert {each["acc"] for each in answer["data"]["account_statz"]} <= {service}


@pytest.mark.parametrize("service", ["payments", "users"])
async def test_an_answer_or_a_delivery_that_is_aimed_at_others_does_not_arrive(
    clients: Mapping[str, Client], service: str
) -> None:
    client = clients[service]
    own, record = LAYOUT.message(TopicPartition(f"{service}.events", 0)), f"{NAMES.group(service)}.member.own"
    aims = [
        LAYOUT.message(
            TopicPartition("orders.replies" if "orders.replies" not in RIGHTS[service].publishes else "users.x", 1)
        ),
        f"{NAMES.group('orders')}.member.aimed",
        f"$JS.API.STREAM.PURGE.{NAMES.log}",
        f"$JS.API.STREAM.DELETE.{NAMES.bucket('orders')}",
    ]
    bucket = NAMES.bucket(service)
    before = await count(clients, NAMES.log, f"{NAMES.prefix}.log.>")
    aimed = await count(clients, NAMES.log, aims[0])
    await ask(client, record, BEAT)
    for number, aim in enumerate(aims):
        await client.publish(own, b"", reply=aim)
        config = {"name": f"aim-{number}", "ack_policy": "explicit", "filter_subject": record, "mem_storage": True}
        question = {"stream_name": bucket, "config": config}
        await ask(client, f"$JS.API.CONSUMER.CREATE.{bucket}.aim-{number}.{record}", question)
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{bucket}.aim-{number}", b'{"batch": 1}', reply=aim)
        push = {**config, "name": f"push-{number}", "deliver_subject": aim}
        await ask(
            client, f"$JS.API.CONSUMER.CREATE.{bucket}.push-{number}.{record}", {"stream_name": bucket, "config": push}
        )
    # What was sent before on these connections has been dealt with once this is answered.
    await ask(client, own, b"{}")
    await asyncio.sleep(0.2)
    assert await count(clients, NAMES.log, f"{NAMES.prefix}.log.>") == before + len(aims) + 1
    assert await count(clients, NAMES.log, aims[0]) == aimed
    assert await count(clients, NAMES.bucket("orders"), f"{NAMES.group('orders')}.>") == 0


async def test_no_header_takes_away_what_others_have_stored(clients: Mapping[str, Client]) -> None:
    await ask(clients["orders"], NAMES.member("orders", "kept"), BEAT)
    for roll_up in ("all", "sub"):
        answer = await ask(clients["orders"], NAMES.member("orders", "x"), BEAT, {"Nats-Rollup": roll_up})
        assert answer["error"]
        answer = await ask(
            clients["orders"], LAYOUT.message(TopicPartition("orders.events", 0)), b"{}", {"Nats-Rollup": roll_up}
        )
        assert answer["error"]
    assert await count(clients, NAMES.bucket("orders"), NAMES.member("orders", "kept")) == 1
    await ask(clients["orders"], f"$JS.API.STREAM.PURGE.{NAMES.bucket('orders')}")


async def test_nobody_hears_what_others_send(clients: Mapping[str, Client]) -> None:
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    everything = (">", "*", "_INBOX.>", "$SYS.>", "$JS.>", "$KV.>", f"{NAMES.prefix}.>")
    listeners = [client for service, client in clients.items() if service not in {"orders", OPERATOR}]
    for client, subject in product(listeners, everything):
        await client.subscribe(subject, cb=hear)
    for client in listeners:
        await client.flush()
    for subject in (LAYOUT.message(TopicPartition("orders.events", 0)), f"{NAMES.group('orders')}.member.x"):
        await ask(clients["orders"], subject, BEAT)
    await ask(clients[OPERATOR], f"$JS.API.STREAM.INFO.{NAMES.log}")
    await clients["orders"].publish(NAMES.wake("payments"), b"x")
    await clients["orders"].publish("_INBOX.guessed", b"x")
    for client in (clients["orders"], *listeners):
        await client.flush()
    assert heard == []
    await ask(clients["orders"], f"$JS.API.STREAM.PURGE.{NAMES.bucket('orders')}")


@pytest.mark.parametrize("credentials", ["", "orders:of-payments@", "nobody:x@"])
async def test_who_is_not_known_is_let_in_nowhere(server: RunningServer, credentials: str) -> None:
    broker = open_broker(f"nats://{credentials}127.0.0.1:{server.port}", OPTIONS)
    with pytest.raises(Unavailable, match="refuses the credentials"):
        await broker.open()
    await broker.close()


@pytest.fixture
async def brokers(server: RunningServer) -> AsyncIterator[Mapping[str, Broker]]:
    opened = {service: open_broker(url(server, service), OPTIONS) for service in RIGHTS}
    for broker in opened.values():
        await broker.open()
    yield opened
    for broker in opened.values():
        await broker.close()


def message(topic: str, key: str = "k") -> OutgoingMessage:
    return OutgoingMessage(id=new_id(), topic=topic, key=key, document=f"{topic}:{new_id()}".encode())


async def _came(brokers: Mapping[str, Broker], reader: str, sent: set[bytes]) -> None:
    consumer = await brokers[reader].subscribe(Subscription(group=reader, topics=RIGHTS[reader].reads))
    async with asyncio.timeout(30.0):
        while sent:
            batch = await consumer.fetch(100, 1.0)
            if batch is not None:
                sent -= {delivery.document for delivery in batch.deliveries}
                await batch.ack(len(batch.deliveries))
    assert {lag.topic for lag in await brokers[reader].lag(reader)} == RIGHTS[reader].reads
    await consumer.close()


async def test_with_its_own_rights_each_service_does_its_work(brokers: Mapping[str, Broker]) -> None:
    sent: dict[str, set[bytes]] = {topic: set() for topic in TOPICS}
    for service, rights in RIGHTS.items():
        messages = [message(topic, key) for topic in sorted(rights.publishes) for key in ("a", "b", "c")]
        assert all(isinstance(outcome, PublishConfirmed) for outcome in await brokers[service].publish(messages, 10.0))
        for each in messages:
            sent[each.topic].add(each.document)
        await brokers[service].ping(5.0)
        await brokers[service].probe(service, 5.0)
        assert [finding.subject for finding in await brokers[service].run_checks() if not finding.ok] == []
    for reader, rights in RIGHTS.items():
        if rights.reads:
            await _came(brokers, reader, set().union(*(sent[topic] for topic in rights.reads)))


async def test_a_topic_that_a_service_has_no_right_to_is_named_and_holds_up_no_other(
    brokers: Mapping[str, Broker],
) -> None:
    outcomes = await brokers["payments"].publish([message("orders.events"), message("payments.events")], 10.0)
    assert isinstance(outcomes[0], PublishFailed)
    assert isinstance(outcomes[0].error, Unavailable)
    assert "does not permit these credentials to publish" in str(outcomes[0].error)
    assert "orders.events" in str(outcomes[0].error)
    assert isinstance(outcomes[1], PublishConfirmed)


async def test_after_the_broker_lost_everything_services_go_on_as_soon_as_the_operator_has_made_the_streams(
    server: RunningServer, brokers: Mapping[str, Broker]
) -> None:
    consumer = await brokers["payments"].subscribe(Subscription(group="payments", topics=RIGHTS["payments"].reads))
    provision = StreamProvision(url(server, OPERATOR), OPTIONS, list(RIGHTS))
    await provision.start()
    server.kill()
    empty_store(server.directory)
    server.start()
    sent = message("orders.events")

    async def stored() -> bool:
        try:
            return isinstance((await brokers["orders"].publish([sent], 1.0))[0], PublishConfirmed)
        except Unavailable:
            return False

    async def came() -> bool:
        try:
            batch = await consumer.fetch(10, 0.2)
        except Unavailable:
            return False
        return batch is not None and sent.document in {each.document for each in batch.deliveries}

    await eventually(stored, 10.0)
    await eventually(came, 10.0)
    await consumer.close()
    await provision.stop()
    await provision.close()
