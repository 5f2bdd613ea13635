"""What NATS has lost while services are at work: each part of it alone, all together, and in unlucky company."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.adapters.nats import follow
from freehold.adapters.nats.broker import NatsBroker
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.names import Layout, Names
from freehold.adapters.nats.publisher import Publisher
from freehold.broker import Broker, BrokerOptions, OutgoingMessage, PublishConfirmed, PublishFailed
from freehold.clock import SystemClock
from freehold.conformance.broker_harness import (
    collect,
    eventually,
    fetch,
    first_times,
    members_until,
    messages,
    publish,
    subscribe,
)
from freehold.errors import LeaseLost, LogReplaced, Unavailable
from freehold.groups.member import GroupMember
from freehold_shop.servers import RunningServer

pytestmark = pytest.mark.servers
GROUP = "readers"
HEAL_SECONDS = 60.0


@pytest.fixture(autouse=True)
def no_read_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found within the limit was noticed, and not met when a read was asked for again."""
    monkeypatch.setattr(follow, "_EXPIRES_SECONDS", 10 * HEAL_SECONDS)


@pytest.fixture
def options(nats_prefix: str) -> BrokerOptions:
    return BrokerOptions(prefix=nats_prefix, partitions=4, lease_seconds=1.5, connect_timeout_seconds=6.0)


@pytest.fixture
def names(nats_prefix: str) -> Names:
    return Names(nats_prefix)


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[NatsConnection]:
    connection = NatsConnection(nats_url, 3.0)
    await connection.open()
    yield connection
    await connection.close()


@asynccontextmanager
async def _opened(url: str, options: BrokerOptions) -> AsyncIterator[NatsBroker]:
    broker = NatsBroker(url, options, SystemClock())
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


async def _published(broker: Broker, outgoing: Sequence[OutgoingMessage]) -> None:
    """Publish until all is stored; nothing may be rejected."""
    left = list(outgoing)

    async def done() -> bool:
        try:
            outcomes = await broker.publish(left, 2.0)
        except Unavailable:
            return False
        failed = [each.error for each in outcomes if isinstance(each, PublishFailed)]
        assert all(isinstance(error, Unavailable) for error in failed), failed
        left[:] = [
            message for message, each in zip(left, outcomes, strict=True) if not isinstance(each, PublishConfirmed)
        ]
        return not left

    await eventually(done, HEAL_SECONDS)


async def _refusal(broker: NatsBroker, outgoing: Sequence[OutgoingMessage], log: str) -> LogReplaced:
    """What each of the messages is refused with."""
    try:
        outcomes = await broker.publish(outgoing, 5.0, log=log)
    except LogReplaced as error:
        return error
    errors = [each.error for each in outcomes if isinstance(each, PublishFailed)]
    assert len(errors) == len(outcomes)
    assert isinstance(errors[0], LogReplaced), errors
    return errors[0]


async def _refused_by(broker: NatsBroker, log: str) -> LogReplaced:
    """What a message is refused with, as soon as the broker is connected again."""
    told: list[LogReplaced] = []

    async def refused() -> bool:
        try:
            told.append(await _refusal(broker, messages(["late"], 1), log))
        except (Unavailable, AssertionError):
            return False  # it is not connected again
        return True

    await eventually(refused, HEAL_SECONDS)
    return told[0]


def _put_older_copy_back(server: RunningServer, copy: Path) -> None:
    server.kill()
    shutil.rmtree(server.directory / "jetstream")
    shutil.copytree(copy, server.directory / "jetstream")
    server.start()


async def test_a_stream_that_others_made_anew_is_found_out_by_its_numbers(
    nats_url: str, options: BrokerOptions, names: Names, connection: NatsConnection
) -> None:
    """The connection stands, and nobody has looked at the stream: what went into it is not confirmed."""
    async with _opened(nats_url, options) as broker:
        identity = await broker.log_identity()
        await publish(broker, messages(["key"], 5))
        await connection.ask(f"STREAM.DELETE.{names.log}")
        await connection.ask(f"STREAM.CREATE.{names.log}", names.log_config(options.retention_seconds, 4))
        assert (await _refusal(broker, messages(["key"], 2, first=5), identity)).went_back
        assert not (await _refusal(broker, messages(["key"], 2, first=7), identity)).went_back
        other = await broker.log_identity()
        assert other != identity
        assert await broker.publish(messages(["key"], 9, first=9), 5.0, log=other) == [PublishConfirmed()] * 9


async def test_an_older_copy_of_the_stream_is_found_out_before_anything_is_stored_in_it(
    disposable_nats: RunningServer, options: BrokerOptions, tmp_path: Path
) -> None:
    """It bears the same name; the publisher is told once, and goes on in it."""
    store = disposable_nats.directory / "jetstream"
    async with _opened(disposable_nats.url, options) as broker:
        identity = await broker.log_identity()
        await publish(broker, messages(["key"], 3))
        disposable_nats.kill()
        shutil.copytree(store, tmp_path / "copy")
        disposable_nats.start()
        await _published(broker, messages(["key"], 4, first=3))
        _put_older_copy_back(disposable_nats, tmp_path / "copy")
        assert (await _refused_by(broker, identity)).went_back
        assert await broker.log_identity() == identity
        assert (await broker.log_mark()).startswith("3 ")
        assert await broker.publish(messages(["key"], 4, first=3), 5.0, log=identity) == [PublishConfirmed()] * 4


async def test_an_older_copy_is_found_out_while_the_client_is_still_reconnecting(
    disposable_nats: RunningServer, options: BrokerOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client takes messages one round trip before it tells that it is connected: they are refused."""
    async with _opened(disposable_nats.url, options) as broker:
        identity = await broker.log_identity()
        await publish(broker, messages(["key"], 3))
        disposable_nats.kill()
        shutil.copytree(disposable_nats.directory / "jetstream", tmp_path / "copy")
        disposable_nats.start()
        await _published(broker, messages(["key"], 4, first=3))
        assert broker._connection is not None
        client = broker._connection._client
        flush, flushing, may_flush = client.flush, asyncio.Event(), asyncio.Event()

        async def flush_later() -> None:
            flushing.set()
            await may_flush.wait()
            await flush()

        monkeypatch.setattr(client, "flush", flush_later)
        _put_older_copy_back(disposable_nats, tmp_path / "copy")
        await asyncio.wait_for(flushing.wait(), HEAL_SECONDS)
        late = messages(["late"], 1)
        # The first looks at the log for itself; the second comes while it looks.
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(broker.publish(messages(["any"], 1), 5.0))
            while not _is_looking(broker):  # noqa: ASYNC110 - what is waited for lasts one round trip only
                await asyncio.sleep(0)
            assert (await _refusal(broker, late, identity)).went_back
        assert (await broker.log_mark()).startswith("4 ")
        may_flush.set()


def _is_looking(broker: NatsBroker) -> bool:
    assert broker._stream is not None
    return broker._stream._is_repairing and not broker._stream._unverified


async def test_what_was_not_written_when_the_connection_broke_is_not_sent_after_it(
    nats_url: str, options: BrokerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come to a server that lost what was before it. The relay looks at the log, and publishes it again."""
    async with _opened(nats_url, options) as broker:
        await publish(broker, messages(["key"], 3))
        assert broker._connection is not None
        transport = broker._connection._client._transport
        assert transport is not None

        def broken(_: object) -> None:
            monkeypatch.undo()
            raise BrokenPipeError

        monkeypatch.setattr(transport, "writelines", broken)  # the moment in which a connection breaks
        with contextlib.suppress(Unavailable):
            outcomes = await broker.publish(messages(["late"], 1), 5.0)
            assert [type(outcome) for outcome in outcomes] == [PublishFailed]
        await _published(broker, messages(["key"], 1, first=3))
        assert (await broker.log_mark()).startswith("4 ")


async def test_the_rest_of_a_call_is_not_sent_once_the_connection_broke_in_between(
    nats_url: str, options: BrokerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it stands again at once: perhaps to a server that has lost what was sent before."""
    async with _opened(nats_url, options) as broker:
        connection = broker._connection
        assert connection is not None
        flush_pending = connection._client._flush_pending

        async def break_then() -> None:
            monkeypatch.undo()
            await flush_pending()
            await asyncio.sleep(0)  # the first ones are written
            await connection._disconnected()

        monkeypatch.setattr(connection._client, "_flush_pending", break_then)
        outgoing = messages([f"key-{number}" for number in range(300)], 300)
        outcomes = await broker.publish(outgoing, 5.0)
        assert {type(outcome) for outcome in outcomes} == {PublishFailed}
        assert int((await broker.log_mark()).partition(" ")[0] or 0) <= 100
        await _published(broker, outgoing)
        assert (await broker.log_mark()).startswith("300 ")


async def _come(consumer: GroupMember, count: int) -> list[str]:
    """What comes, for the first time each, until there are so many."""
    seen: list[str] = []
    await asyncio.wait_for(members_until(consumer, seen, lambda: len(set(seen)) >= count), HEAL_SECONDS)
    return first_times(seen)


def _come_back_empty(server: RunningServer) -> None:
    server.kill()
    shutil.rmtree(server.directory / "jetstream")
    server.start()


async def _made_by_others(connection: NatsConnection, names: Names, options: BrokerOptions, partitions: int) -> None:
    """Delete the stream and make another, before those who have lost it do that themselves."""
    config = names.log_config(options.retention_seconds, partitions)

    async def done() -> bool:
        deleting = asyncio.create_task(connection.ask(f"STREAM.DELETE.{names.log}"))
        making = asyncio.create_task(connection.ask(f"STREAM.CREATE.{names.log}", config))
        await asyncio.wait({deleting, making})
        return making.exception() is None and Layout.read(making.result()["config"]).partitions == partitions

    await eventually(done)


@pytest.mark.parametrize("how", ["deleted", "purged"])
async def test_records_that_vanish_are_made_again_at_the_positions_that_members_know(
    nats_url: str,
    options: BrokerOptions,
    names: Names,
    connection: NatsConnection,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    """For a group that began at the latest message too: it does not get what lay before it."""
    async with _opened(nats_url, options) as broker:
        await publish(broker, messages(["before"], 5))
        consumer = await subscribe(broker, start="latest")
        await publish(broker, messages(["old"], 20))
        assert len(await collect(consumer, 20)) == 20
        # It knows what it has seen itself, at the latest when it has looked at the leases.
        await vars(consumer)["_coordinator"].round()
        with caplog.at_level(logging.WARNING, "freehold.nats"):
            await connection.ask(f"STREAM.{'DELETE' if how == 'deleted' else 'PURGE'}.{names.bucket(GROUP)}")
            await publish(broker, messages(["new"], 10))
            assert await _come(consumer, 10) == [f"new:{number}" for number in range(10)]

            async def is_told() -> bool:
                return "has lost the records" in caplog.text

            if how == "deleted":
                await eventually(is_told)  # messages come while the records are still missing
        assert await is_told() == (how == "deleted")


async def test_two_groups_whose_streams_all_vanish_go_on(
    nats_url: str, options: BrokerOptions, names: Names, connection: NatsConnection
) -> None:
    async with _opened(nats_url, options) as broker, _opened(nats_url, options) as other:
        consumers = [await subscribe(broker), await subscribe(other, "second")]
        await publish(broker, messages(["old"], 20))
        for consumer in consumers:
            assert len(await collect(consumer, 20)) == 20
        for name in (names.log, names.bucket(GROUP), names.bucket("second")):
            await connection.ask(f"STREAM.DELETE.{name}")
        await publish(broker, messages(["new"], 10))
        for consumer in consumers:
            assert await _come(consumer, 10) == [f"new:{number}" for number in range(10)]


async def test_a_stream_that_others_made_with_other_partitions_is_adopted(
    nats_url: str, options: BrokerOptions, names: Names, connection: NatsConnection
) -> None:
    """A publisher that has not noticed puts nothing where nobody looks; a member reads all places there are now."""
    keys = [f"key-{number}" for number in range(12)]
    for partitions in (2, 7):
        async with _opened(nats_url, options) as broker:
            consumer = await subscribe(broker)
            await publish(broker, messages(keys, 24))
            assert len(await collect(consumer, 24)) == 24
            await _made_by_others(connection, names, options, partitions)
            async with _opened(nats_url, options) as other:
                await _published(broker, messages(keys, 24, first=100))
                assert broker.partitions == other.partitions == partitions
                await _published(other, messages(keys, 24, first=200))
                seen = await _come(consumer, 48)
                for key in keys:
                    found = [each for each in seen if each.startswith(f"{key}:")]
                    assert found == sorted(found)
        await connection.ask(f"STREAM.DELETE.{names.log}")
        await connection.ask(f"STREAM.DELETE.{names.bucket(GROUP)}")


async def test_processes_that_make_the_stream_at_the_same_moment_agree(
    nats_url: str, options: BrokerOptions, names: Names, connection: NatsConnection
) -> None:
    brokers = [NatsBroker(nats_url, replace(options, partitions=number), SystemClock()) for number in (3, 4, 5, 6)]
    await asyncio.gather(*(broker.open() for broker in brokers))
    try:
        for _ in range(3):
            assert len({broker.partitions for broker in brokers}) == 1
            before = await brokers[0].log_identity()
            await connection.ask(f"STREAM.DELETE.{names.log}")
            found = await asyncio.gather(*(broker.log_identity() for broker in brokers))
            assert len(set(found)) == 1
            assert found[0] != before
            info = await connection.ask(f"STREAM.INFO.{names.log}")
            assert Layout.read(info["config"]).replaces == before
    finally:
        for broker in brokers:
            await broker.close()


async def test_many_callers_have_a_vanished_stream_made_once(
    nats_url: str, options: BrokerOptions, names: Names, connection: NatsConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """In one process; each key keeps its order, and what is lost is told once."""
    async with _opened(nats_url, options) as broker:
        before = await broker.log_identity()
        await connection.ask(f"STREAM.DELETE.{names.log}")
        with caplog.at_level(logging.WARNING, "freehold.nats"):
            outcomes = await asyncio.gather(
                *(broker.publish(messages([f"key-{number}"], 20), 10.0) for number in range(20))
            )
        assert all(isinstance(each, PublishConfirmed) for some in outcomes for each in some)
        assert [record.message.count(before) for record in caplog.records] == [1]
        seen = await collect(await subscribe(broker), 400)
        for number in range(20):
            assert [each for each in seen if each.startswith(f"key-{number}:")] == [
                f"key-{number}:{each}" for each in range(20)
            ]


async def test_a_log_that_is_made_again_within_the_same_second_is_another_one(
    nats_url: str, options: BrokerOptions, names: Names, connection: NatsConnection
) -> None:
    async with _opened(nats_url, options) as broker:
        seen = [await broker.log_identity()]
        while len(seen) < 2 or seen[-1][:19] != seen[-2][:19]:
            await connection.ask(f"STREAM.DELETE.{names.log}")
            seen.append(await broker.log_identity())
        assert len(set(seen)) == len(seen)


async def test_to_publish_nothing_waits_for_nothing(connection: NatsConnection) -> None:
    publisher = Publisher(connection)
    await publisher.open()
    assert await asyncio.wait_for(publisher.publish([], 60.0), 30.0) == []


async def test_what_was_lost_is_told(
    disposable_nats: RunningServer, options: BrokerOptions, caplog: pytest.LogCaptureFixture
) -> None:
    async with _opened(disposable_nats.url, options) as broker:
        assert broker.notice == ""
        before = await broker.log_identity()
        with caplog.at_level(logging.WARNING, "freehold.nats"):
            _come_back_empty(disposable_nats)
            await _published(broker, messages(["key"], 1))
        assert [f"lost the stream {options.prefix} of {before}" in each.message for each in caplog.records] == [True]
        assert broker.notice.startswith("NATS has lost its messages: the stream was made again, ")
        async with _opened(disposable_nats.url, options) as doctor:
            findings = {finding.subject: finding for finding in await doctor.run_checks()}
            assert f"in place of one made {before}" in findings["broker log"].detail


async def test_a_limit_of_the_account_keeps_records_from_being_made_and_says_so(
    disposable_nats: RunningServer, options: BrokerOptions
) -> None:
    """It is an outage of the members, which ends with the limit; publishers have what they need."""
    configuration = disposable_nats.directory / "nats.conf"
    before = configuration.read_text()
    async with _opened(disposable_nats.url, options) as broker:
        consumer = await subscribe(broker)
        limit = "jetstream: {max_mem: 1MB, max_file: 100MB, max_streams: 1, max_consumers: 100}"
        configuration.write_text(
            f"{before}\naccounts {{ a {{ {limit}, users: [{{user: a, password: a}}] }} }}\nno_auth_user: a\n"
        )
        _come_back_empty(disposable_nats)
        await _published(broker, messages(["held"], 1))

        async def is_told() -> bool:
            return "the account is at its limit of streams" in consumer.notice

        await eventually(is_told, HEAL_SECONDS)
        configuration.write_text(before)
        _come_back_empty(disposable_nats)
        await _published(broker, messages(["new"], 10))
        assert await _come(consumer, 10) == [f"new:{number}" for number in range(10)]
        assert consumer.notice == ""


async def test_a_server_that_comes_back_after_long_as_another_one_is_filled(
    disposable_nats: RunningServer, options: BrokerOptions
) -> None:
    async with _opened(disposable_nats.url, options) as broker:
        consumer = await subscribe(broker)
        await publish(broker, messages(["old"], 20))
        old = await fetch(consumer)
        disposable_nats.kill()
        shutil.rmtree(disposable_nats.directory / "jetstream")
        configuration = disposable_nats.directory / "nats.conf"
        configuration.write_text(configuration.read_text() + "\nserver_name: another\n")
        # Longer than a lease: nobody holds anything any more.
        for _ in range(4):
            await eventually(lambda: _is_told_of_outage(consumer))
            await asyncio.sleep(options.lease_seconds / 2)
        disposable_nats.start()
        await _published(broker, messages(["new"], 30))
        with pytest.raises((LeaseLost, Unavailable)):
            await old.ack(len(old.deliveries))
        assert await _come(consumer, 30) == [f"new:{number}" for number in range(30)]


async def _is_told_of_outage(consumer: GroupMember) -> bool:
    try:
        await consumer.fetch(1, 0.1)
    except Unavailable:
        return True
    return False


@pytest.mark.parametrize("at_work", [True, False])
async def test_a_log_that_was_restored_from_an_older_copy_is_read_from_its_beginning(
    disposable_nats: RunningServer, options: BrokerOptions, names: Names, tmp_path: Path, *, at_work: bool
) -> None:
    """Also where nobody was at work until as many messages had been published as were lost: the numbers fit again, the
    messages do not.
    """
    options = replace(options, partitions=1)
    log = Path("jetstream", "jetstream", "$G", "streams", names.log)
    async with _opened(disposable_nats.url, options) as broker:
        consumer = await subscribe(broker)
        await publish(broker, messages(["kept"], 5))
        assert len(await collect(consumer, 5)) == 5
        disposable_nats.kill()
        shutil.copytree(disposable_nats.directory / log, tmp_path / "copy")
        disposable_nats.start()
        await _published(broker, messages(["lost"], 10))
        assert len(await _come(consumer, 10)) == 10
        if not at_work:
            await consumer.close()
        disposable_nats.kill()
        shutil.rmtree(disposable_nats.directory / log)
        shutil.copytree(tmp_path / "copy", disposable_nats.directory / log)
        disposable_nats.start()
        await _published(broker, messages(["new"], 30))
        if not at_work:
            consumer = await subscribe(broker)
        seen: list[str] = []
        await asyncio.wait_for(
            members_until(consumer, seen, lambda: len([each for each in set(seen) if "new" in each]) == 30),
            HEAL_SECONDS,
        )
        assert [each for each in first_times(seen) if "new" in each] == [f"new:{number}" for number in range(30)]
