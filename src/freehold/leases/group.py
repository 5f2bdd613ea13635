"""Keeps a group member alive and its share of places fair. Pattern: imports the foundation and its own package."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from freehold.clock import Clock
from freehold.errors import Unavailable
from freehold.leases.balance import BalancePolicy, Decision, Holding, Sightings
from freehold.leases.log import GroupLog, GroupView, Place, PlaceRecord
from freehold.leases.progress import Hold, Holds
from freehold.lifecycle import Runner

__all__ = ["GroupKeeper"]

_FORGET_AFTER_LEASES = 10.0
_RETRY_SECONDS = 0.5
_SILENT_LEASES = 0.4


class GroupKeeper(Runner):
    """Beats every third of `lease_seconds`, finds out what was lost, takes and gives back; writes into `holds`."""

    def __init__(
        self,
        log: GroupLog,
        holds: Holds,
        member: str,
        lease_seconds: float,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        super().__init__("group member", clock=clock)
        self._log = log
        self._holds = holds
        self._member = member
        self._lease_seconds = lease_seconds
        self._policy = BalancePolicy(lease_seconds)
        self._on_change = on_change
        self._beats: Sightings[str] = Sightings()
        self._tokens: Sightings[Place] = Sightings()
        self._checked_at = -math.inf
        self._frozen = False
        self._departing: set[Place] = set()
        self._others: Mapping[Place, float] = {}

    @property
    def fresh(self) -> bool:
        """Whether the leases were looked at within `lease_seconds`; else others may hold them by now."""
        return self._frozen or self.clock.monotonic() - self._checked_at < self._lease_seconds

    @property
    def notice(self) -> str:
        """Which partitions are held by a member of whom nothing is heard, and when they are taken over."""
        now = self.clock.monotonic()
        longest = _SILENT_LEASES * self._lease_seconds
        others = {place: now - since for place, since in self._others.items() if self._holds.get(place) is None}
        silent = {place: seconds for place, seconds in others.items() if longest <= seconds < math.inf}
        if not silent:
            return ""
        place, seconds = min(silent.items(), key=lambda each: each[1])
        what = f"{place.topic} partition {place.partition}" if len(silent) == 1 else f"{len(silent)} partitions"
        left = max(0.0, self._lease_seconds - seconds)
        return f"{what} held by a member that is silent for {seconds:.0f} s: taken over in {left:.0f} s"

    async def run(self) -> None:
        """Keep on until stopped; a broker that cannot be reached is asked again soon."""
        while not self.stopping:
            try:
                await self.round()
                self.healthy()
                await self.wait(self._lease_seconds / 3)
            except Unavailable as error:
                self.last_error = error
                await self.wait(min(_RETRY_SECONDS, self._lease_seconds / 3))

    async def round(self) -> None:
        """Beat, look, decide, act. Raises `Unavailable`."""
        begun = self.clock.monotonic()
        await self._log.beat(self._member)
        known = self._holds.records
        departing = set(self._departing)
        view = await self._log.observe()
        now = self.clock.monotonic()
        await self._reconcile(view, known, departing | self._departing)
        self._checked_at = begun
        # An owner that is not among the members for once may only have been missed: absence counts like silence.
        looks: dict[str, int | None] = {record.owner: None for record in view.records}
        looks.update((name, member.beat) for name, member in view.members.items())
        since = self._beats.observe(looks, now)
        heard = {name: -math.inf if name in view.gone else at for name, at in since.items()}
        decision = self._decide(view, heard, now)
        records = {record.place: record for record in view.records}
        await self._release([hold for place in decision.give_back if (hold := self._holds.get(place)) is not None])
        await self._take([records[place] for place in decision.take])
        self._stay(decision.give_back)
        await self._forget_dead({name: since[name] for name in view.members}, now)
        self._on_change()

    async def give_back(self, hold: Hold) -> None:
        """Let others have a place, with the count of what was handed out of it. Raises `Unavailable`."""
        place = hold.record.place
        self._holds.drop(hold)
        self._departing.add(place)
        try:
            await self._log.unfollow(place)
            await self._log.save(hold.record, owner="", position=hold.record.position, attempts=hold.tries)
        finally:
            self._departing.discard(place)
        await self._log.announce()

    async def lose(self, hold: Hold) -> None:
        """Note that another member has the place."""
        self._holds.drop(hold)
        await self._log.unfollow(hold.record.place)
        self.wake()

    async def freeze(self) -> None:
        """Stop beating without giving anything back."""
        self._frozen = True
        await self.stop(drain_seconds=0.0)

    async def leave(self) -> None:
        """Give everything back and leave the group."""
        await self.stop(drain_seconds=1.0)
        holds = list(self._holds)
        for hold in holds:
            self._holds.drop(hold)
        await asyncio.gather(
            *(
                self._log.save(hold.record, owner="", position=hold.record.position, attempts=hold.tries)
                for hold in holds
            )
        )
        await self._log.forget(self._member)
        await self._log.announce()

    async def _reconcile(
        self, view: GroupView, known: Mapping[Place, PlaceRecord], departing: Collection[Place]
    ) -> None:
        """Compare with what is held. A hold whose record changed while the view was read is newer than the view."""
        for record in view.records:
            hold = self._holds.get(record.place)
            if hold is None:
                # Taken, or kept, by a change whose confirmation was lost; not what is being given back just now.
                if record.owner == self._member and record.place not in known and record.place not in departing:
                    await self._hold(record)
            elif record.token < hold.record.token or known.get(record.place) != hold.record:
                continue
            elif record.owner != self._member:
                await self.lose(hold)
            elif hold.unsure and not hold.busy:
                await self._log.unfollow(record.place)
                self._holds.drop(hold)
                adopted = await self._hold(record)
                adopted.tries = max(record.attempts, hold.tries if record.position == hold.record.position else 0)

    def _decide(self, view: GroupView, since: Mapping[str, float], now: float) -> Decision[Place]:
        """Share each topic between those who want it: members of different versions may want different ones."""
        moved = self._tokens.observe({record.place: record.token for record in view.records}, now)
        leases: dict[str, list[Holding[Place]]] = {}
        others: dict[Place, float] = {}
        for record in view.records:
            # A holder lives if it beats or its record moves.
            alive = -math.inf if record.owner in view.gone else max(since[record.owner], moved[record.place])
            if record.owner not in {"", self._member}:
                others[record.place] = alive
            holding = Holding(name=record.place, owner=self._holder(record), since=alive)
            leases.setdefault(record.place.topic, []).append(holding)
        self._others = others
        take: list[Place] = []
        give_back: list[Place] = []
        for topic, places in leases.items():
            members = {name: since[name] for name, member in view.members.items() if topic in member.topics}
            decision = self._policy.decide(places, members, self._member, now)
            take.extend(decision.take)
            give_back.extend(decision.give_back)
        return Decision(take=tuple(take), give_back=tuple(give_back))

    def _holder(self, record: PlaceRecord) -> str:
        hold = self._holds.get(record.place)
        if hold is not None:
            return self._member
        return "" if record.owner == self._member else record.owner

    async def _take(self, wanted: Sequence[PlaceRecord]) -> None:
        await asyncio.gather(*(self._take_one(seen) for seen in wanted))

    async def _take_one(self, seen: PlaceRecord) -> None:
        # A holder that did not give back may have handed out without having written it: presume once.
        attempts = max(seen.attempts, 1) if seen.owner else seen.attempts
        taken = await self._log.save(seen, owner=self._member, position=seen.position, attempts=attempts)
        if taken is not None:
            await self._hold(taken)

    async def _hold(self, record: PlaceRecord) -> Hold:
        hold = self._holds.add(record)
        await self._log.follow(record.place, record.position)
        return hold

    async def _release(self, holds: Sequence[Hold]) -> None:
        for hold in holds:
            if hold.busy:
                hold.leaving = True
            elif not hold.unsure:
                await self.give_back(hold)

    def _stay(self, leaving: Sequence[Place]) -> None:
        """What was to leave and is needed here again, stays."""
        for hold in self._holds:
            hold.leaving = hold.leaving and hold.record.place in leaving

    async def _forget_dead(self, since: Mapping[str, float], now: float) -> None:
        for member, seen in since.items():
            if member != self._member and now - seen >= _FORGET_AFTER_LEASES * self._lease_seconds:
                await self._log.forget(member)
