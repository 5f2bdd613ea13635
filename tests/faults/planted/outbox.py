"""Bugs of the outbox, its relay, and the schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.faults.planted.bug import Bug, Patch
from tests.faults.planted.scenarios import (
    QuickCounting,
    QuickDeliveries,
    WokenCounting,
    WokenDeliveries,
)

import freehold.schedule.schedule_runner as schedule_module
from freehold.adapters.memory.broker import MemoryBroker
from freehold.adapters.memory.outbox import OUTBOX as ROWS
from freehold.adapters.memory.outbox import MemoryOutboxStore, OutboxRow
from freehold.adapters.memory.state import MemoryTransaction
from freehold.broker import PublishConfirmed
from freehold.context import ServiceContext
from freehold.errors import Unavailable
from freehold.ids import new_id, stable_hash
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import REBALANCE
from freehold.messages import decode_envelope, encode_envelope
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import OUTBOX, STAGED, StagedMessage
from freehold.schedule.store import SCHEDULE, SCHEDULED

__all__ = ["BUGS"]


def _removed_first(patch: Patch) -> None:
    async def round_(self: Any) -> int:
        leases = self._held()
        rows = (await self._outbox.fetch(leases, 5)).rows if leases else ()
        await self._outbox.remove(leases, rows)
        await self._broker.publish([row.message for row in rows], 5.0)
        return len(rows)

    patch.replace(RelayRunner, "_round", lambda _: round_)


def _not_asked(patch: Patch) -> None:
    def make(publish: Callable[..., Any]) -> Callable[..., Any]:
        async def confirmed(self: Any, messages: Sequence[Any], timeout_seconds: float, *, log: str = "") -> Any:
            try:
                return await publish(self, messages, timeout_seconds, log=log)
            except Unavailable:
                return [PublishConfirmed()] * len(messages)

        return confirmed

    patch.replace(MemoryBroker, "publish", make)


def _by_time(patch: Patch) -> None:
    def make(fetch: Callable[..., Any]) -> Callable[..., Any]:
        async def sorted_by_time(self: Any, *arguments: Any, **keywords: Any) -> Any:
            batch = await fetch(self, *arguments, **keywords)
            rows = sorted(batch.rows, key=lambda row: decode_envelope(row.message.document).time)
            return replace(batch, rows=rows)

        return sorted_by_time

    patch.replace(MemoryOutboxStore, "fetch", make)


def _skipped_partition(patch: Patch) -> None:
    def make(acquire: Callable[..., Any]) -> Callable[..., Any]:
        async def all_but_one(self: Any, wanted: Sequence[Any]) -> None:
            taken_over = [record for record in wanted if record.owner]
            skipped = {taken_over[0].name} if taken_over else set()
            await acquire(self, wanted)
            self._skipped = getattr(self, "_skipped", set()) | skipped

        return all_but_one

    def tokens(held: Any) -> Callable[..., Any]:
        def without(self: Any) -> Mapping[str, int]:
            found = held.fget(self)
            return {name: token for name, token in found.items() if name not in getattr(self, "_skipped", ())}

        return without

    patch.replace(LeaseManager, "_acquire", make)
    patch.replace(LeaseManager, "tokens", tokens)


def _staged_outside(patch: Patch) -> None:
    async def stage(self: Any, db_tx: Any, messages: Sequence[Any]) -> Sequence[int]:
        positions = []
        for message in messages:
            position = db_tx.draw()
            staged = StagedMessage(position, stable_hash(message.key) % self._database.partitions, message, 0)
            self._database._data.tables.setdefault(ROWS.name, {})[position] = OutboxRow(
                staged=staged, staged_at=self._database.now()
            )
            positions.append(position)
        return positions

    patch.replace(MemoryOutboxStore, "stage", lambda _: stage)


def _sent_after_commit(patch: Patch) -> None:
    def make(stage: Callable[..., Any]) -> Callable[..., Any]:
        async def later(self: Any, db_tx: Any, messages: Sequence[Any]) -> Sequence[int]:
            async def send() -> None:
                await asyncio.sleep(0.05)
                async with self._database.begin() as own:
                    await stage(self, own, messages)

            task = asyncio.create_task(send())
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            return [db_tx.draw() for _ in messages]

        return later

    patch.replace(MemoryOutboxStore, "stage", make)


def _half_committed(patch: Patch) -> None:
    def make(commit: Callable[..., Any]) -> Callable[..., Any]:
        def half(self: Any) -> None:
            self._rows.pop(ROWS.name, None)
            commit(self)

        return half

    patch.replace(MemoryTransaction, "commit", make)


def _not_woken(*signals: object) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        def make(emit: Callable[..., Any]) -> Callable[..., Any]:
            def silent(self: Any, signal: object) -> None:
                if signal not in signals:
                    emit(self, signal)

            return silent

        patch.replace(ServiceContext, "emit", make)

    return plant


def _fired_twice(patch: Patch) -> None:
    async def send_due(stores: Any, limit: int) -> int:
        async with stores.database.begin() as db_tx:
            due = await stores[SCHEDULE].take_due(db_tx, limit)
            copies = []
            for message in due:
                envelope = replace(decode_envelope(message.document), id=new_id())
                copies.append(replace(message, id=envelope.id, document=encode_envelope(envelope)))
            own = db_tx._rows.pop("schedule", None)
            if copies:
                await stores[OUTBOX].stage(db_tx, copies)
        if own is not None and due:
            async with stores.database.begin() as db_tx:
                await stores[SCHEDULE].take_due(db_tx, limit)
        return len(due)

    patch.replace(schedule_module, "send_due", lambda _: send_due)


BUGS = (
    Bug(
        "removed-before-confirmed",
        "the relay removes rows before the broker has confirmed them",
        _removed_first,
        QuickCounting,
    ),
    Bug("publish-not-confirmed", "a publish without an answer counts as confirmed", _not_asked, QuickCounting),
    Bug("order-by-timestamp", "the relay sends in the order of wall clocks", _by_time, QuickCounting),
    Bug(
        "partition-skipped",
        "a relay that takes over from another leaves a partition out",
        _skipped_partition,
        QuickCounting,
    ),
    Bug(
        "staged-outside-the-transaction",
        "messages are staged whether or not the transaction commits",
        _staged_outside,
        QuickCounting,
    ),
    Bug(
        "sent-after-the-commit",
        "messages are written in another transaction, after the commit",
        _sent_after_commit,
        QuickCounting,
    ),
    Bug(
        "half-committed",
        "a commit applies the rows of the service, and not those of the outbox",
        _half_committed,
        QuickCounting,
    ),
    Bug("relay-not-woken", "a commit does not wake the relay", _not_woken(STAGED, REBALANCE), WokenCounting),
    Bug("schedule-not-woken", "a commit does not wake the schedule", _not_woken(SCHEDULED), WokenDeliveries),
    Bug(
        "fired-before-removed",
        "a scheduled message is sent, and removed in another transaction",
        _fired_twice,
        QuickDeliveries,
    ),
)
