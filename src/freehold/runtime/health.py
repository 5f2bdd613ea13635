"""Readiness for load balancers, and health for operators. Runtime: iterates over the declarations of patterns.

Readiness is requested every few seconds, by several clients at once. The result of a successful write is kept for some
seconds. After a failed write the next request writes again, so that the end of an outage is seen at once.
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
    "read_health",
    "read_metrics",
    "read_readiness",
]

_TRUSTED_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class RunnerHealth:
    """A loop's state; `last_error` is the class of its last error, empty if there was none."""

    state: RunnerState
    last_error: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service can take requests. `problems` are the reasons why not, by name: `database`, `broker`,
    `draining`, `starting`, and each loop that has ended or keeps failing. `notices` do not make it unready: waits that
    end by themselves, notices of patterns (`deferred` messages that are too old), and `overdue` work.
    """

    ready: bool
    problems: Mapping[str, str]
    notices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a service: its loops by name, the metrics of its patterns by name, and the lag of its consumer
    group. `broker` is the class of the error if the broker cannot be asked, and `lag` is empty then.
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


async def read_readiness(running: RunningService, timeout_seconds: float) -> Readiness:
    """See `RunningService.readiness`."""
    problems: dict[str, str] = {}
    if running.draining or not running.started:
        problems["draining" if running.draining else "starting"] = "no new work is accepted"
    probes_database = running.started and running.probes.database.due
    database, (broker, refused) = await asyncio.gather(
        _database_problem(running, timeout_seconds), _broker_problem(running, timeout_seconds)
    )
    if database:
        problems["database"] = database
    elif probes_database:
        found = await _notices(running, timeout_seconds)
        running.probes.notices = found | await _overdue(running, timeout_seconds)
    notices = dict(running.probes.notices)
    if broker:
        may_wait = running.settings.ready_without_broker and not refused
        kept = {} if database else await _notices(running, timeout_seconds, about=BROKER)
        (notices if may_wait else problems)["broker"] = "; ".join([broker, *kept.values()])
    elif lost := _broker_notice(running):
        notices["broker"] = lost
    problems |= {runner.name: trouble for runner in running.watched if (trouble := runner.trouble)}
    notices |= {runner.name: notice for runner in running.watched if (notice := runner.notice)}
    return Readiness(ready=not problems, problems=problems, notices=notices)


async def read_health(running: RunningService) -> Health:
    """See `RunningService.health`."""
    metrics, (broker, lag) = await asyncio.gather(
        read_metrics(running.context, running.patterns, quick=True), _lag(running)
    )
    return Health(running.service.name, _runners(running), metrics, lag, broker)


async def read_metrics(
    context: ServiceContext, patterns: Iterable[Pattern[Any]], *, quick: bool = False
) -> Mapping[str, Any]:
    """The metrics of patterns, by name, if the engine has their port; with `quick`, only those that take one query.

    Raises `Unavailable` if the database does not answer.
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
    """Why the broker cannot be used, empty if it can; and whether it refuses, in which case the text has the hint. Both
    are read at once: the link may get another answer meanwhile.
    """
    problem = running.link.problem
    if not running.connects:
        return "", False
    if problem is not None:
        refused = not isinstance(problem, Unavailable)
        return f"{type(problem).__name__}: {problem}" if refused else _reason(problem), refused
    probe = running.probes.broker
    if running.started and not probe.trusted:
        written = await probe.problem(timeout_seconds)
    else:
        written = await _answers(running.broker.ping(timeout_seconds))
    return written or running.outages.lasting(BROKER, FAILING_SECONDS_MAX), False


async def _database_problem(running: RunningService, timeout_seconds: float) -> str:
    """Why the database cannot be written or, shortly after a successful write, does not answer; or an outage that loops
    report although the write succeeds: one table may have no space left while another has.
    """
    probe = running.probes.database
    if running.started and not probe.trusted:
        problem = await probe.problem(timeout_seconds)
    else:
        problem = await _answers(running.stores.database.ping(timeout_seconds))
    return problem or running.outages.lasting(DATABASE, FAILING_SECONDS_MAX)


async def _notices(running: RunningService, timeout_seconds: float, about: str = "") -> dict[str, str]:
    """The notices of patterns, those about a dependency or all others. One that cannot be read in time is left out."""
    found = {}
    for notice in (notice for pattern in running.patterns for notice in pattern.notices):
        if notice.about == about and notice.port in running.stores:
            with contextlib.suppress(FreeholdError, TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    found[notice.name] = await notice.read(running.context)
    return {name: text for name, text in found.items() if text}


async def _overdue(running: RunningService, timeout_seconds: float) -> dict[str, str]:
    """A notice of work that is long overdue, in this process or another one; empty for none."""
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await overdue(running.context, running.patterns)
    except (FreeholdError, TimeoutError):
        return {}
    late = {what: seconds for what, seconds in found.items() if seconds > running.settings.overdue_alarm_seconds}
    texts = [f"{what} have been due for {seconds / 60:.0f} min" for what, seconds in late.items()]
    return {"overdue": "; ".join(texts)} if texts else {}


def _broker_notice(running: RunningService) -> str:
    """What the broker has lost lately, as far as this process knows."""
    broker: object = running.broker if running.connects else None
    return broker.notice if isinstance(broker, Noticing) else ""


async def _answers(ping: Awaitable[None]) -> str:
    try:
        await ping
    except FreeholdError as error:
        return _reason(error)
    return ""


class Probe:
    """A test write to a database or a broker, whose result is kept for some seconds. `write` gets a time limit."""

    def __init__(self, write: Callable[[float], Awaitable[None]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._turn = asyncio.Lock()
        self._asked_at = -math.inf
        self._failing_since: float | None = None
        self._error: FreeholdError | None = None

    @property
    def trusted(self) -> bool:
        """Whether the write succeeded a short time ago."""
        return self._error is None and not self.due

    @property
    def due(self) -> bool:
        """Whether the last result is too old."""
        kept_seconds = _TRUSTED_SECONDS if self._error is None else _AGAIN_SECONDS
        return self._clock.monotonic() - self._asked_at >= kept_seconds

    async def problem(self, timeout_seconds: float) -> str:
        """Why the write fails, and for how long; empty if it succeeds. Concurrent calls share one write."""
        async with self._turn:
            if self.due:
                await self._ask(timeout_seconds)
        if self._error is None or self._failing_since is None:
            return ""
        seconds = self._clock.monotonic() - self._failing_since
        return _reason(self._error) + (f", for {seconds:.0f} s now" if seconds >= 1.0 else "")

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
    """The probes of one service, and the notices of its patterns that were read at the last write."""

    def __init__(self, service: str, database: Database, broker: Broker, clock: Clock) -> None:
        self.database = Probe(database.probe, clock)
        self.broker = Probe(lambda seconds: broker.probe(service, seconds), clock)
        self.notices: Mapping[str, str] = {}


def _reason(error: FreeholdError) -> str:
    """The class and the message of an error."""
    return f"{type(error).__name__}: {error.message}" if error.message else type(error).__name__
