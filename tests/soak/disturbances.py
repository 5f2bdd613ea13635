"""The faults of a soak, for each profile. Imports the nemesis, the servers, and the shop's client."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.heal.operator import resend
from tests.heal.readiness import readiness
from tests.soak.clock import ProcessClock
from tests.soak.servers import Servers

from freehold.errors import FreeholdError
from freehold.testing import (
    MARIADB_COMMIT,
    POSTGRESQL_COMMIT,
    Disturbance,
    frozen,
    full_disk,
    killed,
    lost_answers,
    nats_publish,
    network_faults,
)
from freehold_shop.servers import RunningServer
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import SERVICE_NAMES

__all__ = ["of_disks", "of_servers", "of_shop"]

_SHORT: Final = (3.0, 10.0)
_LONGER_THAN_A_LEASE: Final = (8.0, 25.0)
_CLOCK: Final = (10.0, 30.0)
_POSTGRES: Final = frozenset({"postgres"})
_MARIADB: Final = frozenset({"mariadb"})
_BROKER: Final = frozenset({"broker"})
_ON_EMBEDDED: Final = {
    "orders-database-down": frozenset({"orders-database"}),
    "orders-database-full": frozenset({"orders-database", "disk"}),
    "orders-database-locked": frozenset({"orders-database"}),
    "broker-down": _BROKER,
    "broker-at-its-limit": _BROKER | {"disk"},
    "broker-emptied": _BROKER,
}
_EVERYWHERE: Final = ("payments-down", "payments-slow", "duplicate-messages", "relay-stopped", "slow-projections")


def of_shop(shop: Shop, clock: ProcessClock | None, *, embedded: bool) -> Sequence[Disturbance]:
    """What happens to the shop's processes and, as its own faults, to its providers and files."""
    services = frozenset({"services"})
    found = [
        *(
            killed(f"{name}-killed", lambda name=name: _pids(shop, name), groups=services)  # type: ignore[misc]  # a default that binds the name
            for name in SERVICE_NAMES
        ),
        killed("any-killed", lambda: _every_pid(shop), groups=services, weight=4),
        frozen("any-frozen", lambda: _every_pid(shop), seconds=_LONGER_THAN_A_LEASE, groups=services, weight=2),
        *(
            frozen(
                f"{name}-frozen",
                lambda name=name: _pids(shop, name),  # type: ignore[misc]  # a default that binds the name
                seconds=_LONGER_THAN_A_LEASE,
                groups=services,
            )
            for name in ("orders", "inventory", "payments", "overview")
        ),
        *(_own_fault(shop, name, frozenset({name})) for name in _EVERYWHERE),
    ]
    if embedded:
        found += [_own_fault(shop, name, groups) for name, groups in _ON_EMBEDDED.items()]
    if clock is not None:
        found.append(clock.jump("clock-jumps", seconds=_CLOCK))
    return found


def of_servers(shop: Shop, servers: Servers) -> Sequence[Disturbance]:
    """What happens to the servers, and to the network before them."""
    postgres = [(each, POSTGRESQL_COMMIT) for each in servers.on_postgres().values()]
    mariadb = [(each, MARIADB_COMMIT) for each in servers.on_mariadb().values()]
    publish = [(servers.broker, nats_publish("freehold"))]
    return [
        _restarted(servers, servers.postgres, "postgres-immediate-restart", _POSTGRES),
        _restarted(servers, servers.mariadb, "mariadb-killed", _MARIADB),
        _restarted(servers, servers.nats, "broker-killed", _BROKER),
        _emptied(shop, servers),
        *network_faults("postgres", servers.on_postgres(), seconds=_SHORT, groups=_POSTGRES),
        *network_faults("mariadb", servers.on_mariadb(), seconds=_SHORT, groups=_MARIADB),
        *network_faults("broker", {"broker": servers.broker}, seconds=_SHORT, groups=_BROKER),
        lost_answers("postgres-commits-lost", postgres, seconds=_SHORT, groups=_POSTGRES),
        lost_answers("mariadb-commits-lost", mariadb, seconds=_SHORT, groups=_MARIADB),
        lost_answers("confirmations-lost", publish, seconds=_SHORT, chance=0.1, groups=_BROKER),
    ]


def of_disks(place: Path, servers: Servers | None) -> Sequence[Disturbance]:
    """The small file systems of servers, or of the shop's files, have no byte left.

    Freeing the room is not enough for a server: MariaDB and PostgreSQL may have ended, and NATS switches JetStream off
    until it is started again.
    """
    if servers is None:
        # Not while a file is full or emptied by another fault: its end frees pages, and needs room for that.
        groups = _BROKER | {"orders-database", "disk"}
        return [full_disk("disk-full", place / "data", seconds=_SHORT, groups=groups)]
    return [
        _full(servers, servers.postgres, "postgres-disk-full", place / "postgres", _POSTGRES),
        _full(servers, servers.mariadb, "mariadb-disk-full", place / "mariadb", _MARIADB),
        _full(servers, servers.nats, "broker-disk-full", place / "nats", _BROKER),
    ]


def _pids(shop: Shop, service: str) -> Sequence[int]:
    return [pid for pid in shop.pids().get(service, ()) if pid]


def _every_pid(shop: Shop) -> Sequence[int]:
    return [pid for pids in shop.pids().values() for pid in pids if pid]


def _own_fault(shop: Shop, name: str, groups: frozenset[str]) -> Disturbance:
    async def begin(_: random.Random) -> str:
        await shop.break_(name)
        return ""

    async def end() -> None:
        await shop.heal(name)

    return Disturbance(name=name, begin=begin, end=end, seconds=_SHORT, groups=groups)


def _restarted(servers: Servers, server: RunningServer, name: str, groups: frozenset[str]) -> Disturbance:
    async def begin(_: random.Random) -> str:
        await (servers.end_immediately() if server is servers.postgres else servers.kill(server))
        return ""

    async def end() -> None:
        await servers.start(server)

    return Disturbance(name=name, begin=begin, end=end, seconds=(0.0, 6.0), groups=groups)


def _emptied(shop: Shop, servers: Servers) -> Disturbance:
    """NATS loses its store. The end is an operator's: what was lost is sent again, if the services are ready for that;
    else it is done after the last fault.
    """

    async def begin(_: random.Random) -> str:
        await servers.empty_broker()
        await servers.start(servers.nats)
        return ""

    async def end() -> None:
        await servers.start(servers.nats)
        reports = await readiness(shop)
        if not any(each.problems for each in reports.values()):
            with contextlib.suppress(FreeholdError):
                await resend(shop)

    return Disturbance(name="broker-emptied", begin=begin, end=end, seconds=_SHORT, groups=_BROKER)


def _full(servers: Servers, server: RunningServer, name: str, directory: Path, groups: frozenset[str]) -> Disturbance:
    full = full_disk(name, directory, seconds=_SHORT)

    async def end() -> None:
        assert full.end is not None
        await full.end()
        await servers.restart(server)

    return Disturbance(name=name, begin=full.begin, end=end, seconds=_SHORT, groups=groups)
