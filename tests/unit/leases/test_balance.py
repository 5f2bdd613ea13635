"""Any sequence of joins, leaves and pauses ends with every lease at one live member, and fair."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.leases.balance import BalancePolicy, LivenessTracker, ObservedLease, Rebalance

LEASE_SECONDS = 6.0
STEP_SECONDS = 2.0


@dataclass
class _World:
    """Leases in a store, and members that each see it by themselves; a step is a round of every live one."""

    leases: int
    now: float = 1000.0
    owners: dict[int, str] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    heartbeats: dict[str, int] = field(default_factory=dict)
    live: dict[str, LivenessTracker[str]] = field(default_factory=dict)
    paused: dict[str, LivenessTracker[str]] = field(default_factory=dict)
    moves: int = 0

    def join(self, member: str) -> None:
        self.live.setdefault(member, LivenessTracker())

    def leave(self, member: str) -> None:
        if self.live.pop(member, None) is not None:
            self.heartbeats.pop(member, None)
            self.owners = {lease: owner for lease, owner in self.owners.items() if owner != member}

    def pause(self, member: str) -> None:
        if member in self.live:
            self.paused[member] = self.live.pop(member)

    def resume(self, member: str) -> None:
        if member in self.paused:
            self.live[member] = self.paused.pop(member)

    def step(self) -> None:
        self.now += STEP_SECONDS
        for member in list(self.live):
            self.heartbeats[member] = self.heartbeats.get(member, 0) + 1
            self._act(member)

    def _act(self, member: str) -> None:
        since = self.live[member].observe({**dict.fromkeys(self.owners.values()), **self.heartbeats}, self.now)
        leases = [
            ObservedLease(name=lease, owner=owner, since=since[owner] if owner else 0.0)
            for lease in range(self.leases)
            for owner in [self.owners.get(lease, "")]
        ]
        decision = BalancePolicy(LEASE_SECONDS).decide(
            leases, {name: since[name] for name in self.heartbeats}, member, self.now
        )
        for lease in decision.release:
            assert self.owners.pop(lease) == member
        self.owners.update(dict.fromkeys(decision.acquire, member))
        self.moves += len(decision.acquire) + len(decision.release)

    def settle(self) -> None:
        for _ in range(8):
            self.step()


members = st.sampled_from([f"member-{number}" for number in range(5)])
actions = st.lists(st.tuples(st.sampled_from(["join", "leave", "pause", "resume", "step"]), members), max_size=40)


@settings(max_examples=200, deadline=None)
@given(leases=st.integers(1, 20), sequence=actions)
def test_whatever_happens_it_ends_fair_and_then_rests(leases: int, sequence: list[tuple[str, str]]) -> None:
    world = _World(leases)
    for action, member in sequence:
        if action == "step":
            world.step()
        else:
            getattr(world, action)(member)
    world.join("the-last")
    world.settle()
    shares = [sum(owner == member for owner in world.owners.values()) for member in world.live]
    assert sum(shares) == leases
    assert max(shares) - min(shares) <= 1
    world.moves = 0
    world.settle()
    assert world.moves == 0


def test_a_live_holder_is_left_alone_and_a_dead_one_is_not() -> None:
    leases = [ObservedLease(name=0, owner="quiet", since=0.0), ObservedLease(name=1, owner="lively", since=5.0)]
    policy = BalancePolicy(LEASE_SECONDS)
    assert policy.decide(leases, {}, "me", 5.9) == Rebalance(acquire=(), release=())
    assert policy.decide(leases, {}, "me", 6.0) == Rebalance(acquire=(0,), release=())


def test_a_new_member_gets_what_is_given_back() -> None:
    leases = [ObservedLease(name=number, owner="old", since=0.0) for number in range(5)]
    policy = BalancePolicy(LEASE_SECONDS)
    given = policy.decide(leases, {"new": 0.0}, "old", 0.0).release
    assert given == (3, 4)
    after = [ObservedLease(name=lease.name, owner="" if lease.name in given else "old", since=0.0) for lease in leases]
    assert set(policy.decide(after, {"new": 0.0, "old": 0.0}, "new", 0.0).acquire) == {3, 4}
    assert policy.decide(after, {"new": 0.0, "old": 0.0}, "old", 0.0).acquire == ()


@pytest.mark.parametrize(("count", "expected"), [(1, 8), (2, 4), (8, 1)])
def test_members_that_begin_together_seldom_want_the_same(count: int, expected: int) -> None:
    leases = [ObservedLease(name=number, owner="", since=0.0) for number in range(8)]
    names = {f"m{number}": 0.0 for number in range(count)}
    wanted = [BalancePolicy(LEASE_SECONDS).decide(leases, names, name, 0.0).acquire for name in names]
    assert max(map(len, wanted)) == expected
    assert sum(map(len, wanted)) == len({lease for each in wanted for lease in each}) == 8


def test_a_sighting_dates_from_the_last_change() -> None:
    sightings: LivenessTracker[str] = LivenessTracker()
    assert sightings.observe({"a": 1}, 10.0) == {"a": 10.0}
    assert sightings.observe({"a": 1, "b": 1}, 11.0) == {"a": 10.0, "b": 11.0}
    assert sightings.observe({"a": 2}, 12.0) == {"a": 12.0}
    assert sightings.observe({"a": 2, "b": 1}, 13.0) == {"a": 12.0, "b": 13.0}
