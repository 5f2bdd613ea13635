"""The suite of the saga store. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.ids import new_id
from freehold.ports import Stores
from freehold.saga.store import (
    JOURNAL_DETAIL_CHARACTERS_MAX,
    SAGAS,
    JournalEntry,
    SagaBacklog,
    SagaFilter,
    SagaRecord,
    SagaStatus,
)

__all__ = ["SagaStoreConformance"]

_LIMIT_SECONDS: Final = 60.0


class _GivenUp(Exception):
    """Ends a transaction with a rollback."""


def record(
    *, definition: str = "checkout", key: str = "order 1", due_seconds: float | None = None, saga_id: UUID | None = None
) -> SagaRecord:
    """A new instance."""
    return SagaRecord(
        id=saga_id or new_id(),
        definition=definition,
        definition_version=2,
        key=key,
        correlation_id=new_id(),
        status=SagaStatus.RUNNING,
        version=1,
        document=b'\x00{"steps": {}}',
        due_seconds=due_seconds,
    )


async def create(stores: Stores, new: SagaRecord, entries: Sequence[JournalEntry] = ()) -> bool:
    """Create in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        return await stores[SAGAS].create(db_tx, new, entries)


async def load(stores: Stores, saga_id: UUID) -> SagaRecord:
    """Load in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        return await stores[SAGAS].load(db_tx, saga_id)


async def save(stores: Stores, changed: SagaRecord, entries: Sequence[JournalEntry] = ()) -> None:
    """Save in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        await stores[SAGAS].save(db_tx, changed, entries)


async def due(stores: Stores, limit: int = 10) -> list[UUID]:
    """The ids of due instances."""
    async with stores.database.begin() as db_tx:
        return [one.id for one in await stores[SAGAS].claim_due(db_tx, limit)]


class SagaStoreConformance:
    """What every store of sagas must do. Bind it with a `harness` fixture."""

    async def test_an_instance_comes_back_as_it_was(self, harness: StoresHarness) -> None:
        """With its times, and with the remaining seconds of its timer."""
        new = record(due_seconds=30)
        created_at = harness.clock.now()
        assert await create(harness.first, new)
        harness.clock.advance(10)
        loaded = await load(harness.first, new.id)
        assert loaded.due_seconds == pytest.approx(20)
        assert replace(loaded, due_seconds=30) == replace(new, created_at=created_at, updated_at=created_at)
        with pytest.raises(NotFound):
            await load(harness.first, new_id())

    async def test_an_instance_begins_once(self, harness: StoresHarness) -> None:
        """A second creation changes nothing, also not the journal; a concurrent one waits for the first."""
        stores, other, new = harness.first, await harness.instance(), record()
        begun = [JournalEntry(harness.clock.now(), "", "started")]
        async with stores.database.begin() as db_tx:
            assert await stores[SAGAS].create(db_tx, new, begun)
            second = asyncio.create_task(create(other, replace(new, key="other"), begun))
            assert await has_to_wait(second)
        assert not await second
        assert (await load(stores, new.id)).key == new.key
        assert list(await stores[SAGAS].journal(new.id)) == begun

    async def test_a_rolled_back_creation_leaves_nothing(self, harness: StoresHarness) -> None:
        """Neither the instance nor its journal."""
        stores, new = harness.first, record(due_seconds=0)
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                assert await stores[SAGAS].create(db_tx, new, [JournalEntry(harness.clock.now(), "", "started")])
                raise _GivenUp
        assert list(await stores[SAGAS].find(SagaFilter())) == []
        assert list(await stores[SAGAS].journal(new.id)) == []
        assert await stores[SAGAS].next_due_seconds() is None

    async def test_a_save_goes_on_from_the_version_loaded(self, harness: StoresHarness) -> None:
        """All changeable fields are stored; the identity of the instance stays."""
        stores, new = harness.first, record(due_seconds=5)
        await create(stores, new)
        harness.clock.advance(3)
        changed = replace(
            await load(stores, new.id),
            status=SagaStatus.COMPENSATING,
            document=b"next",
            failure="declined",
            due_seconds=None,
        )
        await save(stores, changed)
        loaded = await load(stores, new.id)
        assert loaded == replace(changed, version=2, updated_at=harness.clock.now())

    async def test_a_save_with_an_old_version_is_refused(self, harness: StoresHarness) -> None:
        """Of two that advance an instance at once one succeeds; the other writes nothing, no journal either."""
        stores, other, new = harness.first, await harness.instance(), record()
        await create(stores, new)
        seen = await load(other, new.id)
        await save(stores, replace(seen, document=b"winner"))
        with pytest.raises(ConcurrencyConflict):
            await save(other, replace(seen, document=b"loser"), [JournalEntry(harness.clock.now(), "charge", "sent")])
        with pytest.raises(ConcurrencyConflict):
            await save(other, replace(record(), version=1))
        loaded = await load(stores, new.id)
        assert (loaded.document, loaded.version) == (b"winner", 2)
        assert list(await stores[SAGAS].journal(new.id)) == []

    async def test_one_of_many_savers_wins(self, harness: StoresHarness) -> None:
        """Saves of the same version at the same time, without a lock: exactly one is stored."""
        instances, new = [harness.first, await harness.instance(), await harness.instance()], record()
        await create(harness.first, new)
        outcomes = await asyncio.gather(
            *(save(stores, replace(new, failure=str(number))) for number, stores in enumerate(instances)),
            return_exceptions=True,
        )
        assert [isinstance(one, ConcurrencyConflict) for one in outcomes].count(True) == len(instances) - 1
        assert (await load(harness.first, new.id)).failure == str(outcomes.index(None))

    async def test_many_are_loaded_and_saved_together(self, harness: StoresHarness) -> None:
        """With their journals; an instance that does not exist is left out."""
        stores, made = harness.first, [record(due_seconds=5), record(), record()]
        for new in made:
            await create(stores, new)
        at = harness.clock.now()
        async with stores.database.begin() as db_tx:
            found = await stores[SAGAS].load_many(db_tx, [*(new.id for new in made), new_id()])
            assert set(found) == {new.id for new in made}
            changed = [
                replace(found[new.id], document=bytes([place]), due_seconds=None, failure="late")
                for place, new in enumerate(made)
            ]
            entries = [JournalEntry(at, "reserve", "requested", 1), JournalEntry(at, "reserve", "done", 1)]
            await stores[SAGAS].save_many(db_tx, [(each, entries) for each in changed])
        for place, new in enumerate(made):
            now = await load(stores, new.id)
            assert (now.version, now.document, now.due_seconds, now.failure) == (2, bytes([place]), None, "late")
            assert [entry.what for entry in await stores[SAGAS].journal(new.id)] == ["requested", "done"]

    async def test_one_stale_version_among_many_is_refused(self, harness: StoresHarness) -> None:
        """The whole transaction is rolled back."""
        stores, made = harness.first, [record(), record()]
        for new in made:
            await create(stores, new)
        await save(stores, await load(stores, made[0].id))
        with pytest.raises(ConcurrencyConflict):
            async with stores.database.begin() as db_tx:
                await stores[SAGAS].save_many(db_tx, [(replace(new, document=b"2"), ()) for new in made])
        assert (await load(stores, made[1].id)).version == 1

    async def test_what_is_saved_last_is_there_after_the_commit(self, harness: StoresHarness) -> None:
        """With its journal and its timer, of one instance and of several."""
        stores, made = harness.first, [record(due_seconds=5), record(), record()]
        for new in made:
            await create(stores, new)
        at = harness.clock.now()
        entries = [JournalEntry(at, "reserve", "requested", 1, "it's \\ ü"), JournalEntry(at, "reserve", "done", 1)]
        for changed in (made[:1], made[1:]):
            async with stores.database.begin() as db_tx:
                saved = [
                    (replace(each, status=SagaStatus.COMPENSATING, failure="it's", due_seconds=7.5), entries)
                    for each in changed
                ]
                await stores[SAGAS].save_last(db_tx, saved)
        for new in made:
            found = await load(stores, new.id)
            assert (found.version, found.status, found.failure) == (2, SagaStatus.COMPENSATING, "it's")
            assert found.due_seconds == pytest.approx(7.5)
            assert found.document == new.document
            assert list(await stores[SAGAS].journal(new.id)) == entries

    async def test_a_stale_version_that_is_saved_last_leaves_nothing(self, harness: StoresHarness) -> None:
        """The block of the transaction raises, also where another instance in it could be saved."""
        stores, made = harness.first, [record(), record()]
        for new in made:
            await create(stores, new)
        await save(stores, await load(stores, made[0].id))
        for stale in (made[:1], made):
            entry = JournalEntry(harness.clock.now(), "", "lost")
            with pytest.raises(ConcurrencyConflict):
                async with stores.database.begin() as db_tx:
                    await stores[SAGAS].save_last(db_tx, [(replace(new, document=b"2"), [entry]) for new in stale])
            for new in made:
                assert (await load(stores, new.id)).document == new.document
                assert list(await stores[SAGAS].journal(new.id)) == []

    async def test_a_loaded_instance_is_locked(self, harness: StoresHarness) -> None:
        """A concurrent load waits, and gets what was saved."""
        stores, other, new = harness.first, await harness.instance(), record()
        await create(stores, new)
        async with stores.database.begin() as db_tx:
            loaded = await stores[SAGAS].load(db_tx, new.id)
            second = asyncio.create_task(load(other, new.id))
            assert await has_to_wait(second)
            await stores[SAGAS].save(db_tx, replace(loaded, document=b"next"), ())
        assert (await second).document == b"next"

    async def test_the_journal_keeps_its_order(self, harness: StoresHarness) -> None:
        """Entries of one save and of the next, oldest first; a long detail is cut off."""
        stores, new = harness.first, record()
        at = harness.clock.now()
        entries = [JournalEntry(at, "reserve", "sent", number, f"détail {number}") for number in range(20)]
        await create(stores, new, entries[:12])
        await save(stores, new, entries[12:])
        await save(stores, replace(new, version=2), [JournalEntry(at, "charge", "failed", 1, "x" * 10_000)])
        journal = list(await stores[SAGAS].journal(new.id))
        assert journal[:-1] == entries
        assert journal[-1].detail == "x" * JOURNAL_DETAIL_CHARACTERS_MAX
        assert list(await stores[SAGAS].journal(new_id())) == []

    async def test_timers_come_due_by_the_databases_time(self, harness: StoresHarness) -> None:
        """Longest due first; a save moves or cancels the timer."""
        stores = harness.first
        soon, late, never = record(due_seconds=10), record(due_seconds=20), record()
        for new in (late, soon, never):
            await create(stores, new)
        assert await stores[SAGAS].next_due_seconds() == pytest.approx(10)
        assert await due(stores) == []
        harness.clock.advance(25)
        assert await stores[SAGAS].next_due_seconds() == pytest.approx(-15)
        assert await due(stores) == [soon.id, late.id]
        assert await due(stores, limit=1) == [soon.id]
        await save(stores, replace(soon, due_seconds=None))
        await save(stores, replace(late, due_seconds=60))
        assert await due(stores) == []
        assert await stores[SAGAS].next_due_seconds() == pytest.approx(60)

    async def test_due_instances_are_claimed_by_one(self, harness: StoresHarness) -> None:
        """Others skip claimed instances, or wait until they are saved; no two get the same one."""
        stores, other = harness.first, await harness.instance()
        for _ in range(4):
            await create(stores, record(due_seconds=0))
        async with stores.database.begin() as db_tx:
            claimed = await stores[SAGAS].claim_due(db_tx, 2)
            second = asyncio.create_task(due(other))
            if harness.features.concurrent_writers:
                await asyncio.wait_for(asyncio.shield(second), _LIMIT_SECONDS)
            else:
                assert await has_to_wait(second)
            for one in claimed:
                await stores[SAGAS].save(db_tx, replace(one, due_seconds=None), ())
        assert len(claimed) == 2
        assert len(await second) == 2
        assert not {one.id for one in claimed} & set(await second)

    async def test_instances_are_found_newest_first(self, harness: StoresHarness) -> None:
        """By every part of the filter, and at most the limit."""
        stores, made = harness.first, []
        for definition, key in (("checkout", "1"), ("return", "1"), ("checkout", "2"), ("checkout", "1")):
            made.append(record(definition=definition, key=key))
            await create(stores, made[-1])
            harness.clock.advance(1)
        await save(stores, replace(made[3], status=SagaStatus.COMPLETED))

        async def find(**wanted: Any) -> list[int]:
            found = await stores[SAGAS].find(replace(SagaFilter(), **wanted))
            return [[one.id for one in made].index(one.id) for one in found]

        assert await find() == [3, 2, 1, 0]
        assert await find(limit=3) == [3, 2, 1]
        assert await find(definition="checkout") == [3, 2, 0]
        assert await find(definition="checkout", key="1") == [3, 0]
        assert await find(status=SagaStatus.COMPLETED) == [3]
        assert await find(key="3") == []
        assert await find(id=made[1].id) == [1]
        assert await find(id=new_id()) == []
        assert await find(correlation_id=made[2].correlation_id) == [2]
        assert await find(correlation_id=made[2].correlation_id, status=SagaStatus.COMPLETED) == []

    async def test_instances_are_counted(self, harness: StoresHarness) -> None:
        """By definition and status."""
        ended = record()
        for new in (ended, record(), record(), record(definition="return")):
            await create(harness.first, new)
        await save(harness.first, replace(ended, status=SagaStatus.COMPENSATED))
        assert await harness.first[SAGAS].count() == {
            ("checkout", SagaStatus.RUNNING): 2,
            ("checkout", SagaStatus.COMPENSATED): 1,
            ("return", SagaStatus.RUNNING): 1,
        }

    async def test_the_oldest_instance_of_each_status_is_known(self, harness: StoresHarness) -> None:
        """By definition and status; those that have ended are left out."""
        store = harness.first[SAGAS]
        assert await store.backlog() == {}
        first, second, ended, other = record(), record(), record(), record(definition="return")
        for new in (ended, first, second, other):
            await create(harness.first, new)
            harness.clock.advance(10)
        await save(harness.first, replace(ended, status=SagaStatus.COMPENSATED))
        await save(harness.first, replace(other, status=SagaStatus.NEEDS_ATTENTION))
        started = {each.id: each.created_at for each in await store.find(SagaFilter())}
        found = await store.backlog()
        assert found == {
            ("checkout", SagaStatus.RUNNING): SagaBacklog(2, started[first.id] or harness.clock.now()),
            ("return", SagaStatus.NEEDS_ATTENTION): SagaBacklog(1, started[other.id] or harness.clock.now()),
        }

    async def test_only_what_ended_long_ago_is_pruned(self, harness: StoresHarness) -> None:
        """With its journal; an instance that runs or needs attention stays, however old."""
        stores = harness.first
        ends = [SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.TERMINATED]
        kept = [SagaStatus.RUNNING, SagaStatus.COMPENSATING, SagaStatus.NEEDS_ATTENTION]
        made = {status: record() for status in ends + kept}
        entry = JournalEntry(harness.clock.now() + timedelta(seconds=1), "", "started")
        for status, new in made.items():
            await create(stores, new, [entry])
            await save(stores, replace(new, status=status))
        assert await stores[SAGAS].prune(60, limit=100) == 0
        harness.clock.advance(61)
        assert await stores[SAGAS].prune(60, limit=2) == 2
        assert await stores[SAGAS].prune(60, limit=2) == 1
        assert await stores[SAGAS].prune(60, limit=2) == 0
        assert {one.id for one in await stores[SAGAS].find(SagaFilter())} == {made[status].id for status in kept}
        assert list(await stores[SAGAS].journal(made[ends[0]].id)) == []
        assert list(await stores[SAGAS].journal(made[kept[0]].id)) == [entry]
