"""The conformance suite of the broker port. Imports the broker port; bind it with a `harness` fixture.

class TestMyBroker(BrokerConformance):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[BrokerHarness]: ...
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

import pytest

from freehold.broker import Broker, OutgoingMessage, PublishConfirmed, PublishFailed, Subscription
from freehold.conformance.broker_faults import BrokerFaultsConformance
from freehold.conformance.broker_harness import (
    TOPIC,
    BrokerHarness,
    collect,
    eventually,
    fetch,
    messages,
    needs,
    numbers,
    opened,
    publish,
    read,
    subscribe,
)
from freehold.conformance.broker_log import BrokerLogConformance
from freehold.conformance.broker_members import BrokerMembersConformance
from freehold.conformance.broker_probe import BrokerProbeConformance
from freehold.errors import BrokerError, MessageRejected, Unavailable
from freehold.ids import new_id

__all__ = ["BrokerConformance"]

_KEYS = [f"key-{number}" for number in range(10)]


class BrokerConformance(
    BrokerMembersConformance, BrokerFaultsConformance, BrokerLogConformance, BrokerProbeConformance
):
    """What every broker must do."""

    async def test_messages_of_a_key_come_in_the_order_published(self, harness: BrokerHarness) -> None:
        """Within one call and over several."""
        async with opened(harness) as broker:
            await publish(broker, messages(_KEYS, 100))
            await publish(broker, messages(_KEYS, 100, first=100))
            seen = await collect(await subscribe(broker), 200, limit=7)
            for index, key in enumerate(_KEYS):
                assert numbers(seen, key) == list(range(index, 200, 10))

    async def test_a_key_is_always_in_the_same_partition(self, harness: BrokerHarness) -> None:
        """Different keys are distributed over the partitions."""
        async with opened(harness) as broker:
            await publish(broker, messages(_KEYS, 50))
            consumer = await subscribe(broker)
            places: dict[str, set[int]] = {}
            seen = 0
            while seen < 50:
                batch = await fetch(consumer)
                assert batch.topic == TOPIC
                for document in read(batch):
                    places.setdefault(document.rpartition(":")[0], set()).add(batch.partition)
                seen += len(batch.deliveries)
                await batch.ack(len(batch.deliveries))
            assert [len(found) for found in places.values()] == [1] * len(_KEYS)
            assert len(set.union(*places.values())) > 1

    async def test_a_failure_stops_the_successors_of_its_key_only(self, harness: BrokerHarness) -> None:
        """A message that is too large is rejected; later messages of its key are not tried."""
        huge = b"x" * (harness.features.message_bytes_max + 1)
        async with opened(harness) as broker:
            outgoing = [
                *messages(["bad"], 1),
                OutgoingMessage(id=new_id(), topic=TOPIC, key="bad", document=huge),
                *messages(["good"], 1),
                *messages(["bad"], 1, first=2),
                *messages(["good"], 1, first=1),
            ]
            outcomes = await broker.publish(outgoing, 10.0)
            kinds = [outcome.error if isinstance(outcome, PublishFailed) else outcome for outcome in outcomes]
            assert [type(kind) for kind in kinds] == [
                PublishConfirmed,
                MessageRejected,
                PublishConfirmed,
                Unavailable,
                PublishConfirmed,
            ]
            seen = await collect(await subscribe(broker), 3)
            assert sorted(seen) == ["bad:0", "good:0", "good:1"]

    async def test_a_message_of_the_largest_size_passes(self, harness: BrokerHarness) -> None:
        """The limit in the features is right."""
        async with opened(harness) as broker:
            document = b"x" * broker.features.message_bytes_max
            await publish(broker, [OutgoingMessage(id=new_id(), topic=TOPIC, key="key", document=document)])
            batch = await fetch(await subscribe(broker))
            assert batch.deliveries[0].document == document

    async def test_publishing_nothing_is_nothing(self, harness: BrokerHarness) -> None:
        """An empty call has no outcomes."""
        async with opened(harness) as broker:
            assert list(await broker.publish([], 5.0)) == []

    async def test_groups_are_independent(self, harness: BrokerHarness) -> None:
        """Each group gets all messages; one that does not acknowledge blocks no other."""
        async with opened(harness) as broker:
            stuck, lively = await subscribe(broker, "stuck"), await subscribe(broker, "lively")
            await publish(broker, messages(["key"], 10))
            held = await fetch(stuck, limit=1)
            assert len(await collect(lively, 10)) == 10
            await held.ack(0)
            assert len(await collect(stuck, 10)) == 10

    async def test_a_later_group_begins_where_it_says(self, harness: BrokerHarness) -> None:
        """A new group gets earlier messages; with `latest` it starts behind them."""
        async with opened(harness) as broker:
            await publish(broker, messages(_KEYS, 20))
            early = await subscribe(broker, "early")
            assert len(await collect(early, 20)) == 20
            assert len(await collect(await subscribe(broker, "later"), 20)) == 20
            newest = await subscribe(broker, "newest", start="latest")
            assert await newest.fetch(10, 0.3) is None
            await publish(broker, messages(["key"], 1, first=77))
            assert await collect(newest, 1) == ["key:77"]

    async def test_a_group_goes_on_where_it_was(self, harness: BrokerHarness) -> None:
        """`start` has an effect only for new groups."""
        async with opened(harness) as broker:
            first = await subscribe(broker)
            await publish(broker, messages(["key"], 2))
            assert await collect(first, 2) == ["key:0", "key:1"]
            await first.close()
            await publish(broker, messages(["key"], 2, first=2))
            again = await subscribe(broker, start="latest")
            assert await collect(again, 2) == ["key:2", "key:3"]

    @pytest.mark.parametrize("acknowledged", [0, 1, 3])
    async def test_acking_a_prefix_lets_the_rest_come_again_in_order(
        self, harness: BrokerHarness, acknowledged: int
    ) -> None:
        """The repeated delivery is counted."""
        async with opened(harness) as broker:
            await publish(broker, messages(["key"], 4))
            consumer = await subscribe(broker)
            batch = await fetch(consumer)
            while read(batch)[-1] != "key:3":
                await batch.ack(len(batch.deliveries))
                batch = await fetch(consumer)
            kept = min(acknowledged, len(batch.deliveries))
            rest = read(batch)[kept:]
            await batch.ack(kept)
            if rest:
                again = await fetch(consumer)
                assert read(again) == rest
                assert {delivery.delivery_count for delivery in again.deliveries} == {2}
                await again.ack(0)
                assert {delivery.delivery_count for delivery in (await fetch(consumer)).deliveries} == {3}
            else:
                assert await consumer.fetch(10, 0.2) is None

    @pytest.mark.parametrize("acknowledged", [0, 1])
    async def test_what_was_kept_from_being_handled_counts_for_no_attempt(
        self, harness: BrokerHarness, acknowledged: int
    ) -> None:
        """However often it is released so, by this member and by later ones."""
        async with opened(harness) as broker:
            await publish(broker, messages(["key"], 3))
            consumer = await subscribe(broker)
            for turn in range(3):
                for _ in range(3):
                    batch = await fetch(consumer)
                    assert {delivery.delivery_count for delivery in batch.deliveries} == {1}
                    await batch.ack(acknowledged if turn == 0 else 0, counted=False)
                    acknowledged = 0
                await consumer.close()
                consumer = await subscribe(broker)
            batch = await fetch(consumer)
            await batch.ack(0)
            assert {delivery.delivery_count for delivery in (await fetch(consumer)).deliveries} == {2}

    async def test_a_batch_is_acked_once_and_within_its_length(self, harness: BrokerHarness) -> None:
        """A wrong call raises an error and changes nothing."""
        async with opened(harness) as broker:
            await publish(broker, messages(["key"], 1))
            batch = await fetch(await subscribe(broker))
            with pytest.raises(BrokerError):
                await batch.ack(2)
            await batch.ack(1)
            with pytest.raises(BrokerError):
                await batch.ack(1)

    async def test_a_partition_is_handed_out_once_and_others_beside_it(self, harness: BrokerHarness) -> None:
        """Batches of different partitions are handled at the same time."""
        async with opened(harness) as broker:
            await publish(broker, messages(_KEYS, 40))
            consumer = await subscribe(broker)
            out = [await fetch(consumer, limit=1)]
            while (batch := await consumer.fetch(1, 0.3)) is not None:
                out.append(batch)
            places = [batch.partition for batch in out]
            assert len(places) == len(set(places)) > 1
            await out[0].ack(1)
            assert (await fetch(consumer, limit=1)).partition == places[0]

    async def test_fetch_waits_as_long_as_told_and_wakes_at_once(self, harness: BrokerHarness) -> None:
        """With two brokers, as in two processes: a waiting consumer is woken, and does not poll."""
        async with opened(harness) as one, opened(harness) as two:
            consumer = await subscribe(one)
            waits, delays = list[float](), [math.inf]
            for _ in range(10):
                begun = time.monotonic()
                assert await consumer.fetch(10, 0.3) is None
                waits.append(time.monotonic() - begun)
                if waits[-1] < 0.6:
                    break
            assert min(waits) > 0.25
            assert waits[-1] < 0.6
            # A busy machine is slow sometimes; a consumer that polls is slow every time.
            for number in range(30):
                if min(delays) < 0.1:
                    break
                waiting = asyncio.create_task(fetch(consumer))
                await asyncio.sleep(0.05)
                begun = time.monotonic()
                await publish(two, messages(["key"], 1, first=number))
                batch = await waiting
                delays.append(time.monotonic() - begun)
                await batch.ack(1)
            assert min(delays) < 0.1

    async def test_retention_is_bounded(self, harness: BrokerHarness) -> None:
        """A group that starts after the retention finds nothing; the features contain the retention."""
        options = replace(harness.options, retention_seconds=1.0, prefix=f"{harness.options.prefix}r")
        async with opened(harness, options) as broker:
            assert broker.features.redelivery_horizon_seconds == 1.0
            await publish(broker, messages(["key"], 5))
            number = 0

            async def forgotten() -> bool:
                nonlocal number
                number += 1
                await publish(broker, messages(["other"], 1, first=number))
                consumer = await subscribe(broker, f"group-{number}")
                seen: list[str] = []
                while (batch := await consumer.fetch(100, 0.05 if seen else 2.0)) is not None:
                    seen.extend(read(batch))
                    await batch.ack(len(batch.deliveries))
                await consumer.close()
                return bool(seen) and not numbers(seen, "key")

            await eventually(forgotten)

    async def test_prefixes_keep_systems_apart(self, harness: BrokerHarness) -> None:
        """The same topic and group under another prefix are different ones."""
        options = replace(harness.options, prefix=f"{harness.options.prefix}other")
        async with opened(harness) as one, opened(harness, options) as two:
            await publish(one, messages(["key"], 1))
            assert await (await subscribe(two)).fetch(10, 0.3) is None

    async def test_the_number_of_partitions_is_fixed_at_first_use(self, harness: BrokerHarness) -> None:
        """A broker with another number uses the first one: keys must not change their partition."""
        needs(harness, "durable")
        async with opened(harness) as broker:
            await publish(broker, messages(["key"], 1))
        async with opened(harness, replace(harness.options, partitions=harness.options.partitions + 5)) as broker:
            await publish(broker, messages(["key"], 1, first=1))
            consumer = await subscribe(broker)
            assert await collect(consumer, 2) == ["key:0", "key:1"]

    async def test_lag_counts_what_is_not_acknowledged(self, harness: BrokerHarness) -> None:
        """By topic, for a group that exists."""
        async with opened(harness) as broker:
            consumer = await subscribe(broker)
            await publish(broker, messages(_KEYS, 30))
            (before,) = await broker.lag("readers")
            assert (before.group, before.topic, before.pending) == ("readers", TOPIC, 30)
            assert before.oldest_seconds is None or 0 <= before.oldest_seconds < 30
            if before.oldest_seconds is not None:
                await eventually(lambda: _is_older(broker, before.oldest_seconds or 0.0))
            asked = await asyncio.gather(*(broker.lag("readers") for _ in range(5)))
            assert {lag.pending for (lag,) in asked} == {30}
            await collect(consumer, 30)
            (after,) = await broker.lag("readers")
            assert (after.pending, after.oldest_seconds or 0.0) == (0, 0.0)
            assert list(await broker.lag("nobody")) == []

    async def test_it_answers_and_finds_nothing_wrong(self, harness: BrokerHarness) -> None:
        """`ping`, `run_checks`, and opening and closing twice."""
        broker = harness.broker()
        await broker.open()
        await broker.open()
        await broker.ping(5.0)
        findings = await broker.run_checks()
        assert findings
        assert [finding.subject for finding in findings if not finding.ok] == []
        await broker.close()
        await broker.close()

    async def test_one_group_reads_several_topics(self, harness: BrokerHarness) -> None:
        """Each with its own partitions."""
        topics = ["conformance.a", "conformance.b-c", "conformance.d_e"]
        async with opened(harness) as broker:
            consumer = await broker.subscribe(Subscription(group="readers", topics=frozenset(topics)))
            for topic in topics:
                await publish(broker, messages([topic], 5, topic=topic))
            seen = await collect(consumer, 15)
            assert {topic: numbers(seen, topic) for topic in topics} == {topic: [0, 1, 2, 3, 4] for topic in topics}


async def _is_older(broker: Broker, than_seconds: float) -> bool:
    (lag,) = await broker.lag("readers")
    return (lag.oldest_seconds or 0.0) > than_seconds
