"""The runner that keeps a member's fair share of a set of leases. Pattern: imports the foundation and its own package.

A member is a lease too (`<prefix>member/<owner>`), so that one `list` shows who is alive and one `renew` renews all.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.ids import new_id
from freehold.leases.balance import BalancePolicy, LivenessTracker, ObservedLease, Rebalance
from freehold.leases.store import LeaseRecord, LeaseStore, Vouch, Vouching
from freehold.lifecycle import Runner

__all__ = ["LeaseManager", "holder_name"]

_log = logging.getLogger("freehold.leases")
_DELETE_AFTER_LEASES = 10.0
_VOUCH_AGAIN_LEASES = 5.0
_SILENT_LEASES = 0.4
"""More than the third of a lease after which a holder sends a heartbeat."""


def holder_name() -> str:
    """A unique name for a holder of leases, which tells an operator the host and the process."""
    return f"{socket.gethostname()}-{os.getpid()}-{new_id().hex[-8:]}"


class LeaseManager(Runner):
    """Holds a fair share of leases: it renews them every third of `lease_seconds`, and acquires and releases until they
    are shared evenly.

    `tokens` maps each lease held now to its token; read it again before each use. A lease that could not be renewed for
    `lease_seconds` is not in it any more. `on_change` is called, in the loop's thread, whenever `tokens` changes.
    `before_release` is awaited after names have left `tokens` and before others may acquire them: finish there what is
    in progress. `on_rebalance` is called after a release, a join and a leave: the others must look at their shares. A
    stop releases everything at once.
    """

    def __init__(
        self,
        store: LeaseStore,
        prefix: str,
        names: Collection[str],
        owner: str,
        lease_seconds: float,
        clock: Clock | None = None,
        *,
        on_change: Callable[[], None] = lambda: None,
        before_release: Callable[[Collection[str]], Awaitable[None]] | None = None,
        on_rebalance: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(f"leases {prefix}", clock=clock)
        self.owner = owner
        self._store = store
        self._prefix = prefix
        self._names = tuple(sorted(names))
        self._member = f"{prefix}member/{owner}"
        self._lease_seconds = lease_seconds
        self._policy = BalancePolicy(lease_seconds)
        self._liveness: LivenessTracker[str] = LivenessTracker()
        self._on_change = on_change
        self._before_release = before_release
        self._on_rebalance = on_rebalance
        self._member_token: int | None = None
        self._vouching = store if isinstance(store, Vouching) else None
        self._vouch: Vouch | None = None
        self._vouch_tried_at = -math.inf
        self._records: Mapping[str, LeaseRecord] = {}
        self._others: Mapping[str, Mapping[str, float]] = {}
        self._renewed_at = 0.0
        self._tokens: Mapping[str, int] = MappingProxyType({})

    @property
    def tokens(self) -> Mapping[str, int]:
        """The leases held now, each with its token; immutable."""
        if self._tokens and self.clock.monotonic() - self._renewed_at >= self._lease_seconds:
            return MappingProxyType({})
        return self._tokens

    async def run(self) -> None:
        """Keep the share until stopped."""
        await self._ensure_vouch()
        await self._store.ensure([*self._names, self._member])
        while not self.stopping:
            await self._round()
            self.healthy()
            await self.wait(self._lease_seconds / 3)

    async def release(self) -> None:
        """Release everything, also if the last round failed."""
        try:
            await self._release_leases(tuple(self._tokens))
            await self._store.delete([self._member])
            # Once more: a member that looked before would still have counted this one.
            self._on_rebalance()
        finally:
            vouch, self._vouch = self._vouch, None
            if vouch is not None:
                await vouch.release()

    @property
    def notice(self) -> str:
        """The leases whose holder has sent no heartbeat for some time, and when they are taken over."""
        notices: list[str] = []
        now = self.clock.monotonic()
        for owner, known in self._others.items():
            leases = {name: since for name, since in known.items() if name not in self._tokens}
            seconds = now - max(leases.values(), default=now)
            if not _SILENT_LEASES * self._lease_seconds <= seconds < math.inf:
                continue
            names = f"{next(iter(leases))}" if len(leases) == 1 else f"{len(leases)} leases"
            left = max(0.0, self._lease_seconds - seconds)
            notices.append(f"{names} held by {owner}, silent for {seconds:.0f} s: taken over in {left:.0f} s")
        return "; ".join(notices)

    async def _ensure_vouch(self) -> None:
        """Vouch for the owner, so that other processes can see its death; again if the vouch was lost."""
        if self._vouching is None or (self._vouch is not None and await self._vouch.is_valid()):
            return
        now = self.clock.monotonic()
        if self._vouch is None and now - self._vouch_tried_at < _VOUCH_AGAIN_LEASES * self._lease_seconds:
            return
        self._vouch, self._vouch_tried_at = await self._vouching.vouch(self.owner), now

    async def _round(self) -> None:
        await self._ensure_vouch()
        await self._renew()
        records = {record.name: record for record in await self._store.list(self._prefix)}
        now = self.clock.monotonic()
        since = self._liveness.observe({name: (r.owner, r.token, r.heartbeat) for name, r in records.items()}, now)
        if self._member_token is None:
            await self._join(records.get(self._member))
        gone = await self._dead_owners(records)
        self._records = records
        heard = {name: -math.inf if each.owner in gone else since[name] for name, each in records.items()}
        self._others = self._held_by_others(records, heard)
        decision = self._decide(records, heard, now)
        await self._release_leases(decision.release)
        await self._acquire([records[name] for name in decision.acquire])
        await self._delete_dead(records, since, now)

    async def _dead_owners(self, records: Mapping[str, LeaseRecord]) -> set[str]:
        """The owners whose process has died, of those without a heartbeat since the last round."""
        if self._vouching is None:
            return set()
        before = self._records
        heard = {
            each.owner
            for name, each in records.items()
            if name in before
            and (before[name].owner, before[name].token) == (each.owner, each.token)
            and before[name].heartbeat != each.heartbeat
        }
        suspects = {each.owner for each in records.values()} - heard - {"", self.owner}
        return await self._vouching.gone(suspects) if suspects else set()

    def _held_by_others(
        self, records: Mapping[str, LeaseRecord], heard: Mapping[str, float]
    ) -> Mapping[str, Mapping[str, float]]:
        """The last heartbeat of each lease that others hold, by holder."""
        found: dict[str, dict[str, float]] = {}
        for name in self._names:
            if name in records and records[name].owner not in {"", self.owner}:
                found.setdefault(records[name].owner, {})[name] = heard[name]
        return found

    async def _renew(self) -> None:
        tokens = dict(self._tokens)
        if self._member_token is not None:
            tokens[self._member] = self._member_token
        if not tokens:
            return
        started = self.clock.monotonic()
        crash_point("leases.before-renew")
        kept = await self._store.renew(self.owner, tokens)
        crash_point("leases.renewed")
        self._renewed_at = started
        if self._member not in kept:
            self._member_token = None
        self._hold({name: token for name, token in self._tokens.items() if name in kept})

    async def _join(self, member: LeaseRecord | None) -> None:
        if member is None:
            crash_point("leases.before-ensure")
            await self._store.ensure([*self._names, self._member])
            return
        crash_point("leases.before-join")
        acquired = await self._store.acquire(member, self.owner)
        crash_point("leases.joined")
        self._member_token = acquired.token if acquired is not None else None
        self._on_rebalance()

    def _decide(self, records: Mapping[str, LeaseRecord], since: Mapping[str, float], now: float) -> Rebalance[str]:
        leases = [
            ObservedLease(name=name, owner=self._holder(records[name]), since=since[name])
            for name in self._names
            if name in records
        ]
        start = len(self._prefix) + len("member/")
        members = {
            name[start:]: since[name] for name, record in records.items() if self._is_member(name) and record.owner
        }
        return self._policy.decide(leases, members, self.owner, now)

    def _holder(self, record: LeaseRecord) -> str:
        """The owner; nobody for an own lease whose token is unknown here, because the owner's name is used again."""
        if record.owner == self.owner and self._tokens.get(record.name) != record.token:
            return ""
        return record.owner

    async def _acquire(self, wanted: Sequence[LeaseRecord]) -> None:
        """Acquire leases, and add them to `tokens` together, so that work over several leases starts with all."""
        started, tokens = self.clock.monotonic(), dict[str, int]()
        try:
            for expected in wanted:
                crash_point("leases.before-acquire")
                acquired = await self._store.acquire(expected, self.owner)
                crash_point("leases.acquired")
                if acquired is not None:
                    tokens[acquired.name] = acquired.token
        finally:
            if tokens and not self._tokens:
                self._renewed_at = started
            self._hold({**self._tokens, **tokens})

    async def _release_leases(self, names: Collection[str]) -> None:
        tokens = {name: self._tokens[name] for name in names if name in self._tokens}
        if not tokens:
            return
        self._hold({name: token for name, token in self._tokens.items() if name not in tokens})
        if self._before_release is not None:
            await self._before_release(tuple(tokens))
        crash_point("leases.before-release")
        await self._store.release(self.owner, tokens)
        crash_point("leases.released")
        self._on_rebalance()

    async def _delete_dead(self, records: Mapping[str, LeaseRecord], since: Mapping[str, float], now: float) -> None:
        limit = _DELETE_AFTER_LEASES * self._lease_seconds
        dead = [name for name in records if self._is_member(name) and now - since[name] >= limit]
        if dead:
            crash_point("leases.before-delete-of-dead")
            await self._store.delete(dead)
            crash_point("leases.dead-deleted")

    def _is_member(self, name: str) -> bool:
        return name.startswith(f"{self._prefix}member/")

    def _hold(self, tokens: Mapping[str, int]) -> None:
        if tokens != self._tokens:
            self._tokens = MappingProxyType(dict(tokens))
            self._on_change()
