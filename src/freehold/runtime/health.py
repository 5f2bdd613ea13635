"""How a service is, as it is asked for by load balancers and operators. Runtime: walks over what the patterns declare.

Readiness is asked every few seconds, and by several at once. A write that went well is trusted for a while; one that
failed is tried again at the next question, so that what is mended is seen at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from freehold.broker import Broker, Noticing, TopicLag
from freehold.clock import Clock
from freehold.context import ServiceContext
from freehold.database import Database
from freehold.errors import FreeholdError, Unavailable
from freehold.failures import root_cause
from freehold.lifecycle import FAILING_SECONDS_MAX, RunnerState
from freehold.outages import BROKER, DATABASE
from freehold.pattern import Pattern
from freehold.runtime.backlog import overdue
from freehold.runtime.patterns import topics_of

if TYPE_CHECKING:
    from freehold.runtime.running_service import RunningService

__all__ = [
    "Health",
    "Probe",
    "Probes",
    "Readiness",
    "RunnerHealth",
    "look_at_health",
    "look_at_readiness",
    "read_metrics",
]

_TRUSTED_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class RunnerHealth:
    """A loop's state; `last_error` is the name of an error's class, empty where none happened."""

    state: RunnerState
    last_error: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests may come. `problems` say what is missing, by name, and why: `database`, `broker`, `draining`,
    and each loop that has ended or does not get on. `notices` take readiness from nobody: what passes by itself, what
    patterns tell (`deferred` messages that are older than they should be), and what is `overdue`.
    """

    ready: bool
    problems: Mapping[str, str]
    notices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """How a service is: its loops by name, what waits in its tables (the metrics that its patterns declare, by name)
    and before its group. `broker` says what keeps this process from the broker, and is empty where nothing does;
    nothing is known of `lag` then.
    """

    service: str
    runners: Mapping[str, RunnerHealth]
    metrics: Mapping[str, Any]
    lag: Sequence[TopicLag]
    broker: str = ""

    @property
    def ok(self) -> bool:
        """True where every loop runs."""
        return all(each.state is RunnerState.RUNNING for each in self.runners.values())


async def look_at_readiness(running: RunningService, timeout_seconds: float) -> Readiness:
    """See `RunningService.readiness`."""
    problems: dict[str, str] = {}
    if running.draining or not running.started:
        problems["draining" if running.draining else "starting"] = "no new work is taken"
    looks = running.started and running.probes.database.due
    database, (broker, refused) = await asyncio.gather(
        _database_problem(running, timeout_seconds), _broker_problem(running, timeout_seconds)
    )
    if database:
        problems["database"] = database
    elif looks:
        told = await _notices(running, timeout_seconds)
        running.probes.notices = told | await _overdue(running, timeout_seconds)
    notices = dict(running.probes.notices)
    if broker:
        may_wait = running.settings.ready_without_broker and not refused
        kept = {} if database else await _notices(running, timeout_seconds, about=BROKER)
        said = "; ".join([broker, *kept.values()])
        (notices if may_wait else problems)["broker"] = said
    elif lost := _broker_notice(running):
        notices["broker"] = lost
    problems |= {runner.name: trouble for runner in running.watched if (trouble := runner.trouble)}
    notices |= {runner.name: notice for runner in running.watched if (notice := runner.notice)}
    return Readiness(ready=not problems, problems=problems, notices=notices)


async def look_at_health(running: RunningService) -> Health:
    """See `RunningService.health`."""
    metrics, (broker, lag) = await asyncio.gather(
        read_metrics(running.context, running.patterns, quick=True), _lag(running)
    )
    return Health(running.service.name, _runners(running), metrics, lag, broker)


async def read_metrics(
    context: ServiceContext, patterns: Iterable[Pattern[Any]], *, quick: bool = False
) -> Mapping[str, Any]:
    """The metrics of patterns, by name, where the engine has their port; with `quick`, only those that take one query.

    Raises `Unavailable` where the database does not say.
    """
    return {
        metric.name: await metric.read(context)
        for pattern in patterns
        for metric in pattern.metrics
        if metric.port in context.stores and not (quick and metric.watches)
    }


def _runners(running: RunningService) -> Mapping[str, RunnerHealth]:
    return {
        runner.name: RunnerHealth(
            runner.state, type(root_cause(runner.last_error)).__name__ if runner.last_error else ""
        )
        for runner in running.watched
    }


async def _lag(running: RunningService) -> tuple[str, Sequence[TopicLag]]:
    if not (topics_of(running.context, running.patterns) and running.connects):
        return "", ()
    try:
        return "", await running.broker.lag(running.service.name)
    except Unavailable as error:
        return type(running.link.problem or error).__name__, ()


async def _broker_problem(running: RunningService, timeout_seconds: float) -> tuple[str, bool]:
    """What keeps this process from the broker; of one that refuses, in whole: it will not mend by itself. And whether
    it refuses: the link may hear something else before the answer is complete.
    """
    problem = running.link.problem
    if not running.connects:
        return "", False
    if problem is not None:
        refused = not isinstance(problem, Unavailable)
        return f"{type(problem).__name__}: {problem}" if refused else told(problem), refused
    probe = running.probes.broker
    if running.started and not probe.trusted:
        written = await probe.problem(timeout_seconds)
    else:
        written = await _answers(running.broker.ping(timeout_seconds))
    return written or running.outages.lasting(BROKER, FAILING_SECONDS_MAX), False


async def _database_problem(running: RunningService, timeout_seconds: float) -> str:
    """What keeps the database from being written or, where that went well just now, from answering; or what a loop
    hears of it, round after round: a table may have no room where another has some.
    """
    probe = running.probes.database
    if running.started and not probe.trusted:
        problem = await probe.problem(timeout_seconds)
    else:
        problem = await _answers(running.stores.database.ping(timeout_seconds))
    return problem or running.outages.lasting(DATABASE, FAILING_SECONDS_MAX)


async def _notices(running: RunningService, timeout_seconds: float, about: str = "") -> dict[str, str]:
    """What patterns tell, of themselves or about a dependency that is away; what does not answer in time tells
    nothing.
    """
    found = {}
    for notice in (notice for pattern in running.patterns for notice in pattern.notices):
        if notice.about == about and notice.port in running.stores:
            with contextlib.suppress(FreeholdError, TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    found[notice.name] = await notice.read(running.context)
    return {name: text for name, text in found.items() if text}


async def _overdue(running: RunningService, timeout_seconds: float) -> dict[str, str]:
    """What should have been sent or tried long ago, by this process or another one."""
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await overdue(running.context, running.patterns)
    except (FreeholdError, TimeoutError):
        return {}
    late = {what: seconds for what, seconds in found.items() if seconds > running.settings.overdue_alarm_seconds}
    told = [f"{what} are due for {seconds / 60:.0f} min and not taken" for what, seconds in late.items()]
    return {"overdue": "; ".join(told)} if told else {}


def _broker_notice(running: RunningService) -> str:
    """What the broker has lost lately, as this process has found out."""
    broker: object = running.broker if running.connects else None
    return broker.notice if isinstance(broker, Noticing) else ""


async def _answers(ping: Awaitable[None]) -> str:
    try:
        await ping
    except FreeholdError as error:
        return told(error)
    return ""


class Probe:
    """A write that shows whether work gets on, asked for when it is needed. `write` is given a time limit."""

    def __init__(self, write: Callable[[float], Awaitable[None]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._turn = asyncio.Lock()
        self._asked_at = -math.inf
        self._failing_since: float | None = None
        self._error: FreeholdError | None = None

    @property
    def trusted(self) -> bool:
        """Whether the write went well a short while ago."""
        return self._error is None and not self.due

    @property
    def due(self) -> bool:
        """Whether what is known is too old."""
        kept_seconds = _TRUSTED_SECONDS if self._error is None else _AGAIN_SECONDS
        return self._clock.monotonic() - self._asked_at >= kept_seconds

    async def problem(self, timeout_seconds: float) -> str:
        """What keeps the write from being done, and since when it is known; empty for nothing. Who comes while it is
        tried waits for the same answer.
        """
        async with self._turn:
            if self.due:
                await self._ask(timeout_seconds)
        if self._error is None or self._failing_since is None:
            return ""
        seconds = self._clock.monotonic() - self._failing_since
        return told(self._error) + (f", for {seconds:.0f} s now" if seconds >= 1.0 else "")

    async def _ask(self, timeout_seconds: float) -> None:
        error: FreeholdError | None = None
        try:
            await self._write(timeout_seconds)
        except FreeholdError as failure:
            error = failure
        now = self._clock.monotonic()
        if error is None:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        self._asked_at, self._error = now, error


class Probes:
    """The probes of one service, and what its patterns have told since the database was last written."""

    def __init__(self, service: str, database: Database, broker: Broker, clock: Clock) -> None:
        self.database = Probe(database.probe, clock)
        self.broker = Probe(lambda seconds: broker.probe(service, seconds), clock)
        self.notices: Mapping[str, str] = {}


def told(error: FreeholdError) -> str:
    """An error as readiness names it: its kind, and its reason."""
    return f"{type(error).__name__}: {error.message}" if error.message else type(error).__name__
