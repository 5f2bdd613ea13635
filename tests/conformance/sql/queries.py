"""Every call of every store of a service's database, by name, each as often as one likes: what the tests of plans and
of growth run beside many rows. What a call uses up it makes itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final
from uuid import UUID

from freehold.aggregate.store import SNAPSHOTS, Snapshot
from freehold.audit.store import AUDIT, AuditEntry
from freehold.broker import OutgoingMessage
from freehold.consistency.store import PROGRESS
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter, DeadLetterStatus, Direction
from freehold.eventstore.store import EVENTS, Append, EventFilter, NewEvent
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.ids import new_id
from freehold.inbox.store import INBOX, IncomingMessage, ReceiveStatus
from freehold.leases.store import LEASES, Vouching
from freehold.messages import Envelope, MessageKind, encode_envelope
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.refusal import dead_letter
from freehold.outbox.sent import SENT
from freehold.outbox.store import OUTBOX, LossState, lease_name
from freehold.ports import Stores
from freehold.projection.replay_store import REPLAYS, NewReplay, ReplayError, ReplayState
from freehold.projection.store import CHECKPOINTS, GenerationState, Move, ParkedStreamUpdate
from freehold.projection.view_store import VIEWS
from freehold.reconcile.store import RECONCILIATIONS, ReconciliationRecord
from freehold.saga.store import SAGAS, JournalEntry, SagaFilter, SagaRecord, SagaStatus
from freehold.schedule.schedule_runner import send_due
from freehold.schedule.store import SCHEDULE

__all__ = ["CONSUMER", "QUERIES", "TOPIC", "Query", "Seeded", "letter", "replayable"]

CONSUMER: Final = "shop"
TOPIC: Final = "orders.commands"
_NOW: Final = datetime.now(UTC)
_fresh = count(10_000_000)

Query = Callable[["Seeded"], Awaitable[object]]
QUERIES: Final[dict[str, Query]] = {}


@dataclass(slots=True)
class Seeded:
    """Stores beside `rows` rows in every table that grows; `leases` are held on all partitions of the outbox."""

    stores: Stores
    rows: int
    leases: dict[int, int] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Take the leases, and make what is there once: a live generation, and a replay."""
        stores, partitions = self.stores, self.stores[OUTBOX].partitions
        await stores[LEASES].ensure([lease_name(partition) for partition in range(partitions)])
        for partition in range(partitions):
            (seen,) = [
                each for each in await stores[LEASES].list(lease_name(partition)) if each.name == lease_name(partition)
            ]
            taken = await stores[LEASES].acquire(seen, "me")
            assert taken is not None
            self.leases[partition] = taken.token
        async with stores.database.begin() as db_tx:
            await stores[CHECKPOINTS].create(
                db_tx, "live", 1, version=1, partitions=4, state=GenerationState.LIVE, tables=["t"]
            )


def query(function: Query) -> Query:
    QUERIES[function.__name__] = function
    return function


def _outgoing(key: str) -> OutgoingMessage:
    return OutgoingMessage(new_id(), "orders.events", key, b"{}")


def _arrival(key: str | None = None, receipt_key: str | None = None) -> IncomingMessage:
    return IncomingMessage(receipt_key or str(new_id()), TOPIC, key or f"fresh{next(_fresh)}")


def letter() -> DeadLetter:
    """A dead letter of a key of its own."""
    return DeadLetter(
        id=new_id(),
        direction=Direction.INBOUND,
        consumer=CONSUMER,
        topic=TOPIC,
        key=f"fresh{next(_fresh)}",
        message_id=new_id(),
        type="orders.place-order",
        reason="attempts-exhausted",
        error_type="ValueError",
        detail="",
        attempts=1,
        failed_at=datetime.now(UTC),
        status=DeadLetterStatus.DEAD,
        document=b"{}",
    )


def replayable() -> DeadLetter:
    """A dead letter that holds a readable envelope."""
    made = letter()
    envelope = Envelope(
        id=new_id(),
        type="orders.unheard-of",
        version=1,
        kind=MessageKind.COMMAND,
        source="web",
        topic=made.topic,
        key=made.key,
        time=made.failed_at,
        hlc=1,
        correlation_id=new_id(),
        body=b"{}",
    )
    return replace(made, document=encode_envelope(envelope))


def _saga() -> SagaRecord:
    return SagaRecord(
        id=new_id(),
        definition="checkout",
        definition_version=1,
        key=f"fresh{next(_fresh)}",
        correlation_id=new_id(),
        status=SagaStatus.RUNNING,
        version=1,
        document=b"{}",
        due_seconds=3600.0,
    )


def _event() -> NewEvent:
    return NewEvent(new_id(), "orders.order-placed", 1, b"{}", new_id(), 1)


@query
async def outbox_stage_last(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[OUTBOX].stage_last(db_tx, [_outgoing(f"fresh{next(_fresh)}") for _ in range(10)])


@query
async def outbox_stage(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[OUTBOX].stage(db_tx, [_outgoing(f"fresh{next(_fresh)}") for _ in range(10)])


@query
async def outbox_fetch(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 100)
    assert len(fetched.rows) == 100 or seeded.rows < 500


@query
async def outbox_fetch_one_partition(seeded: Seeded) -> None:
    await seeded.stores[OUTBOX].fetch({0: seeded.leases[0]}, 100)


@query
async def outbox_remove(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 5)
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[:3])
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[3:], {0: next(_fresh)})


@query
async def outbox_advance(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 5)
    _, fetched = await seeded.stores[OUTBOX].advance(seeded.leases, fetched.rows, {0: next(_fresh)}, 100)
    await seeded.stores[OUTBOX].advance(seeded.leases, fetched.rows[:5], {}, 100, keep=LossState())


@query
async def outbox_keep(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 5)
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[:3], keep=LossState())
    await seeded.stores[OUTBOX].remove(seeded.leases, fetched.rows[3:], {0: next(_fresh)}, keep=LossState())


@query
async def sent(seeded: Seeded) -> None:
    store = seeded.stores[SENT]
    kept = await store.kept()
    assert kept.last_position is not None
    async with seeded.stores.database.begin() as db_tx:
        await store.send_again(db_tx, kept.now - timedelta(days=9), 0, kept.last_position, 10)
    await store.prune(86400.0, 10)
    await seeded.stores[BROKER_LOGS].note("here", "first")
    await seeded.stores[BROKER_LOGS].note("here", f"another{next(_fresh)}")
    (lost,) = await seeded.stores[BROKER_LOGS].lost()
    await store.recall(seeded.leases, 50)
    assert (await seeded.stores[OUTBOX].fetch(seeded.leases, 50)).loss.open
    async with seeded.stores.database.begin() as db_tx:
        assert await seeded.stores[BROKER_LOGS].end_loss(db_tx, lost)
    await store.prune(seeded.rows + 3500.0, 5)


@query
async def broker_logs(seeded: Seeded) -> None:
    store = seeded.stores[BROKER_LOGS]
    place = f"place{next(_fresh)}"
    await store.note(place, "first")
    assert (await store.note(place, "second")).lost_at is not None
    (lost,) = await store.lost()
    await store.keep_mark(place, "second", "7")
    assert await store.mark(place) == "7"
    async with seeded.stores.database.begin() as db_tx:
        assert await store.end_loss(db_tx, lost)


@query
async def outbox_reschedule(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[OUTBOX].stage(db_tx, [_outgoing(f"fresh{next(_fresh)}")])
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 1)
    assert await seeded.stores[OUTBOX].reschedule(seeded.leases, fetched.rows[0], 0.0, "refused")


@query
async def outbox_dead_letter(seeded: Seeded) -> None:
    fetched = await seeded.stores[OUTBOX].fetch(seeded.leases, 1)
    assert await dead_letter(seeded.stores, seeded.leases, fetched.rows[0], "refused", datetime.now(UTC))


@query
async def outbox_unsent(seeded: Seeded) -> None:
    await seeded.stores[OUTBOX].unsent(20)


@query
async def outbox_stats(seeded: Seeded) -> None:
    await seeded.stores[OUTBOX].stats()


@query
async def leases(seeded: Seeded) -> None:
    store, name = seeded.stores[LEASES], f"mine/{next(_fresh)}"
    await store.ensure([name])
    (seen,) = await store.list(name)
    taken = await store.acquire(seen, "me")
    assert taken is not None
    await store.renew("me", {name: taken.token})
    await store.release("me", {name: taken.token})
    await store.delete([name])
    assert isinstance(store, Vouching)
    vouched = await store.vouch(name)
    assert name not in await store.gone([name, "nobody"])
    if vouched is not None:
        await vouched.release()


@query
async def inbox_receive_and_write_last(seeded: Seeded) -> None:
    arrivals = [_arrival() for _ in range(16)]
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[INBOX].receive(db_tx, CONSUMER, arrivals)
        replies = {each.receipt_key: b"a" for each in arrivals[:2]}
        await seeded.stores[INBOX].save_replies_last(db_tx, CONSUMER, replies)
        await seeded.stores[PROGRESS].advance_last(db_tx, CONSUMER, {f"orders/{n}": next(_fresh) for n in range(4)})


@query
async def inbox_receive(seeded: Seeded) -> None:
    arrivals = [_arrival() for _ in range(16)]
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[INBOX].receive(db_tx, CONSUMER, arrivals)
        await seeded.stores[INBOX].save_replies(db_tx, CONSUMER, {each.receipt_key: b"a" for each in arrivals[:2]})


@query
async def inbox_receive_known(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        known = [_arrival(receipt_key=f"r{number}") for number in range(8)]
        cancelling = replace(_arrival(), compensates="r3")
        blocked = [_arrival(f"k{number}") for number in range(8)]
        await seeded.stores[INBOX].receive(db_tx, CONSUMER, [*known, cancelling, *blocked])


async def _defer(seeded: Seeded, delay_seconds: float = 0.0, key: str | None = None) -> None:
    async with seeded.stores.database.begin() as db_tx:
        arrival = replace(_arrival(key), lane="orders:0", lane_position=next(_fresh))
        await seeded.stores[INBOX].defer(
            db_tx, CONSUMER, arrival, b"{}", attempts=1, delay_seconds=delay_seconds, reason=""
        )


@query
async def inbox_defer_and_finish(seeded: Seeded) -> None:
    await _defer(seeded, -1.0)
    inbox = seeded.stores[INBOX]
    (claimed,) = await inbox.claim_due(CONSUMER, 1, 0.0)
    assert await inbox.reschedule(claimed, -1.0, "again")
    (claimed,) = await inbox.claim_due(CONSUMER, 1, 60.0)
    assert await inbox.release(claimed)
    (claimed,) = await inbox.claim_due(CONSUMER, 1, 60.0)
    async with seeded.stores.database.begin() as db_tx:
        assert await inbox.finish(db_tx, claimed)


@query
async def inbox_claim_nothing(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].claim_due(CONSUMER, 16, 60.0) == []


@query
async def inbox_claim_behind_one_key(seeded: Seeded) -> None:
    """Of `crowded` as many are due as there are rows elsewhere, and the first is not."""
    assert await seeded.stores[INBOX].claim_due("crowded", 16, 60.0) == []
    assert await seeded.stores[INBOX].next_due_seconds("crowded")
    async with seeded.stores.database.begin() as db_tx:
        (receipt,) = await seeded.stores[INBOX].receive(db_tx, "crowded", [_arrival("crowd")])
    assert receipt.status is ReceiveStatus.BLOCKED


@query
async def inbox_next_due(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].next_due_seconds(CONSUMER)


@query
async def inbox_deferred(seeded: Seeded) -> None:
    await seeded.stores[INBOX].deferred(CONSUMER, 20)
    await seeded.stores[INBOX].deferred(None, 20)


@query
async def inbox_oldest_receipt(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].oldest_receipt_seconds(CONSUMER)


@query
async def inbox_received_at(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].received_at(CONSUMER, "r3") is not None


@query
async def inbox_stats(seeded: Seeded) -> None:
    await seeded.stores[INBOX].stats()


@query
async def inbox_prune(seeded: Seeded) -> None:
    await seeded.stores[INBOX].prune(CONSUMER, 6 * 86400.0, 2)


@query
async def dead_letters_add_to_end(seeded: Seeded) -> None:
    store, mine, other = seeded.stores[DEAD_LETTERS], letter(), letter()
    async with seeded.stores.database.begin() as db_tx:
        await store.add(db_tx, mine)
        await store.add(db_tx, other)
        await store.get(db_tx, mine.id)
        await store.edit(db_tx, mine.id, b"e")
        await store.mark(db_tx, mine.id, DeadLetterStatus.DISCARDED, None)
        await store.mark(db_tx, other.id, DeadLetterStatus.REPLAYED, new_id())


_FILTERS: Final = {
    "newest": DeadLetterFilter(limit=20),
    "one": DeadLetterFilter(status=None, id=UUID(int=1), limit=1),
    "one_that_is_dead": DeadLetterFilter(id=UUID(int=1), limit=1),
    "any_status": DeadLetterFilter(status=None, limit=20),
    "consumer": DeadLetterFilter(consumer="rare", limit=20),
    "type": DeadLetterFilter(type="rare", limit=20),
    "reason": DeadLetterFilter(reason="rare", limit=20),
    "all_of_them": DeadLetterFilter(consumer="rare", type="rare", reason="rare", limit=20),
    "any_status_of_a_type": DeadLetterFilter(status=None, type="rare", limit=20),
    "next_page": DeadLetterFilter(limit=20, after=(_NOW - timedelta(seconds=50), UUID(int=0))),
    "next_page_of_a_type": DeadLetterFilter(type="rare", limit=20, after=(_NOW, UUID(int=0))),
}


def _finding(wanted: DeadLetterFilter) -> Query:
    async def find(seeded: Seeded) -> None:
        await seeded.stores[DEAD_LETTERS].find(wanted)

    return find


QUERIES.update({f"dead_letters_find_{name}": _finding(wanted) for name, wanted in _FILTERS.items()})


@query
async def dead_letters_count(seeded: Seeded) -> None:
    await seeded.stores[DEAD_LETTERS].count()


@query
async def dead_letters_prune(seeded: Seeded) -> None:
    await seeded.stores[DEAD_LETTERS].prune(6 * 86400.0, 2)


@query
async def schedule(seeded: Seeded) -> None:
    store, message, due = seeded.stores[SCHEDULE], _outgoing("k"), _outgoing("k")
    async with seeded.stores.database.begin() as db_tx:
        await store.add(db_tx, message, "n", 7200.0)
        await store.cancel(db_tx, message.id)
        await store.add(db_tx, due, "n", -1.0)
    assert await send_due(seeded.stores, 10) == 1


@query
async def schedule_look(seeded: Seeded) -> None:
    store = seeded.stores[SCHEDULE]
    assert await store.next_due_seconds()
    await store.find(None, 20)
    await store.find("rare", 20)


@query
async def saga_steps(seeded: Seeded) -> None:
    store, record = seeded.stores[SAGAS], _saga()
    entries = [JournalEntry(_NOW, "reserve", "sent", 1)]
    async with seeded.stores.database.begin() as db_tx:
        assert await store.create(db_tx, record, entries)
        loaded = await store.load(db_tx, record.id)
        await store.save(db_tx, loaded, entries)
        many = await store.load_many(db_tx, [record.id])
        await store.save_many(db_tx, [(many[record.id], entries)])
    async with seeded.stores.database.begin() as db_tx:
        await store.save_last(db_tx, [(await store.load(db_tx, record.id), entries)])
    await store.journal(record.id)


@query
async def saga_due(seeded: Seeded) -> None:
    store, record = seeded.stores[SAGAS], replace(_saga(), due_seconds=-1.0)
    async with seeded.stores.database.begin() as db_tx:
        assert await store.create(db_tx, record, [])
        (due,) = await store.claim_due(db_tx, 16)
        await store.save(db_tx, replace(due, due_seconds=None, status=SagaStatus.COMPLETED), [])
    assert await store.next_due_seconds()


_SAGAS: Final = {
    "newest": SagaFilter(limit=20),
    "key": SagaFilter(key="k7", limit=20),
    "key_and_status": SagaFilter(key="k7", status=SagaStatus.RUNNING, limit=20),
    "id": SagaFilter(id=new_id(), limit=20),
    "cause": SagaFilter(correlation_id=new_id(), limit=20),
    "rare_definition": SagaFilter(definition="rare", limit=20),
    "definition": SagaFilter(definition="checkout", limit=20),
    "definition_and_status": SagaFilter(definition="checkout", status=SagaStatus.NEEDS_ATTENTION, limit=20),
    "status": SagaFilter(status=SagaStatus.NEEDS_ATTENTION, limit=20),
}


def _finding_sagas(wanted: SagaFilter) -> Query:
    async def find(seeded: Seeded) -> None:
        await seeded.stores[SAGAS].find(wanted)

    return find


QUERIES.update({f"saga_find_{name}": _finding_sagas(wanted) for name, wanted in _SAGAS.items()})


@query
async def saga_count(seeded: Seeded) -> None:
    await seeded.stores[SAGAS].count()


@query
async def saga_prune(seeded: Seeded) -> None:
    await seeded.stores[SAGAS].prune(6 * 86400.0, 2)


@query
async def idempotency(seeded: Seeded) -> None:
    store, key = seeded.stores[IDEMPOTENCY], f"fresh{next(_fresh)}"
    async with seeded.stores.database.begin() as db_tx:
        assert await store.claim(db_tx, CONSUMER, key, "f") is None
        await store.complete(db_tx, CONSUMER, key, StoredResponse("f", 200, "text/plain", b""))
        assert await store.claim(db_tx, CONSUMER, key, "f")
        assert await store.used(db_tx, CONSUMER, key)
        assert await store.used(db_tx, CONSUMER)
    await store.prune(6 * 86400.0, 2)


@query
async def audit(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[AUDIT].add(db_tx, AuditEntry(_NOW, "ada", "drop", "rare", ""))
    await seeded.stores[AUDIT].find(None, 20)
    await seeded.stores[AUDIT].find("rare", 20)


@query
async def events_append(seeded: Seeded) -> None:
    store = seeded.stores[EVENTS]
    async with seeded.stores.database.begin() as db_tx:
        await store.append(db_tx, [Append(f"order-fresh{next(_fresh)}", [_event()]), Append("order-7", [_event()])])
    await store.append_now([Append("order-8", [_event()])])


@query
async def events_read_stream(seeded: Seeded) -> None:
    store = seeded.stores[EVENTS]
    await store.read_stream("order-7", limit=5)
    await store.read_stream("order-7", after=1, before=9, limit=5, backwards=True)
    await store.read_bodies("order-7", limit=5)
    await store.version("order-7")
    await store.high_water_mark()


_WANTED: Final = {
    "all": EventFilter(),
    "type": EventFilter(types=frozenset({"orders.order-placed"})),
    "rare_type": EventFilter(types=frozenset({"rare"})),
    "types": EventFilter(types=frozenset({"orders.order-placed", "rare"})),
    "category": EventFilter(categories=frozenset({"order"})),
    "partition": EventFilter(partition=1, partitions=4),
    "types_of_a_partition": EventFilter(types=frozenset({"orders.order-placed", "rare"}), partition=1, partitions=4),
}


def _reading(wanted: EventFilter) -> Query:
    async def read(seeded: Seeded) -> None:
        store = seeded.stores[EVENTS]
        for after in (0, seeded.rows // 2, seeded.rows - 60):
            await store.read_all(after, limit=50, event_filter=wanted)
        await store.recorded_at(seeded.rows // 2, wanted)
        await store.count(seeded.rows - 60, seeded.rows, wanted, limit=50)

    return read


QUERIES.update({f"events_read_{name}": _reading(wanted) for name, wanted in _WANTED.items()})


@query
async def events_read_span(seeded: Seeded) -> None:
    wanted = EventFilter(recorded_from=_NOW - timedelta(seconds=40), recorded_to=_NOW - timedelta(seconds=20))
    await seeded.stores[EVENTS].read_all(seeded.rows - 60, limit=50, event_filter=wanted)


@query
async def snapshots(seeded: Seeded) -> None:
    store, stream = seeded.stores[SNAPSHOTS], f"order-fresh{next(_fresh)}"
    async with seeded.stores.database.begin() as db_tx:
        await store.save(db_tx, Snapshot(stream, "order", 1, 1, "f", b"{}"))
    await store.load(stream, "order")
    await store.discard(stream, "order")
    await store.discard_all("old", 2)


@query
async def snapshots_kinds(seeded: Seeded) -> None:
    await seeded.stores[SNAPSHOTS].kinds()


@query
async def checkpoints(seeded: Seeded) -> None:
    store, database = seeded.stores[CHECKPOINTS], seeded.stores.database
    seen = await store.checkpoints("live", 1)
    async with database.begin() as db_tx:
        begun = await store.begin(db_tx, seen[0])
        moved = await store.advance(db_tx, [Move(begun, begun.position + 1, handled=1)])
        await store.lock(db_tx, "live", 1, 0)
    async with database.begin() as db_tx:
        parked = ParkedStreamUpdate("stream-fresh", 1, 1, new_id(), "t", "E", "", 1, 1.0)
        held = await store.park(db_tx, moved[0], parked)
        await store.release(db_tx, held, "stream-fresh")
    await store.parked("live", 1, 1, limit=20)
    await store.parked("live", 1, stream="s7", limit=1)
    await store.count_parked()


@query
async def generations(seeded: Seeded) -> None:
    store, database, name = seeded.stores[CHECKPOINTS], seeded.stores.database, f"made{next(_fresh)}"
    async with database.begin() as db_tx:
        await store.create(db_tx, name, 1, version=1, partitions=2, state=GenerationState.BUILDING)
        await store.pause(db_tx, name, 1, reason="r", actor="ada")
    await store.pauses()
    await store.pauses(name)
    await store.generations()
    await store.generations(name)
    async with database.begin() as db_tx:
        await store.resume(db_tx, name, 1)
        await store.transition(db_tx, name, 1, expected=GenerationState.BUILDING, to=GenerationState.RETIRED)
        await store.forget(db_tx, name, 1)


@query
async def replays(seeded: Seeded) -> None:
    store, database = seeded.stores[REPLAYS], seeded.stores.database
    async with database.begin() as db_tx:
        replay = await store.create(db_tx, NewReplay("live", 1, None, None, 0, 10, "ada", "r"))
        replay = await store.set_tables(db_tx, replay.number, ["t"])
        replay = await store.begin(db_tx, replay)
        failed = ReplayError(1, "s", 1, new_id(), "t", "E", "")
        replay = await store.advance(db_tx, replay, 5, applied=1, failed=[failed])
        await store.end(db_tx, replay.number, ReplayState.CANCELLED)
        await store.restart(db_tx, replay.number)
        await store.end(db_tx, replay.number, ReplayState.CANCELLED)
    await store.get(replay.number)
    await store.find(limit=5)
    await store.find("live", limit=5)
    await store.errors(replay.number, limit=5)
    async with database.begin() as db_tx:
        await store.delete(db_tx, replay.number)


@query
async def replays_prune(seeded: Seeded) -> None:
    await seeded.stores[REPLAYS].prune(6 * 86400.0, 2)


@query
async def progress(seeded: Seeded) -> None:
    store = seeded.stores[PROGRESS]
    async with seeded.stores.database.begin() as db_tx:
        await store.advance(db_tx, CONSUMER, {"orders:0": next(_fresh), "orders:1": next(_fresh)}, appended_position=1)
    await store.progress(CONSUMER)
    await store.progress(CONSUMER, ["orders:0"])


@query
async def reconciliations(seeded: Seeded) -> None:
    store = seeded.stores[RECONCILIATIONS]
    await store.add(ReconciliationRecord("rare", _NOW, 1.0, 1, 0, 0, 0))
    await store.last("rare")
    await store.recent(5)
    await store.prune(6 * 86400.0, 2)


@query
async def views(seeded: Seeded) -> None:
    await seeded.stores[VIEWS].states()
