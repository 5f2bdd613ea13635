"""The decision which leases a member should hold: pure, made by each member for itself. Imports the standard library.

Every member sees the same leases and computes the same quotas, so no leader is needed. The only time is `since`: when
the deciding member, by its own monotonic clock, last saw a heartbeat. A wrong decision causes a needless take-over and
never harm, because a write names its token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["BalancePolicy", "LivenessTracker", "ObservedLease", "Rebalance"]

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ObservedLease(Generic[K]):
    """A lease as observed: `owner` is empty if nobody holds it, `since` is the holder's last heartbeat."""

    name: K
    owner: str
    since: float


@dataclass(frozen=True, slots=True)
class Rebalance(Generic[K]):
    """What the deciding member should try to acquire, and what it should release."""

    acquire: tuple[K, ...]
    release: tuple[K, ...]


class LivenessTracker(Generic[K]):
    """Remembers since when each observed value is unchanged, by the observer's monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[K, tuple[Hashable, float]] = {}

    def observe(self, values: Mapping[K, Hashable], now: float) -> Mapping[K, float]:
        """Note all values of now; returns since when each is unchanged. What is not named is forgotten."""
        latest: dict[K, tuple[Hashable, float]] = {}
        for name, value in values.items():
            before = self._seen.get(name)
            latest[name] = before if before is not None and before[0] == value else (value, now)
        self._seen = latest
        return {name: since for name, (_, since) in latest.items()}


@dataclass(frozen=True, slots=True)
class BalancePolicy:
    """Shares leases evenly between the live members: each gets the same number, or one more.

    The extra ones stay with those who hold most already, so that a balanced state moves nothing. A holder without a
    heartbeat for `lease_seconds` counts as dead: its leases may be acquired, and it has no share.
    """

    lease_seconds: float

    def alive(self, since: float, now: float) -> bool:
        """Whether a heartbeat at `since` still counts."""
        return now - since < self.lease_seconds

    def decide(
        self, leases: Sequence[ObservedLease[K]], members: Mapping[str, float], owner: str, now: float
    ) -> Rebalance[K]:
        """Decide for `owner`, which counts as alive. `members` maps each known member to its last heartbeat."""
        held = [lease for lease in leases if lease.owner and (lease.owner == owner or self.alive(lease.since, now))]
        live = {owner, *(lease.owner for lease in held)}
        live.update(name for name, since in members.items() if self.alive(since, now))
        quota = self._quotas(len(leases), live, Counter(lease.owner for lease in held))[owner]
        mine = [lease.name for lease in held if lease.owner == owner]
        if len(mine) > quota:
            return Rebalance(acquire=(), release=tuple(mine[quota:]))
        taken = {lease.name for lease in held}
        free = [lease.name for lease in leases if lease.name not in taken]
        return Rebalance(acquire=tuple(self._spread(free, owner, live)[: quota - len(mine)]), release=())

    @staticmethod
    def _quotas(leases: int, live: Iterable[str], held: Mapping[str, int]) -> Mapping[str, int]:
        ranked = sorted(live, key=lambda name: (-held.get(name, 0), name))
        share, extra = divmod(leases, len(ranked))
        return {name: share + (rank < extra) for rank, name in enumerate(ranked)}

    @staticmethod
    def _spread(free: Sequence[K], owner: str, live: Iterable[str]) -> Sequence[K]:
        """Start at another lease for each member, so that members seldom try to acquire the same one at a time."""
        ranked = sorted(live)
        start = len(free) * ranked.index(owner) // len(ranked)
        return [*free[start:], *free[:start]]
