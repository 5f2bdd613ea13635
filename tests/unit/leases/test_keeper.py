"""The keeper over a store in memory and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from freehold.errors import Unavailable
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import LeaseRecord

NAMES = [f"outbox/{number}" for number in range(8)]


class _Clock:
    """Time that stands still until `move`."""

    def __init__(self) -> None:
        self.time = 100.0
        self._moved = asyncio.Condition()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        async with self._moved:
            await self._moved.wait_for(lambda: self.time >= until)

    async def move(self, seconds: float, *, steps: int = 1) -> None:
        for _ in range(steps):
            async with self._moved:
                self.time += seconds
                self._moved.notify_all()
            for _ in range(30):
                await asyncio.sleep(0)


class _Store:
    def __init__(self) -> None:
        self.records: dict[str, LeaseRecord] = {}
        self.reachable = True
        self.calls = 0

    async def ensure(self, names: Iterable[str]) -> None:
        self._check()
        for name in names:
            self.records.setdefault(name, LeaseRecord(name=name, owner="", token=0, heartbeat=0))

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        self._check()
        return [self.records[name] for name in sorted(self.records) if name.startswith(prefix)]

    async def acquire(self, expected: LeaseRecord, owner: str) -> LeaseRecord | None:
        self._check()
        if self.records.get(expected.name) != expected:
            return None
        self.records[expected.name] = replace(expected, owner=owner, token=expected.token + 1)
        return self.records[expected.name]

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        self._check()
        held = {
            name
            for name, token in tokens.items()
            if (record := self.records.get(name)) is not None and (record.owner, record.token) == (owner, token)
        }
        for name in held:
            self.records[name] = replace(self.records[name], heartbeat=self.records[name].heartbeat + 1)
        return held

    async def release(self, owner: str, tokens: Mapping[str, int]) -> None:
        self._check()
        for name, token in tokens.items():
            if (self.records[name].owner, self.records[name].token) == (owner, token):
                self.records[name] = replace(self.records[name], owner="")

    async def delete(self, names: Iterable[str]) -> None:
        self._check()
        for name in names:
            self.records.pop(name, None)

    def _check(self) -> None:
        self.calls += 1
        if not self.reachable:
            raise Unavailable("the store is away")


def _keeper(store: _Store, clock: _Clock, owner: str) -> LeaseManager:
    return LeaseManager(store, "outbox/", NAMES, owner, 6.0, clock)


async def test_one_member_holds_everything_and_gives_it_back_when_it_stops() -> None:
    store, clock = _Store(), _Clock()
    keeper = _keeper(store, clock, "one")
    await keeper.start()
    await clock.move(2.0)
    assert sorted(keeper.tokens) == NAMES
    await keeper.stop()
    assert dict(keeper.tokens) == {}
    assert {record.owner for record in store.records.values()} == {""}
    assert sorted(store.records) == NAMES


async def test_two_share_and_a_dead_ones_leases_are_taken_after_the_lease_with_higher_tokens() -> None:
    store, clock = _Store(), _Clock()
    one, two = _keeper(store, clock, "one"), _keeper(store, clock, "two")
    await one.start()
    await clock.move(2.0)
    await two.start()
    await clock.move(2.0, steps=3)
    assert (len(one.tokens), len(two.tokens)) == (4, 4)
    assert not set(one.tokens) & set(two.tokens)
    before = dict(two.tokens)
    assert two._task is not None
    two._task.cancel()
    await clock.move(2.0, steps=2)
    assert len(one.tokens) == 4
    await clock.move(2.0, steps=3)
    assert sorted(one.tokens) == NAMES
    assert all(one.tokens[name] > token for name, token in before.items())
    await clock.move(2.0, steps=40)
    assert "outbox/member/two" not in store.records
    await one.stop()


async def test_what_cannot_be_renewed_is_not_held_for_longer_than_the_lease() -> None:
    store, clock = _Store(), _Clock()
    keeper = _keeper(store, clock, "one")
    await keeper.start()
    await clock.move(2.0)
    store.reachable = False
    await clock.move(2.0, steps=4)
    assert dict(keeper.tokens) == {}
    await keeper.stop(0.1)


async def test_before_a_lease_is_given_back_its_work_is_finished() -> None:
    store, clock = _Store(), _Clock()
    finished: list[str] = []

    async def finish(names: Iterable[str]) -> None:
        assert all(store.records[name].owner == "one" for name in names)
        assert not set(names) & set(one.tokens)
        finished.extend(names)

    changes: list[int] = []
    one = LeaseManager(
        store,
        "outbox/",
        NAMES,
        "one",
        6.0,
        clock,
        on_change=lambda: changes.append(len(one.tokens)),
        before_release=finish,
    )
    two = _keeper(store, clock, "two")
    await one.start()
    await clock.move(2.0)
    await two.start()
    await clock.move(2.0, steps=3)
    assert len(finished) == 4
    assert changes[-1] == 4
    await one.stop()
    await two.stop()


async def test_idling_costs_two_statements_a_round() -> None:
    store, clock = _Store(), _Clock()
    keeper = _keeper(store, clock, "one")
    await keeper.start()
    await clock.move(2.0, steps=2)
    before = store.calls
    await clock.move(2.0, steps=10)
    assert store.calls - before == 20
    await keeper.stop()


class _Alive:
    """That an owner lives, as its store sees it."""

    def __init__(self, store: _VouchingStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        store.alive[owner] = True

    async def is_valid(self) -> bool:
        return self._store.alive.get(self._owner, False)

    async def release(self) -> None:
        self._store.alive.pop(self._owner, None)


class _VouchingStore(_Store):
    """Knows who lives; a test lets owners die."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[str, bool] = {}
        self.asked: list[set[str]] = []

    async def vouch(self, owner: str) -> _Alive | None:
        return _Alive(self, owner)

    async def gone(self, owners: Iterable[str]) -> set[str]:
        self.asked.append(set(owners))
        return {owner for owner in owners if self.alive.get(owner) is False}


async def _killed(keeper: LeaseManager, store: _VouchingStore) -> None:
    assert keeper._task is not None
    keeper._task.cancel()
    await asyncio.sleep(0)
    store.alive[keeper.owner] = False


async def test_the_leases_of_a_process_that_has_died_are_taken_at_once() -> None:
    store, clock = _VouchingStore(), _Clock()
    one, two = _keeper(store, clock, "one"), _keeper(store, clock, "two")
    await one.start()
    await clock.move(2.0)
    before = dict(one.tokens)
    await _killed(one, store)
    await two.start()
    await clock.move(0.0)
    assert sorted(two.tokens) == NAMES
    assert all(two.tokens[name] > token for name, token in before.items())
    await two.stop()


async def test_a_peer_takes_them_at_its_next_look_and_asks_for_the_silent_only() -> None:
    store, clock = _VouchingStore(), _Clock()
    one, two = _keeper(store, clock, "one"), _keeper(store, clock, "two")
    await one.start()
    await clock.move(1.0)
    await two.start()
    await clock.move(1.0, steps=8)
    assert (len(one.tokens), len(two.tokens)) == (4, 4)
    store.asked.clear()
    await clock.move(1.0, steps=8)
    assert store.asked == [], "who sends heartbeats lives"
    await _killed(one, store)
    await clock.move(1.0, steps=3)
    assert sorted(two.tokens) == NAMES
    assert "outbox/member/one" in store.records, "others may not have seen it yet"
    await clock.move(2.0, steps=40)
    assert "outbox/member/one" not in store.records
    await two.stop()
    assert "two" not in store.alive


async def test_a_process_that_is_frozen_keeps_its_leases_until_they_run_out_and_that_is_told() -> None:
    store, clock = _VouchingStore(), _Clock()
    one, two = _keeper(store, clock, "one"), _keeper(store, clock, "two")
    await one.start()
    await clock.move(2.0)
    assert one._task is not None
    one._task.cancel()
    await two.start()
    await clock.move(0.0)
    await clock.move(2.0)
    assert (dict(two.tokens), two.notice) == ({}, "")
    await clock.move(1.0)
    assert two.notice == "8 leases held by one, silent for 3 s: taken over in 3 s"
    await clock.move(2.0, steps=2)
    assert sorted(two.tokens) == NAMES
    assert two.notice == ""
    await two.stop()


async def test_a_proof_that_was_lost_is_made_anew_before_anything_else() -> None:
    store, clock = _VouchingStore(), _Clock()
    one = _keeper(store, clock, "one")
    await one.start()
    await clock.move(2.0)
    store.alive["one"] = False
    await clock.move(2.0)
    assert store.alive["one"] is True
    assert sorted(one.tokens) == NAMES
    await one.stop()


async def test_leases_are_given_back_by_a_stop_although_the_last_round_failed() -> None:
    store, clock = _VouchingStore(), _Clock()
    one = _keeper(store, clock, "one")
    await one.start()
    await clock.move(2.0)
    store.reachable = False
    await clock.move(2.0)
    store.reachable = True
    await one.stop()
    assert {record.owner for record in store.records.values()} == {""}
    assert store.alive == {}


async def test_what_a_round_takes_is_held_together() -> None:
    """Who lets one partition wait for the others must not begin with it while the others are being taken."""
    store, seen = _Store(), list[int]()
    keeper = LeaseManager(
        store, "outbox/", NAMES, "a", 6.0, clock=_Clock(), on_change=lambda: seen.append(len(keeper.tokens))
    )
    await keeper.start()
    for _ in range(30):
        await asyncio.sleep(0)
    assert seen == [len(NAMES)]
    await keeper.stop()
