"""One scenario of a running shop under load: it begins, lasts, ends, and everything that it blocked must complete.

May import the shop's client, its customers and order stream, and its verification.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tests.heal.processes import ended_by_themselves, restarts
from tests.heal.readiness import Readiness, readiness
from tests.integration.shop.ops.customers import ended, place

from freehold.errors import FreeholdError, Unavailable
from freehold_shop.cli.stream import OrderStream, StreamCounts
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Checkout
from freehold_shop.verify.readers import open_reader
from freehold_shop.verify.run import Target, Verified, verify

__all__ = ["Scenario", "Trial", "TrialPlan", "begin", "carry_out", "end", "look", "patiently", "until", "watch"]

_DEAD_LETTERS_SQL = (
    "SELECT count(*), coalesce(sum(CASE WHEN status = 'dead' THEN 1 ELSE 0 END), 0) FROM freehold_dead_letter"
)
_POLL_SECONDS = 0.25
_READY_POLL_SECONDS = 1.0
"""Longer, since each readiness request writes to the database and the broker."""
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """The parameters of a trial. `moment_seconds` is how long the load continues after a fault that does not last.

    limit_seconds  time limit of each wait: enough for a slow shop, so that only a stuck one fails.
    instances      the number of processes of services that run more than once.
    """

    orders_per_second: float = 4.0
    hold_seconds: float = 5.0
    moment_seconds: float = 2.0
    limit_seconds: float = 180.0
    instances: Mapping[str, int] = field(default_factory=lambda: {"orders": 2})


@dataclass(slots=True)
class Trial:
    """The result of a trial. `seen` is what readiness reported, `note` a remark, `problems` what failed afterwards.

    healing_seconds  from the request to end the fault until it had ended (0 for a fault that does not last).
    ready_seconds    from then until every process of every service was ready.
    quiet_seconds    from then until nothing waited, nothing was in transit, and all was verified.
    """

    name: str
    placed: int = 0
    unanswered: int = 0
    healing_seconds: float = 0.0
    ready_seconds: float = 0.0
    quiet_seconds: float = 0.0
    seen: dict[str, str] = field(default_factory=dict)
    note: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def healed(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note an error raised inside as a problem, so that the other scenarios still run."""
        try:
            yield
        except FreeholdError as error:
            self.problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - every error is shown in the table
            self.problems.append(f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault and its end. `happens` is called while orders come, and returns when everything is healed.

    makes_dead_letters  it makes dead letters, as docs/shop.md says; healing discards them.
    kills               the service whose processes it kills; no other process may end.
    """

    name: str
    happens: Callable[[Shop, Trial, TrialPlan], Awaitable[None]]
    makes_dead_letters: bool = False
    kills: str = ""


async def carry_out(scenario: Scenario, shop: Shop, plan: TrialPlan) -> Trial:
    """Run the scenario, wait until the shop is ready and quiet, and verify it. Failures are noted, not raised.

    An order of each kind of checkout, placed afterwards, must be confirmed.
    """
    trial = Trial(scenario.name)
    with trial.noting():
        dead_letters, restarted = await patiently(lambda: _dead_letters(shop), plan), restarts(shop)
        async with _load(shop, plan, trial):
            await scenario.happens(shop, trial, plan)
            await _wait_until_ready(shop, trial, plan)
            order_ids = [await place(shop, checkout=checkout) for checkout in Checkout]
        await look(shop, trial, plan)
        if (found := await ended(shop, order_ids)) != {"confirmed"}:
            trial.problems.append(f"orders placed afterwards are {', '.join(sorted(found))}")
        after = await patiently(lambda: _dead_letters(shop), plan)
        trial.problems += _new_dead_letters(dead_letters, after, permitted=scenario.makes_dead_letters)
        trial.problems += ended_by_themselves(shop, restarted, scenario.kills)
    return trial


async def watch(shop: Shop, trial: Trial, plan: TrialPlan, seconds: float, sign: str) -> None:
    """Let a fault last for a time, and longer until readiness has reported the sign; note what it reports."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds or not _has_reported(trial, sign):
        if passed > seconds + plan.limit_seconds:
            trial.problems.append(f"readiness did not report within {passed:.0f} s: {sign}")
            return
        for service, found in (await readiness(shop)).items():
            text = found.problems or found.notices
            if text and (service not in trial.seen or (sign in text and sign not in trial.seen[service])):
                trial.seen[service] = text
        await asyncio.sleep(_READY_POLL_SECONDS)  # readiness can only be polled


def _has_reported(trial: Trial, sign: str) -> bool:
    return not sign or any(sign in text for text in trial.seen.values())


async def begin(shop: Shop, fault: str, plan: TrialPlan) -> None:
    """Begin a fault; retry while it cannot begin, as an operator does."""
    await _insist(lambda: shop.break_(fault), plan, f"{fault} could not be begun")


async def end(shop: Shop, fault: str, plan: TrialPlan) -> float:
    """End a fault, with retries as in `begin`; returns the seconds."""
    return await _insist(lambda: shop.heal(fault), plan, f"{fault} could not be ended")


async def _insist(ask: Callable[[], Awaitable[object]], plan: TrialPlan, failure: str) -> float:
    began = time.monotonic()
    while True:
        try:
            await ask()
            return time.monotonic() - began
        except Unavailable as error:
            if time.monotonic() - began > plan.limit_seconds:
                raise FreeholdError(f"{failure} in {plan.limit_seconds:g} s: {error}") from error
            await asyncio.sleep(_POLL_SECONDS)  # other processes send no signal


async def look(shop: Shop, trial: Trial, plan: TrialPlan) -> None:
    """Wait until the shop is quiet, and verify it."""
    began = time.monotonic()
    shop_now = Target(shop.databases, shop.broker_url, shop.provider_url)
    verified: Verified | None = None
    while verified is None:
        try:
            verified = await verify(shop_now, wait_seconds=plan.limit_seconds)
        except Unavailable:
            if time.monotonic() - began > plan.limit_seconds:
                raise
            await asyncio.sleep(_POLL_SECONDS)  # other processes send no signal
    trial.quiet_seconds = time.monotonic() - began
    if not verified.quietness.quiet:
        trial.problems.append(f"not quiet after {plan.limit_seconds:g} s: {verified.quietness.words}")
    trial.problems += [f"{check.name}: {check.detail}" for check in verified.verification.checks if not check.ok]


async def patiently(read: Callable[[], Found], plan: TrialPlan) -> Found:
    """Read in a thread; retry where a database does not answer in time because the machine is busy."""
    began = time.monotonic()
    while True:
        try:
            return await asyncio.to_thread(read)
        except Unavailable:
            if time.monotonic() - began > plan.limit_seconds:
                raise
            await asyncio.sleep(_POLL_SECONDS)  # other processes send no signal


async def until(condition: Callable[[], Awaitable[bool]], plan: TrialPlan, what: str) -> float:
    """Wait for a condition that other processes make true, and return how long that took."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > plan.limit_seconds:
            raise FreeholdError(f"not within {plan.limit_seconds:g} s: {what}")
        await asyncio.sleep(_POLL_SECONDS)  # other processes send no signal
    return time.monotonic() - began


@contextlib.asynccontextmanager
async def _load(shop: Shop, plan: TrialPlan, trial: Trial) -> AsyncIterator[None]:
    """Place orders of both checkouts, from before the fault until the shop is ready again."""
    counts = StreamCounts()
    checkouts = tuple(Checkout)
    task = asyncio.create_task(
        OrderStream(shop.gateway_url, plan.orders_per_second, counts=counts, checkouts=checkouts).run()
    )

    async def some_accepted() -> bool:
        return counts.placed > 0

    try:
        await until(some_accepted, plan, "an order is accepted before the fault")
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        trial.placed, trial.unanswered = counts.placed, counts.failed


async def _wait_until_ready(shop: Shop, trial: Trial, plan: TrialPlan) -> None:
    began = time.monotonic()
    while unready := {name: found for name, found in (await readiness(shop)).items() if found.problems}:
        if time.monotonic() - began > plan.limit_seconds:
            raise FreeholdError(f"not ready {plan.limit_seconds:g} s after the fault's end: {_words(unready)}")
        await asyncio.sleep(_READY_POLL_SECONDS)  # readiness can only be polled
    trial.ready_seconds = time.monotonic() - began


def _words(unready: Mapping[str, Readiness]) -> str:
    return "; ".join(f"{service}: {found.problems}" for service, found in unready.items())


def _dead_letters(shop: Shop) -> Mapping[str, tuple[int, int]]:
    """By service, how many dead letters there ever were, and how many of them are neither replayed nor discarded."""
    found: dict[str, tuple[int, int]] = {}
    for service, url in shop.databases.items():
        with open_reader(url) as reader:
            all_of_them, dead = next(reader.rows(_DEAD_LETTERS_SQL))
        found[service] = (int(all_of_them), int(dead))
    return found


def _new_dead_letters(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]], *, permitted: bool
) -> list[str]:
    problems = [f"{service} has {dead} dead letters" for service, (_, dead) in after.items() if dead]
    for service, (all_of_them, _) in after.items():
        new = all_of_them - before[service][0]
        if new and not permitted:
            problems.append(f"{service} has {new} new dead letters, which this fault must not make")
    return problems
