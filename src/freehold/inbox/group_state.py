"""The check of `freehold doctor` on a service's consumer group. Runtime: imports the ports.

A frozen or ended process cannot report itself. The group on the broker shows it: a live member sends heartbeats, and
the positions of a working group move.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from freehold.broker import Broker, GroupPlace, GroupState, TopicLag
from freehold.clock import Clock, poll_until
from freehold.database import CheckResult
from freehold.outbox.probes import LATE_SECONDS

__all__ = ["Watched", "check_consumers", "judge"]

_WATCHED_LEASES: Final = 1.2


@dataclass(frozen=True, slots=True)
class Watched:
    """The state of a group at two times, and its lag at the first."""

    lag: Sequence[TopicLag]
    first: GroupState
    last: GroupState
    seconds: float

    @property
    def live(self) -> set[str]:
        """Members that sent a heartbeat in between, or joined."""
        return {
            name for name, heartbeat in self.last.heartbeats.items() if self.first.heartbeats.get(name) != heartbeat
        } - self.last.gone

    @property
    def silent(self) -> list[GroupPlace]:
        """Partitions whose holder stayed the same and sent no heartbeat, and is not known to have ended."""
        before = {(each.topic, each.partition): each.holder for each in self.first.places}
        quiet = {"", *self.live, *self.last.gone}
        return [
            each
            for each in self.last.places
            if each.holder not in quiet and before.get((each.topic, each.partition)) == each.holder
        ]

    @property
    def pending(self) -> int:
        """The number of messages that waited."""
        return sum(each.pending for each in self.lag)

    @property
    def oldest_seconds(self) -> float | None:
        """How long the oldest of them has waited; None where the broker does not know."""
        ages = [each.oldest_seconds for each in self.lag if each.pending]
        return None if None in ages else max((age for age in ages if age is not None), default=0.0)

    @property
    def late(self) -> bool:
        """Whether a message has waited for more than `LATE_SECONDS`, or for an unknown time."""
        return self.pending > 0 and (self.oldest_seconds is None or self.oldest_seconds > LATE_SECONDS)

    @property
    def moved(self) -> Mapping[str, bool]:
        """By topic, whether one of its positions changed."""
        before, after = _positions(self.first), _positions(self.last)
        return {topic: before.get(topic) != found for topic, found in after.items()}

    @property
    def complete(self) -> bool:
        """Whether watching longer adds nothing: all members sent heartbeats, and topics with late messages move."""
        return not self.silent and self.first.heartbeats.keys() - self.last.gone <= self.live and not self.stalled

    @property
    def stalled(self) -> list[TopicLag]:
        """Topics with late messages of which no position moved."""
        late = [each for each in self.lag if each.pending and (each.oldest_seconds or 0.0) > LATE_SECONDS]
        return [each for each in late if not self.moved.get(each.topic, False)]


async def check_consumers(
    broker: Broker, service: str, lease_seconds: float, clock: Clock, at_work: Callable[[], Awaitable[bool]]
) -> CheckResult:
    """Watch a service's group, for at most a little more than a lease. `at_work` says whether the service's relay runs
    somewhere. Raises `Unavailable`.
    """
    lag, first = await broker.lag(service), await broker.group_state(service)
    started = clock.monotonic()
    watched = Watched(lag, first, first, 0.0)

    async def read() -> Watched:
        return Watched(lag, first, await broker.group_state(service), clock.monotonic() - started)

    if first.heartbeats or watched.silent:
        seconds = _WATCHED_LEASES * lease_seconds
        watched = await poll_until(lambda seen: seen.complete, watched, read, seconds=seconds, clock=clock)
    return judge(service, watched, at_work=not watched.live and not watched.silent and await at_work())


def judge(service: str, watched: Watched, *, at_work: bool) -> CheckResult:
    """Return the result for a watched group."""
    subject, waiting = f"consumers of {service}", _waiting(watched)
    if watched.silent:
        held = f"{_partitions(len(watched.silent))} held by a member"
        return CheckResult(
            subject,
            ok=False,
            detail=f"{held} that sent no heartbeat for {watched.seconds:.0f} s; {waiting}",
            fix="its process is stopped (SIGSTOP), or its machine is frozen: end the process, and others take over",
        )
    if not watched.live:
        return _without_members(subject, watched, waiting, at_work=at_work)
    free = [each for each in watched.last.places if each.holder in {"", *watched.last.gone}]
    if free and watched.late:
        detail = f"{_partitions(len(free))} held by no member; {waiting}"
        return CheckResult(subject, ok=False, detail=detail, fix="see the log of the group's members")
    if watched.stalled:
        topics = ", ".join(each.topic for each in watched.stalled)
        return CheckResult(
            subject,
            ok=False,
            detail=f"nothing of {topics} was acknowledged for {watched.seconds:.0f} s; {waiting}",
            fix="a message is blocked, or a handler takes long: see /readyz and the log of the service",
        )
    members = "one member reads" if len(watched.live) == 1 else f"{len(watched.live)} members read"
    return CheckResult(subject, ok=True, detail=f"{members}; {waiting}")


def _without_members(subject: str, watched: Watched, waiting: str, *, at_work: bool) -> CheckResult:
    """The result for a group without members. That is fine while the service does not run and nothing is late."""
    if at_work:
        return CheckResult(
            subject,
            ok=False,
            detail=f"the group has no member, although the service's relay runs; {waiting}",
            fix="does a process run the role 'consumer'? see /readyz and the log of the service",
        )
    detail = f"the group has no member; {waiting}"
    return CheckResult(
        subject, ok=not watched.late, detail=detail, fix="is freehold run running?" if watched.late else ""
    )


def _waiting(watched: Watched) -> str:
    if not watched.pending:
        return "nothing waits"
    which = "one message waits" if watched.pending == 1 else f"{watched.pending} messages wait"
    age = watched.oldest_seconds
    return which if age is None else f"{which}, the oldest for {age:.0f} s"


def _partitions(number: int) -> str:
    return "one partition is" if number == 1 else f"{number} partitions are"


def _positions(state: GroupState) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place in state.places:
        found.setdefault(place.topic, []).append(place.position)
    return found
