"""The relays of a service, observed from another process. Pattern: imports the ports and its package.

Leases contain no time. A relay is alive if the heartbeat of its member lease changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from freehold.clock import poll_until
from freehold.context import ServiceContext
from freehold.leases.store import LEASES, LeaseRecord, Vouching
from freehold.outbox.store import LEASE_PREFIX

__all__ = ["Relay", "is_relay_at_work", "watch_relays"]

_MEMBERS: Final = f"{LEASE_PREFIX}member/"
_METRIC_LEASES: Final = 0.5
"""A relay sends a heartbeat every third of a lease."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay. Its name consists of host, process id and a number; it is `alive` if its heartbeat changed."""

    name: str
    alive: bool
    partitions: int


async def watch_relays(context: ServiceContext) -> Sequence[Relay]:
    """Return the relays, as soon as each has sent a heartbeat, or after half a lease. Raises `Unavailable`."""
    return await _watch(context, _METRIC_LEASES, all)


async def is_relay_at_work(context: ServiceContext) -> bool:
    """Whether a relay of the service runs anywhere: one sends a heartbeat within a lease. Raises `Unavailable`."""
    return any(relay.alive for relay in await _watch(context, 1.0, any))


async def _watch(
    context: ServiceContext, leases_max: float, enough: Callable[[Iterable[bool]], bool]
) -> Sequence[Relay]:
    """Watch until `enough` relays have sent a heartbeat. Relays whose process is known to have ended are left out."""
    leases = context.stores[LEASES]
    first = await leases.list(LEASE_PREFIX)
    owners = {each.owner for each in first if each.owner}
    gone = await leases.gone(owners) if owners and isinstance(leases, Vouching) else set()

    async def read() -> Sequence[Relay]:
        return _seen(first, await leases.list(LEASE_PREFIX), gone)

    def settled(relays: Sequence[Relay]) -> bool:
        waited_for = [relay.alive for relay in relays if relay.name not in gone]
        return not waited_for or enough(waited_for)

    seconds = leases_max * context.settings.lease_seconds
    return await poll_until(settled, _seen(first, first, gone), read, seconds=seconds, clock=context.clock)


def _seen(before: Sequence[LeaseRecord], after: Sequence[LeaseRecord], gone: Collection[str]) -> Sequence[Relay]:
    seen = {each.name: (each.token, each.heartbeat) for each in before}
    members = [each for each in after if each.name.startswith(_MEMBERS) and each.owner]
    return [
        Relay(
            name=member.owner,
            alive=seen.get(member.name) != (member.token, member.heartbeat) and member.owner not in gone,
            partitions=sum(each.owner == member.owner and not each.name.startswith(_MEMBERS) for each in after),
        )
        for member in members
    ]
