"""An inbox against a model of it: receipts, answers, rollbacks, deferrals, claims and pruning in random order.

The model is the port's text in plain dictionaries, and shares no code with the adapters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from freehold.conformance.harness import StoresHarness
from freehold.inbox.store import INBOX, DeferredMessage, IncomingMessage, ReceiveResult, ReceiveStatus

T = TypeVar("T")
_CONSUMER = "orders"
_TOPIC = "orders.commands"
_SECONDS = st.integers(min_value=0, max_value=90)


@dataclass
class Waiting:
    """A deferred message in the model; `turn` orders them."""

    turn: int
    arrival: IncomingMessage
    attempts: int
    due_at: datetime


@dataclass
class Model:
    """What the inbox holds: by receipt key, whether cancelled, the answer, and the time."""

    receipts: dict[str, tuple[bool, bytes | None, datetime]] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    turns: int = 0

    def heads(self) -> list[Waiting]:
        first: dict[str, Waiting] = {}
        for one in sorted(self.waiting, key=lambda one: one.turn):
            first.setdefault(one.arrival.key, one)
        return list(first.values())

    def receive(self, arrivals: list[IncomingMessage], now: datetime) -> list[ReceiveResult]:
        blocked = {one.arrival.key for one in self.waiting}
        return [self._one(arrival, now, blocked=arrival.key in blocked) for arrival in arrivals]

    def _one(self, arrival: IncomingMessage, now: datetime, *, blocked: bool) -> ReceiveResult:
        if blocked:
            return ReceiveResult(ReceiveStatus.BLOCKED)
        known = self.receipts.get(arrival.receipt_key)
        self.receipts.setdefault(arrival.receipt_key, (False, None, now))
        action_was_there = arrival.compensates in self.receipts
        if arrival.compensates is not None:
            self.receipts.setdefault(arrival.compensates, (True, None, now))
        if known is not None:
            return ReceiveResult(ReceiveStatus.CANCELLED if known[0] else ReceiveStatus.DUPLICATE, known[1])
        if arrival.compensates is None or (action_was_there and not self.receipts[arrival.compensates][0]):
            return ReceiveResult(ReceiveStatus.NEW)
        return ReceiveResult(ReceiveStatus.NO_EFFECT)


class _RolledBack(Exception):
    pass


def _arrival(number: int, *, undo: bool) -> IncomingMessage:
    action = f"action {number}"
    key = f"key {number % 2}"
    return IncomingMessage(f"undo {number}" if undo else action, _TOPIC, key, compensates=action if undo else None)


arrivals = st.builds(_arrival, st.integers(min_value=0, max_value=4), undo=st.booleans())


class InboxMachine(RuleBasedStateMachine):
    """Subclass it and give `harness`; the database of each run is its own."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._context = self.open()
        self.harness = self.run(self._context.__aenter__())
        self.stores = self.harness.first
        self.model = Model()

    def open(self) -> AbstractAsyncContextManager[StoresHarness]:
        raise NotImplementedError

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self._runner.run(awaited())

    def teardown(self) -> None:
        self.run(self._context.__aexit__(None, None, None))
        self._runner.close()

    @initialize()
    def is_empty(self) -> None:
        assert list(self.run(self.stores[INBOX].deferred(None, 10))) == []

    @rule(batch=st.lists(arrivals, max_size=6), commits=st.booleans(), answered=st.booleans())
    def receive(self, batch: list[IncomingMessage], commits: bool, answered: bool) -> None:
        now = self.harness.clock.now()
        before = dict(self.model.receipts)
        expected = self.model.receive(batch, now)
        answers = {
            arrival.receipt_key: f"{arrival.receipt_key} at {now}".encode()
            for arrival, receipt in zip(batch, expected, strict=True)
            if receipt.status is not ReceiveStatus.BLOCKED and receipt.reply is None and answered
        }

        async def work() -> list[ReceiveResult]:
            async with self.stores.database.begin() as db_tx:
                receipts = list(await self.stores[INBOX].receive(db_tx, _CONSUMER, batch))
                await self.stores[INBOX].save_replies(db_tx, _CONSUMER, answers)
                if commits:
                    return receipts
                raise _RolledBack(receipts)

        if commits:
            assert self.run(work()) == expected
            for key, answer in answers.items():
                cancelled, _, at = self.model.receipts[key]
                self.model.receipts[key] = (cancelled, answer, at)
        else:
            self.model.receipts = before
            with pytest.raises(_RolledBack) as given:
                self.run(work())
            assert given.value.args[0] == expected

    @rule(arrival=arrivals, attempts=st.integers(min_value=0, max_value=3), delay_seconds=_SECONDS)
    def defer(self, arrival: IncomingMessage, attempts: int, delay_seconds: int) -> None:
        async def work() -> None:
            async with self.stores.database.begin() as db_tx:
                await self.stores[INBOX].defer(
                    db_tx, _CONSUMER, arrival, b"d", attempts=attempts, delay_seconds=delay_seconds, reason="Failed"
                )

        self.run(work())
        due_at = self.harness.clock.now() + timedelta(seconds=delay_seconds)
        self.model.turns += 1
        self.model.waiting.append(Waiting(self.model.turns, arrival, attempts, due_at))

    @rule(target=claims, limit=st.integers(min_value=1, max_value=3), visibility_timeout_seconds=_SECONDS)
    def claim(self, limit: int, visibility_timeout_seconds: int) -> object:
        now = self.harness.clock.now()
        due = sorted((one for one in self.model.heads() if one.due_at <= now), key=lambda one: (one.due_at, one.turn))[
            :limit
        ]
        claimed = list(self.run(self.stores[INBOX].claim_due(_CONSUMER, limit, visibility_timeout_seconds)))
        for one in due:
            one.attempts += 1
            one.due_at = now + timedelta(seconds=visibility_timeout_seconds)
        due.sort(key=lambda one: one.turn)
        assert [self._shown(one) for one in due] == [_seen(message) for message in claimed]
        return multiple(*zip((one.turn for one in due), claimed, strict=True))

    @rule(claim=claims)
    def handle(self, claim: tuple[int, DeferredMessage]) -> None:
        turn, message = claim
        waiting = self._current(turn, message)

        async def work() -> ReceiveResult:
            async with self.stores.database.begin() as db_tx:
                arrival = replace(_named(message), deferred_position=message.position)
                (receipt,) = await self.stores[INBOX].receive(db_tx, _CONSUMER, [arrival])
                if not await self.stores[INBOX].finish(db_tx, message):
                    raise _RolledBack
                return receipt

        if waiting is None:
            with pytest.raises(_RolledBack):
                self.run(work())
            return
        self.model.waiting.remove(waiting)
        assert self.run(work()) == self.model._one(_named(message), self.harness.clock.now(), blocked=False)

    @rule(claim=consumes(claims), delay_seconds=_SECONDS)
    def reschedule(self, claim: tuple[int, DeferredMessage], delay_seconds: int) -> None:
        turn, message = claim
        waiting = self._current(turn, message)
        assert self.run(self.stores[INBOX].reschedule(message, delay_seconds, "Again")) is (waiting is not None)
        if waiting is not None:
            waiting.due_at = self.harness.clock.now() + timedelta(seconds=delay_seconds)

    @rule(seconds=_SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.harness.clock.advance(seconds)

    @rule(older_than_seconds=_SECONDS)
    def prune(self, older_than_seconds: int) -> None:
        before = self.harness.clock.now() - timedelta(seconds=older_than_seconds)
        old = [key for key, (_, _, at) in self.model.receipts.items() if at < before]
        assert self.run(self.stores[INBOX].prune(_CONSUMER, older_than_seconds, 100)) == len(old)
        for key in old:
            del self.model.receipts[key]

    @invariant()
    def what_is_deferred_agrees(self) -> None:
        shown = self.run(self.stores[INBOX].deferred(_CONSUMER, 100))
        ordered = sorted(self.model.waiting, key=lambda one: one.turn)
        assert [_seen(message) for message in shown] == [self._shown(one) for one in ordered]
        assert self.run(self.stores[INBOX].stats()).keys == len(self.model.heads())
        now = self.harness.clock.now()
        due = min(((one.due_at - now).total_seconds() for one in self.model.heads()), default=None)
        assert self.run(self.stores[INBOX].next_due_seconds(_CONSUMER)) == due

    def _current(self, turn: int, message: DeferredMessage) -> Waiting | None:
        for one in self.model.waiting:
            if one.turn == turn and one.attempts == message.attempts:
                return one
        return None

    @staticmethod
    def _shown(one: Waiting) -> tuple[str, int, datetime]:
        return (one.arrival.receipt_key, one.attempts, one.due_at)


def _seen(message: DeferredMessage) -> tuple[str, int, datetime]:
    return (message.receipt_key, message.attempts, message.due_at)


def _named(message: DeferredMessage) -> IncomingMessage:
    kind, _, number = message.receipt_key.partition(" ")
    return _arrival(int(number), undo=kind == "undo")
