"""Bugs of the inbox, of consumer groups, and of idempotent requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.faults.planted.bug import Bug, Patch, returns
from tests.faults.planted.scenarios import QuickAccounts, QuickCounting, QuickLetters, QuickTrips, WokenCounting

import freehold.adapters.memory.inbox as inbox_module
import freehold.inbox.dispatcher as dispatcher_module
import freehold.inbox.receipts as receipts_module
from freehold.adapters.memory.broker import _MemoryLog
from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.idempotency import MemoryIdempotencyStore
from freehold.adapters.memory.inbox import MemoryInboxStore
from freehold.adapters.memory.state import MemoryTransaction
from freehold.broker import Batch
from freehold.context import ServiceContext
from freehold.errors import LeaseLost, Unavailable
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.retry import FailureHandler
from freehold.inbox.store import ReceiveResult, ReceiveStatus

__all__ = ["BUGS"]

_FLUSH_SECONDS: Final = 0.05


def _acknowledged_first(patch: Patch) -> None:
    async def take(self: Any, batches: Sequence[Batch]) -> None:
        for batch in batches:
            with contextlib.suppress(LeaseLost, Unavailable):
                await batch.ack(len(batch.deliveries))
        await self._handle(batches, [0] * len(batches))

    patch.replace(ConsumerRunner, "_process", lambda _: take)


def _no_receipts(patch: Patch) -> None:
    async def receive(self: Any, db_tx: Any, consumer: str, arrivals: Sequence[Any]) -> Sequence[ReceiveResult]:
        return [ReceiveResult(ReceiveStatus.NEW) for _ in arrivals]

    patch.replace(MemoryInboxStore, "receive", lambda _: receive)


def _receipts_outside(patch: Patch) -> None:
    def make(receive: Callable[..., Any]) -> Callable[..., Any]:
        async def outside(self: Any, db_tx: Any, consumer: str, arrivals: Sequence[Any]) -> Any:
            found = await receive(self, db_tx, consumer, arrivals)
            _commit_now(self._database, db_tx, "inbox")
            return found

        return outside

    patch.replace(MemoryInboxStore, "receive", make)


def _commit_now(database: Any, db_tx: Any, table: str) -> None:
    """Commit the changes of one table of a transaction that is still open."""
    rows = db_tx._rows.get(table)
    if rows is not None:
        rows.apply(database._data.tables.setdefault(table, {}))


def _saved_beyond(patch: Patch) -> None:
    def make(ack_all: Callable[..., Any]) -> Callable[..., Any]:
        async def everything(self: Any, batches: Sequence[Batch], done: Sequence[int], *, counted: bool = True) -> None:
            await ack_all(self, batches, [len(batch.deliveries) for batch in batches], counted=counted)

        return everything

    patch.replace(ConsumerRunner, "_ack_all", make)


def _key_not_held(patch: Patch) -> None:
    def unblocked(arrivals: Sequence[Any], first_deferred: Any) -> frozenset[int]:
        return frozenset(range(len(arrivals)))

    patch.replace(inbox_module, "unblocked_indexes", lambda _: unblocked)


def _failed_and_dropped(patch: Patch) -> None:
    async def forget(self: Any, work: Any, number: int, delay_seconds: float, reason: str) -> None:
        return None

    patch.replace(FailureHandler, "_defer", lambda _: forget)


def _letter_not_removed(patch: Patch) -> None:
    async def add_alone(self: Any, work: Any, claimed: Any, reason: str, error: Exception, attempts: int) -> Any:
        async with self._dispatcher._transactions.begin() as tx:
            await self._dispatcher.dead_letter(tx, work, reason=reason, error=error, attempts=attempts)
        if claimed is not None:
            await self._dispatcher.inbox.reschedule(claimed, 1.0, reason)
        return ReceiveStatus.NEW

    patch.replace(FailureHandler, "_dead_letter", lambda _: add_alone)


def _pruned_early(patch: Patch) -> None:
    def make(prune: Callable[..., Any]) -> Callable[..., Any]:
        async def early(self: Any, consumer: str, older_than_seconds: float, limit: int) -> int:
            count: int = await prune(self, consumer, 0.0, limit)
            return count

        return early

    patch.replace(MemoryInboxStore, "prune", make)


def _no_barrier(patch: Patch) -> None:
    def make(cancel: Callable[..., Any]) -> Callable[..., Any]:
        def only_if_known(arrival: Any, stored: Mapping[str, Any], written: dict[str, bool]) -> bool:
            known = arrival.compensates in stored or arrival.compensates in written
            return bool(known and cancel(arrival, stored, written))

        return only_if_known

    patch.replace(receipts_module, "_cancel", make)


def _refused_is_compensated(patch: Patch) -> None:
    patch.replace(receipts_module, "is_refusal", returns(False))
    # That of the same transaction is another place, which few runs reach.
    dispatcher = Patch()
    dispatcher.replace(dispatcher_module, "is_refusal", returns(False))
    patch._undo += dispatcher._undo


def _starts_at_the_end(patch: Patch) -> None:
    def make(save: Callable[..., Any]) -> Callable[..., Any]:
        async def at_the_end(self: Any, expected: Any, *, owner: str, position: int, attempts: int) -> Any:
            if owner not in {"", expected.owner}:
                position = self._broker.line(expected.place).last
            return await save(self, expected, owner=owner, position=position, attempts=attempts)

        return at_the_end

    patch.replace(_MemoryLog, "compare_and_set", make)


def _group_commit_not_durable(patch: Patch) -> None:
    """A process that crashes within 50 ms after a commit was answered takes the commit with it."""

    def commit(committed: Callable[..., Any]) -> Callable[..., Any]:
        def noting(self: Any) -> None:
            before = {
                name: {key: self._data.tables.get(name, {}).get(key) for key in rows._changes}
                for name, rows in self._rows.items()
            }
            committed(self)
            self._before = asyncio.get_running_loop().time(), before

        return noting

    def sever(severed: Callable[..., Any]) -> Callable[..., Any]:
        def losing(self: Any) -> None:
            at, before = getattr(self._in_progress, "_before", (0.0, {}))
            lost: Mapping[str, Mapping[Any, Any]] = (
                before if asyncio.get_running_loop().time() - at < _FLUSH_SECONDS else {}
            )
            for name, rows in lost.items():
                table = self._data.tables.setdefault(name, {})
                for key, row in rows.items():
                    if row is None:
                        table.pop(key, None)
                    else:
                        table[key] = row
            severed(self)

        return losing

    patch.replace(MemoryTransaction, "commit", commit)
    patch.replace(MemoryDatabase, "sever", sever)


def _key_saved_first(patch: Patch) -> None:
    def make(claim: Callable[..., Any]) -> Callable[..., Any]:
        async def first(self: Any, db_tx: Any, scope: str, key: str, fingerprint: str) -> Any:
            found = await claim(self, db_tx, scope, key, fingerprint)
            _commit_now(self._database, db_tx, "idempotency")
            return found

        return first

    patch.replace(MemoryIdempotencyStore, "claim", make)


def _key_ignored(patch: Patch) -> None:
    def make(claim: Callable[..., Any]) -> Callable[..., Any]:
        async def ignored(self: Any, db_tx: Any, scope: str, key: str, fingerprint: str) -> None:
            with contextlib.suppress(Exception):
                await claim(self, db_tx, scope, key, fingerprint)

        return ignored

    patch.replace(MemoryIdempotencyStore, "claim", make)


def _deferred_not_woken(patch: Patch) -> None:
    def make(emit: Callable[..., Any]) -> Callable[..., Any]:
        def silent(self: Any, signal: Any) -> None:
            if signal.name != "deferred":
                emit(self, signal)

        return silent

    patch.replace(ServiceContext, "emit", make)


BUGS = (
    Bug(
        "acknowledged-before-the-commit",
        "a consumer acknowledges messages, and then handles them",
        _acknowledged_first,
        QuickCounting,
    ),
    Bug("no-receipts", "no message is recognised as a duplicate", _no_receipts, QuickCounting),
    Bug(
        "receipt-outside-the-transaction",
        "receipts stay where the handler's transaction is rolled back",
        _receipts_outside,
        QuickCounting,
    ),
    Bug(
        "position-beyond-a-failed-message",
        "the position moves past messages that were released unhandled",
        _saved_beyond,
        QuickCounting,
    ),
    Bug(
        "deferred-without-its-keys-hold",
        "a deferred message does not hold the later ones of its key",
        _key_not_held,
        QuickCounting,
    ),
    Bug(
        "failed-and-dropped",
        "a message that fails is acknowledged and not deferred",
        _failed_and_dropped,
        QuickCounting,
    ),
    Bug(
        "dead-letter-without-removing",
        "a dead letter is written, and its message is tried again",
        _letter_not_removed,
        QuickLetters,
    ),
    Bug(
        "receipts-pruned-early",
        "the window for duplicates is shorter than a message may be delivered again",
        _pruned_early,
        QuickCounting,
    ),
    Bug(
        "compensation-without-barrier",
        "a compensation does not cancel an action that has not arrived",
        _no_barrier,
        QuickTrips,
    ),
    Bug(
        "refused-action-compensated",
        "a compensation runs although its action was refused",
        _refused_is_compensated,
        QuickTrips,
    ),
    Bug(
        "new-owner-starts-at-the-end",
        "the new owner of a partition begins with the next message",
        _starts_at_the_end,
        QuickCounting,
    ),
    Bug(
        "group-commit-not-durable",
        "a group commit is answered before it is durable",
        _group_commit_not_durable,
        QuickCounting,
    ),
    Bug(
        "idempotency-key-saved-first", "an idempotency key is saved before the effect", _key_saved_first, QuickAccounts
    ),
    Bug("idempotency-key-ignored", "a repeated request has its effect again", _key_ignored, QuickAccounts),
    Bug(
        "deferred-not-woken",
        "a deferred message does not wake the loop that retries it",
        _deferred_not_woken,
        WokenCounting,
    ),
)
