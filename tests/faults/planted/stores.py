"""Bugs that no simulation can show, because another guard makes them harmless there, or because they need SQL. Each is
found by a test of the suites.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.faults.planted.bug import Bug, Patch, returns

import freehold.adapters.memory.deadletters as letters_module
import freehold.adapters.memory.events as events_module
import freehold.adapters.memory.outbox as outbox_module
from freehold.adapters.memory.broker import _MemoryLog
from freehold.adapters.memory.leases import LEASES, MemoryLeaseStore
from freehold.adapters.memory.saga import MemorySagaStore
from freehold.life import Life
from freehold.projection.batch_commit import BatchProcessor

__all__ = ["BUGS"]


def _no_version_check(patch: Patch) -> None:
    patch.replace(events_module, "is_met", returns(True))


def _no_fencing(patch: Patch) -> None:
    patch.replace(outbox_module, "is_valid", returns(True))


def _former_owner_renews(patch: Patch) -> None:
    async def renew(self: Any, owner: str, tokens: Mapping[str, int]) -> set[str]:
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(LEASES)
            for name in tokens:
                if (row := rows.get(name)) is not None:
                    rows.put(name, replace(row, heartbeat=row.heartbeat + 1))
            return {name for name in tokens if rows.get(name) is not None}

    patch.replace(MemoryLeaseStore, "renew", lambda _: renew)


def _used_after_its_end(patch: Patch) -> None:
    patch.replace(Life, "check", returns(None))


def _replayed_twice(patch: Patch) -> None:
    patch.replace(letters_module, "_dead", lambda _: letters_module._kept)


def _position_not_fenced(patch: Patch) -> None:
    def make(save: Callable[..., Any]) -> Callable[..., Any]:
        async def whoever(self: Any, expected: Any, **keywords: Any) -> Any:
            record = self._group.records.get(expected.place)
            return await save(self, expected if record is None else replace(expected, token=record.token), **keywords)

        return whoever

    patch.replace(_MemoryLog, "compare_and_set", make)


def _saga_not_fenced(patch: Patch) -> None:
    def make(save: Callable[..., Any]) -> Callable[..., Any]:
        async def whatever(self: Any, db_tx: Any, record: Any, entries: Sequence[Any]) -> None:
            found = await self.load_many(db_tx, [record.id])
            await save(self, db_tx, replace(record, version=found[record.id].version), entries)

        return whatever

    patch.replace(MemorySagaStore, "save", make)


def _checkpoint_outside(patch: Patch) -> None:
    async def commit(self: Any, batch: Any) -> None:
        events = [event for event in batch.events if event.stream not in self._cache.parked]
        moves = batch.moves(self._cache.checkpoints, parked=self._cache.parked)
        self.handling = False
        async with self._context.database.begin() as db_tx:
            moved = await self._store.advance(db_tx, moves)
        self._cache.checkpoints.update((each.partition, each) for each in moved)
        async with self._transactions.begin() as tx:
            if events:
                self.handling = True
                await self.invoker.apply(tx, events, moved[0].state)

    patch.replace(BatchProcessor, "_commit", lambda _: commit)


BUGS = (
    Bug(
        "append-without-version-check",
        "events are appended whatever version the stream has",
        _no_version_check,
        test="tests/conformance/memory/test_events.py",
    ),
    Bug(
        "lease-without-fencing",
        "a relay that has lost its lease still fetches and removes rows",
        _no_fencing,
        test="tests/conformance/memory/test_outbox.py",
    ),
    Bug(
        "renewed-by-a-former-owner",
        "a lease is renewed by one who has lost it",
        _former_owner_renews,
        test="tests/conformance/memory/test_leases.py",
    ),
    Bug(
        "used-after-its-end",
        "a transaction takes messages after its commit",
        _used_after_its_end,
        test="tests/conformance/memory/test_transaction.py",
    ),
    Bug(
        "dead-letter-replayed-twice",
        "two people replay the same dead letter",
        _replayed_twice,
        test="tests/conformance/memory/test_deadletters.py",
    ),
    Bug(
        "position-without-fencing",
        "a former owner of a partition moves its position",
        _position_not_fenced,
        test="tests/conformance/broker/test_memory.py",
    ),
    Bug(
        "saga-saved-at-any-version",
        "a saga is saved without a look at its version",
        _saga_not_fenced,
        test="tests/conformance/memory/test_saga.py",
    ),
    Bug(
        "checkpoint-first",
        "a projection commits its checkpoint, and then its rows",
        _checkpoint_outside,
        test="tests/integration/projection/test_parking.py::test_one_stream_is_parked_and_all_others_go_on[sqlite-False]",
    ),
)
