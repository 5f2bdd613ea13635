"""One soak: a shop under load and faults, then healed, quiet and verified. Imports the load and the disturbances."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.heal.operator import freehold, resend
from tests.heal.processes import restarts
from tests.heal.readiness import readiness
from tests.soak.clock import ProcessClock, why_no_clock
from tests.soak.disturbances import of_disks, of_servers, of_shop
from tests.soak.load import Load
from tests.soak.place import mount_small, unmount, why_no_small_disks
from tests.soak.servers import Servers, running_servers

from freehold.errors import FreeholdError, Unavailable
from freehold.testing import Disturbance, Happening, Nemesis
from freehold_shop.supervisor.client import Shop, start_shop
from freehold_shop.supervisor.plan import Plan, Profile
from freehold_shop.verify.readers import open_reader
from freehold_shop.verify.run import Target, Verified, verify

__all__ = ["Result", "Wanted", "soak"]

_LIMIT_SECONDS: Final = 1800.0
"""Of each wait after the last fault: enough for a backlog on a busy machine, so that only a stuck shop fails."""
_START_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 0.5
_AT_ONCE: Final = 2
_PAUSE_SECONDS: Final = (1.0, 4.0)
_MEBIBYTES: Final = {"data": 384, "postgres": 1024, "mariadb": 512, "nats": 256}
_LOST: Final = "the broker has lost what it had confirmed"
_CRASHED: Final = "consumer-crashed"
_ORDERS_SQL: Final = "SELECT count(*) FROM orders"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to run. `only` has the names of the faults; all without it."""

    profile: Profile
    minutes: float = 10.0
    seed: int = 1
    orders_per_second: float = 2.0
    only: Sequence[str] = ()


@dataclass(slots=True)
class Result:
    """What came of a run. `violations` is empty where all held.

    faults     how often each happened.
    unended    faults that could not begin or end, with the reason: an earlier one was in the way.
    explained  what waited for an operator because of a fault, and what the operator did.
    longest    the request that was repeated for the longest time.
    answered   (seconds) from the last fault until every request was answered.
    restarts   processes of the shop that were started again; `server_restarts`: servers.
    """

    profile: str
    seed: int
    minutes: float
    faults: dict[str, int] = field(default_factory=dict)
    kinds: int = 0
    left_out: list[str] = field(default_factory=list)
    unended: list[str] = field(default_factory=list)
    orders: int = 0
    returns: int = 0
    repeats: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    asked_again: dict[str, int] = field(default_factory=dict)
    longest_seconds: float = 0.0
    longest: str = ""
    answered_seconds: float = 0.0
    kills: int = 0
    restarts: int = 0
    server_restarts: int = 0
    ready_seconds: float = 0.0
    quiet_seconds: float = 0.0
    invariants: int = 0
    explained: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    timeline: list[Happening] = field(default_factory=list)


@dataclass(slots=True)
class _Site:
    """What runs: a shop on its state directory, and servers in that profile."""

    shop: Shop
    disturbances: Sequence[Disturbance]
    servers: Servers | None


async def soak(wanted: Wanted, report: Callable[[str], None]) -> Result:
    """Run it. A violation keeps the state directory, and says where it is."""
    result = Result(wanted.profile.value, wanted.seed, wanted.minutes)
    place = Path(tempfile.mkdtemp(prefix="freehold-soak-"))
    # PostgreSQL's account must be able to enter.
    place.chmod(0o755)
    try:
        async with _site(wanted, place, result) as site:
            await _under_faults(wanted, site, result, report)
    except FreeholdError as error:
        result.violations.append(str(error))
    except Exception as error:  # noqa: BLE001 - every error is a violation, and shown
        result.violations.append(f"{type(error).__name__}: {error}")
    if result.violations:
        report(f"the state directory is {place}; its small file systems end with this run")
    else:
        for name in _MEBIBYTES:
            unmount(place / name)
        shutil.rmtree(place, ignore_errors=True)
    return result


@contextlib.asynccontextmanager
async def _site(wanted: Wanted, place: Path, result: Result) -> AsyncIterator[_Site]:
    reason = why_no_small_disks()
    names = ["data"] if wanted.profile is Profile.EMBEDDED else ["postgres", "mariadb", "nats"]
    for name in names:
        (place / name).mkdir()
        if not reason:
            mount_small(place / name, _MEBIBYTES[name])
    clock_reason = why_no_clock()
    clock = None if clock_reason else ProcessClock(place)
    result.left_out += [f"disk full: {reason}"] if reason else []
    result.left_out += [f"clock: {clock_reason}"] if clock_reason else []
    async with contextlib.AsyncExitStack() as stack:
        servers = None
        if wanted.profile is Profile.SERVERS:
            servers = await stack.enter_async_context(running_servers(place))
        environment = {**(servers.environment if servers else {}), **(clock.environment if clock else {})}
        shop = await _start(Plan(place, profile=wanted.profile, instances={"orders": 2, "payments": 2}), environment)
        stack.push_async_callback(shop.stop)
        found = [*of_shop(shop, clock, embedded=servers is None)]
        found += of_servers(shop, servers) if servers else []
        found += [] if reason else of_disks(place, servers)
        chosen = [each for each in found if not wanted.only or each.name in wanted.only]
        yield _Site(shop, chosen, servers)


async def _start(plan: Plan, environment: Mapping[str, str]) -> Shop:
    """Start the shop with these variables, which the supervisor takes over from this process."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return await start_shop(plan, ready_seconds=_START_SECONDS)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


async def _under_faults(wanted: Wanted, site: _Site, result: Result, report: Callable[[str], None]) -> None:
    before = restarts(site.shop)
    nemesis = Nemesis(site.disturbances, wanted.seed, _PAUSE_SECONDS, _AT_ONCE, report)
    async with Load(site.shop.gateway_url, wanted.orders_per_second, random.Random(wanted.seed)) as load:
        placing = asyncio.create_task(load.run())
        try:
            await nemesis.run(wanted.minutes * 60)
        finally:
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)
            _note_faults(nemesis.timeline, result, site)
        report("the faults have ended")
        began = time.monotonic()
        await _ready(site.shop, result)
        await _send_again(site.shop, result)
        await load.finish(_LIMIT_SECONDS)
        placed = load.placed
        result.orders, result.returns = len(placed.order_ids), placed.returns
        result.repeats, result.refused, result.asked_again = placed.repeats, placed.refused, placed.asked_again
        result.longest_seconds, result.longest = placed.longest_seconds, placed.longest
        result.answered_seconds = time.monotonic() - began
    result.restarts = sum(count - before.get(name, 0) for name, count in restarts(site.shop).items())
    result.server_restarts = site.servers.restarts if site.servers else 0
    await _operate(site.shop, result)
    await _verify(site.shop, result)
    await _count(site.shop, set(placed.order_ids), result)


def _note_faults(timeline: Sequence[Happening], result: Result, site: _Site) -> None:
    result.timeline = list(timeline)
    result.faults = dict(sorted(Counter(each.name for each in timeline if not each.problem).items()))
    result.kinds = len(site.disturbances)
    result.unended = [f"{each.name}: {each.problem}" for each in timeline if each.problem]
    result.kills = sum(count for name, count in result.faults.items() if name.endswith("-killed"))


async def _ready(shop: Shop, result: Result) -> None:
    began = time.monotonic()
    while unready := {name: each.problems for name, each in (await readiness(shop)).items() if each.problems}:
        if time.monotonic() - began > _LIMIT_SECONDS:
            words = "; ".join(f"{name}: {problems}" for name, problems in unready.items())
            raise FreeholdError(f"not ready {_LIMIT_SECONDS:g} s after the last fault: {words}")
        await asyncio.sleep(_POLL_SECONDS)  # readiness can only be polled
    result.ready_seconds = time.monotonic() - began


async def _send_again(shop: Shop, result: Result) -> None:
    """Send again what the broker has lost, if readiness reports a loss, as an operator does."""
    began = time.monotonic()
    while losers := [name for name, each in (await readiness(shop)).items() if _LOST in each.notices]:
        if time.monotonic() - began > _LIMIT_SECONDS:
            raise FreeholdError(f"{', '.join(losers)} still report a loss after {_LIMIT_SECONDS:g} s")
        with contextlib.suppress(FreeholdError):  # a service may be starting
            result.explained.append(await resend(shop))


async def _operate(shop: Shop, result: Result) -> None:
    """Do what an operator does about what the faults explain: a message beside which processes crashed too often is a
    dead letter, and is replayed. Whatever else waits for an operator is left, and found by `shop verify`.
    """
    code, document = await freehold(shop, "dlq", "list", "--json")
    if code:
        raise FreeholdError(f"freehold dlq list ends with {code}: {document}")
    reasons = Counter(str(each.get("reason") or each.get("error_reason")) for each in _dead_letters(document))
    if crashed := reasons.pop(_CRASHED, 0):
        code, _ = await freehold(
            shop, "dlq", "replay", "--all", "--error-reason", _CRASHED, "--reason", "processes were killed", "--json"
        )
        result.explained.append(f"{crashed} dead letters of killed processes, replayed (exit code {code})")
    for reason, count in reasons.items():
        result.violations.append(f"{count} dead letters with the reason {reason}")


def _dead_letters(document: Any) -> Sequence[Mapping[str, Any]]:
    for value in document.values() if isinstance(document, dict) else [document]:
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            return value
    return []


async def _verify(shop: Shop, result: Result) -> None:
    began = time.monotonic()
    target = Target(shop.databases, shop.broker_url, shop.provider_url)
    verified: Verified | None = None
    while verified is None:
        try:
            verified = await verify(target, wait_seconds=_LIMIT_SECONDS)
        except Unavailable:
            if time.monotonic() - began > _LIMIT_SECONDS:
                raise
            await asyncio.sleep(_POLL_SECONDS)  # other processes send no signal
    result.quiet_seconds = time.monotonic() - began
    if not verified.quietness.quiet:
        result.violations.append(f"not quiet after {_LIMIT_SECONDS:g} s: {verified.quietness.words}")
    result.invariants += len(verified.verification.checks)
    result.violations += [f"{each.name}: {each.detail}" for each in verified.verification.checks if not each.ok]


async def _count(shop: Shop, answered: set[str], result: Result) -> None:
    """Each order that was answered exists once, and there is no other: every request was repeated until its answer."""

    def read() -> int:
        with open_reader(shop.databases["orders"], "orders") as reader:
            return int(next(reader.rows(_ORDERS_SQL))[0])

    stored = await asyncio.to_thread(read)
    result.invariants += 2
    if len(answered) != result.orders:
        result.violations.append(f"{result.orders} orders were answered with {len(answered)} ids")
    if stored != len(answered):
        result.violations.append(f"{len(answered)} orders were answered, and {stored} are stored")
