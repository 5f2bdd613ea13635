"""Which relays are said to live, by what their leases show to somebody outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from freehold.adapters.memory.database import MemoryDatabase
from freehold.context import ServiceContext
from freehold.leases.store import LEASES, LeaseRecord, Vouch
from freehold.outbox.relays import Relay, is_relay_at_work, watch_relays
from freehold.ports import Stores, provide
from freehold.settings import Settings

_LEASE_SECONDS = 12.0


class _Clock:
    """Goes on by what is slept. `at` has something happen once a time has come."""

    def __init__(self) -> None:
        self.time = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def at(self, time: float, call: Callable[[], None]) -> None:
        self._due.append((time, call))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        for time, call in self._due:
            if time <= self.time:
                call()
        self._due = [each for each in self._due if each[0] > self.time]


class _Leases:
    """Leases that a test changes, of an engine that knows who has died."""

    def __init__(self, *records: LeaseRecord) -> None:
        self.records = {each.name: each for each in records}
        self.dead: set[str] = set()

    def renew_of(self, owner: str) -> None:
        for each in self.records.values():
            if each.owner == owner:
                self.records[each.name] = replace(each, heartbeat=each.heartbeat + 1)

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        return [each for name, each in sorted(self.records.items()) if name.startswith(prefix)]

    async def gone(self, owners: Collection[str]) -> set[str]:
        return self.dead & set(owners)

    async def vouch(self, owner: str) -> Vouch | None:
        raise NotImplementedError(owner)

    async def ensure(self, names: Iterable[str]) -> None:
        raise NotImplementedError(names)

    async def acquire(self, seen: LeaseRecord, owner: str) -> LeaseRecord | None:
        raise NotImplementedError(seen, owner)

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        raise NotImplementedError(owner, tokens)

    async def release(self, owner: str, tokens: Mapping[str, int]) -> None:
        raise NotImplementedError(owner, tokens)

    async def delete(self, names: Iterable[str]) -> None:
        raise NotImplementedError(names)


def _leases(*owners: str) -> _Leases:
    """A member and one partition for each."""
    records = [
        LeaseRecord(name, owner, 1, 5)
        for number, owner in enumerate(owners)
        for name in (f"outbox/member/{owner}", f"outbox/{number}")
    ]
    return _Leases(*records)


def _context(leases: _Leases, clock: _Clock) -> ServiceContext:
    settings = Settings.load("till", environ={}, database="memory://", broker="memory://", lease_seconds=_LEASE_SECONDS)
    stores = Stores("memory", MemoryDatabase(), [provide(LEASES, lambda _: leases)])
    return ServiceContext("till", stores, clock=clock, settings=settings)


async def test_nobody_is_waited_for_where_nobody_relays() -> None:
    clock = _Clock()
    context = _context(_leases(), clock)
    assert await watch_relays(context) == []
    assert not await is_relay_at_work(context)
    assert clock.time == 0.0


async def test_all_are_waited_for_until_each_has_given_a_sign() -> None:
    clock, leases = _Clock(), _leases("a", "b")
    clock.at(1.0, lambda: leases.renew_of("a"))
    clock.at(3.0, lambda: leases.renew_of("b"))
    assert await watch_relays(_context(leases, clock)) == [Relay("a", True, 1), Relay("b", True, 1)]
    assert clock.time == pytest.approx(3.0, abs=0.5)


async def test_one_is_enough_to_be_at_work() -> None:
    clock, leases = _Clock(), _leases("a", "b")
    clock.at(10.0, lambda: leases.renew_of("b"))
    assert await is_relay_at_work(_context(leases, clock))
    assert clock.time == pytest.approx(10.0, abs=0.5)


async def test_one_that_is_frozen_is_waited_for_in_vain() -> None:
    clock, leases = _Clock(), _leases("a")
    assert await watch_relays(_context(leases, clock)) == [Relay("a", False, 1)]
    assert clock.time == pytest.approx(_LEASE_SECONDS / 2, abs=0.5)
    clock.time = 0.0
    assert not await is_relay_at_work(_context(leases, clock))
    assert clock.time == pytest.approx(_LEASE_SECONDS, abs=0.5)


async def test_one_that_has_died_is_not_waited_for_and_vouches_for_nobody() -> None:
    """Its leases still are there, beside those of one that is frozen."""
    clock, leases = _Clock(), _leases("dead", "frozen")
    leases.dead = {"dead"}
    assert not await is_relay_at_work(_context(leases, clock))
    assert clock.time == pytest.approx(_LEASE_SECONDS, abs=0.5)
    clock.time, leases.dead = 0.0, {"dead", "frozen"}
    assert not await is_relay_at_work(_context(leases, clock))
    assert clock.time == 0.0
