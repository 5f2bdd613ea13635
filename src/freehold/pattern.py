"""The declaration of a pattern: the ports that it needs, its runners, checks, pruning, commands, and what `doctor`,
`ps` and `describe` show of it. Port: imports the foundation, the ports and the context; knows no pattern.

A pattern is a value. The running service, the pruner and the command line iterate over a list of patterns: the built-in
ones of `freehold.runtime.patterns`, and those that a service names in `Service(patterns=(…,))`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from freehold.context import ServiceContext, Signal
from freehold.database import CheckResult, Defect
from freehold.description import Flow, Listing
from freehold.lifecycle import Runner
from freehold.metrics import MetricFamily, MetricKind, SeriesKey, Values
from freehold.migrations import Migration
from freehold.ports import Port, Provision, provide
from freehold.settings import Settings
from freehold.trace import Trace, Traced, TraceQuery, read_envelope, traced

__all__ = [
    "Check",
    "CheckResult",
    "Column",
    "Due",
    "Flow",
    "Listing",
    "Metric",
    "MetricFamily",
    "MetricKind",
    "Migration",
    "Need",
    "Notice",
    "Pattern",
    "Phase",
    "Port",
    "Preparation",
    "Provision",
    "Pruning",
    "Reading",
    "Role",
    "Runner",
    "SeriesKey",
    "ServiceContext",
    "Settings",
    "Signal",
    "Trace",
    "TraceQuery",
    "Traced",
    "Values",
    "is_role_running",
    "provide",
    "read_envelope",
    "traced",
]

R = TypeVar("R")


def is_role_running(role: str) -> str:
    """The hint for an operator where the work of a role is not done."""
    return f"does a process run the role '{role}'? see /readyz and the log of the service"


class Phase(StrEnum):
    """When a check is made.

    DECLARED   all modules are imported, nothing is opened.
    OPENED     the database is open, and its schema exists.
    CONNECTED  the broker is connected; again after each outage of the broker.
    """

    DECLARED = "declared"
    OPENED = "opened"
    CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class Check:
    """A check, or a preparation, before a service works. `run` raises the reason why it must not start."""

    phase: Phase
    run: Callable[[ServiceContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Need:
    """Ports that a service needs. `title` says what for; `by` names the declarations that need them, empty if every
    service does.
    """

    title: str
    ports: Sequence[Port[Any]]
    by: Sequence[str] = ()

    def missing(self, there: Collection[Port[Any]]) -> list[Port[Any]]:
        """The ports that are not among these."""
        return [port for port in self.ports if port not in there]


@dataclass(frozen=True, slots=True)
class Role:
    """Runners that are started, stopped and paused together: `freehold run --role relay`.

    runners       makes new runners at each start of the role; none if there is nothing to do.
    wakes_on      signals, and the class of the runners that each of them wakes.
    calls_on      signals, and what each of them does with every runner of the role; it must not block or raise.
    needs_broker  the role is started once the broker is connected.
    stops_last    the role is stopped last: it publishes what the others stage while they stop.
    """

    name: str
    runners: Callable[[ServiceContext], Sequence[Runner]]
    wakes_on: Mapping[Signal, type[Runner]] = field(default_factory=dict)
    calls_on: Mapping[Signal, Callable[[Runner], None]] = field(default_factory=dict)
    needs_broker: bool = False
    stops_last: bool = False

    @property
    def signals(self) -> frozenset[Signal]:
        """The signals that runners of the role wait for."""
        return frozenset((*self.wakes_on, *self.calls_on))


@dataclass(frozen=True, slots=True)
class Pruning:
    """Rows with a retention. `prune` deletes at most `limit` rows that are older than `older_than_seconds`, and returns
    how many; it is not called for engines without the port. `oldest_seconds` is the age of the oldest row, for tables
    that grow with each message: `doctor` reports it as `title`.
    """

    name: str
    port: Port[Any]
    prune: Callable[[ServiceContext, float, int], Awaitable[int]]
    keep_seconds: Callable[[Settings], float]
    title: str = ""
    oldest_seconds: Callable[[ServiceContext], Awaitable[float]] | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """Work with due times, which `role` does. `seconds` is the time until the next of it is due: below 0 if it is
    overdue, None if there is none. It is called only if `needed` says that the service has such work.
    """

    what: str
    role: str
    port: Port[Any]
    seconds: Callable[[ServiceContext], Awaitable[float | None]]
    needed: Callable[[ServiceContext], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a pattern makes in the database besides its migrations. Any number of processes may do this at once.

    missing   names of what is declared, and not made yet or made from another definition.
    make      makes one of them; an existing one is not changed.
    defects   what was made, and is lost or changed now; reads only.
    repair    repairs the defects that can be repaired without loss; returns their subjects.
    """

    missing: Callable[[ServiceContext], Awaitable[Sequence[str]]]
    make: Callable[[ServiceContext, str], Awaitable[None]]
    defects: Callable[[ServiceContext], Awaitable[Sequence[Defect]]]
    repair: Callable[[ServiceContext], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """A value for operators, read from the database if the engine has the port: a number, or several in a mapping or
    dataclass. `name` is its key in documents. `watches`: reading it takes seconds, so only `ps` does.
    """

    name: str
    help: str
    port: Port[Any]
    read: Callable[[ServiceContext], Awaitable[Any]]
    watches: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Metrics that are read together from the service's database (or its broker, with `asks_broker`), by one exporter
    for each database. `read` returns the values by labels; what is not known is left out, and never 0. It is called
    only if the engine has the port and `needed` says that the service has such things.
    """

    name: str
    families: Sequence[MetricFamily]
    port: Port[Any]
    read: Callable[[ServiceContext], Awaitable[Values]]
    needed: Callable[[ServiceContext], bool] = lambda _: True
    asks_broker: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `ps`. `show` gets the service's metrics by name; the column is `-` if `metric` was not read."""

    title: str
    metric: str
    show: Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice of readiness, which does not make a service unready: `read` returns a sentence, empty for none. `about`
    names a dependency (`freehold.outages.BROKER`): the notice is shown with its outage. Without it the notice is shown
    under its own name.
    """

    name: str
    port: Port[Any]
    read: Callable[[ServiceContext], Awaitable[str]]
    about: str = ""


def _needs_nothing(_: object) -> Sequence[Need]:
    """No port is needed."""
    return ()


def _wires_nothing(_: ServiceContext) -> None:
    """Nothing is made."""


def _no_flows(_: str, __: object) -> Sequence[Flow]:
    """No message is sent."""
    return ()


def _describes_nothing(_: object) -> Mapping[str, Any]:
    """Nothing is shown."""
    return {}


@dataclass(frozen=True)  # no slots: `Pattern[R](...)` raises TypeError on Python 3.11 with both
class Pattern(Generic[R]):
    """A pattern, declared once.

    name          unique in a service.
    summary       one line, for people.
    declares      makes the registry of one service, which contains the service's declarations.
    needs         the ports that a service with these declarations needs; without them it does not start.
    reads         the topics that it reads from the broker, if it reads any: their lag is shown.
    wire          makes the pattern's objects, offers them to other patterns, subscribes to signals. It does no I/O, and
                  is called in the order of the patterns, when a running service is made.
    probes        checks of the database for `doctor`.
    due           its work with due times: `doctor` and readiness report overdue work.
    preparation   what it makes in the database besides its tables: `db upgrade` makes it, and repairs it.
    migrations    the pattern's own tables, applied together with the service's, in the order of all names.
    metrics       values for `ps` and health; `columns` are how `ps` shows them, one for each metric if there are none.
    families      metrics that its objects count in each process; `readings` are those that are read from the database.
    notices       notices of readiness.
    traces        where `trace` searches.
    describe      the document that `describe` shows of a registry; nothing is shown for an empty mapping.
    lines         the same as text, made from that document; without it, one line for each of its keys.
    flows         the messages between services because of a service and its registry: the data-flow map.
    commands      names of commands, and where they are: `"tally": "tests.toy:group"`. Imported when called.
    routes        the function that makes the pattern's router for FastAPI: `"tests.toy:router"`. Imported when an
                  application is made.
    provisions    stores of the pattern's own ports, by the name of the engine: `{"SQLite": (provide(…),)}`.
    """

    name: str
    summary: str
    declares: Callable[[str], R]
    needs: Callable[[R], Sequence[Need]] = _needs_nothing
    reads: Callable[[R], Collection[str]] | None = None
    wire: Callable[[ServiceContext], None] = _wires_nothing
    roles: Sequence[Role] = ()
    checks: Sequence[Check] = ()
    pruning: Sequence[Pruning] = ()
    due: Sequence[Due] = ()
    preparation: Preparation | None = None
    migrations: Sequence[Migration] = ()
    metrics: Sequence[Metric] = ()
    columns: Sequence[Column] = ()
    families: Sequence[MetricFamily] = ()
    readings: Sequence[Reading] = ()
    notices: Sequence[Notice] = ()
    probes: Sequence[Callable[[ServiceContext], Awaitable[Sequence[CheckResult]]]] = ()
    traces: Sequence[Trace] = ()
    describe: Callable[[R], Mapping[str, Any]] = _describes_nothing
    lines: Callable[[Mapping[str, Any]], Sequence[str | Listing]] | None = None
    flows: Callable[[str, R], Sequence[Flow]] = _no_flows
    commands: Mapping[str, str] = field(default_factory=dict)
    routes: str = ""
    provisions: Mapping[str, Sequence[Provision[Any]]] = field(default_factory=dict)
