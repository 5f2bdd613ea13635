"""What a pattern declares of itself: the ports that it needs, its runners, checks, pruning, what doctor, `ps` and
`describe` show of it, and its commands. Port: imports the foundation, the ports and the context; knows no pattern.

A pattern is a value. Whoever knows all patterns (the running service, the pruner, the command line) walks over a list:
the built-in ones of `freehold.runtime.patterns`, and those that a service names in `Service(patterns=(…,))`.
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
    "Migration",
    "Need",
    "Notice",
    "Pattern",
    "Phase",
    "Port",
    "Preparation",
    "Provision",
    "Pruning",
    "Role",
    "Runner",
    "ServiceContext",
    "Settings",
    "Signal",
    "Trace",
    "TraceQuery",
    "Traced",
    "is_role_running",
    "provide",
    "read_envelope",
    "traced",
]

R = TypeVar("R")


def is_role_running(role: str) -> str:
    """What an operator is to look at where the work of a role is not done."""
    return f"does a process run the role '{role}'? see /readyz and the log of the service"


class Phase(StrEnum):
    """When a check is made.

    DECLARED   all modules are imported, nothing is opened.
    OPENED     the database is open, its schema is there.
    CONNECTED  the broker is connected; again after each time that it was away.
    """

    DECLARED = "declared"
    OPENED = "opened"
    CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class Check:
    """What has to fit together, or is to be prepared, before a service works. `run` raises what keeps it from it."""

    phase: Phase
    run: Callable[[ServiceContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Need:
    """Ports that a service needs. `title` says what for; `by` names what the service declares, empty where every
    service needs them.
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

    runners       makes them again at each start of the role; none where there is nothing to do for them.
    wakes_on      signals, and the class of the runners that each of them wakes.
    needs_broker  it is started once the broker is connected.
    stops_last    it publishes what the others stage while they are stopped.
    """

    name: str
    runners: Callable[[ServiceContext], Sequence[Runner]]
    wakes_on: Mapping[Signal, type[Runner]] = field(default_factory=dict)
    needs_broker: bool = False
    stops_last: bool = False


@dataclass(frozen=True, slots=True)
class Pruning:
    """Rows that end. `prune` deletes at most `limit` of those that ended more than `older_than_seconds` ago and returns
    how many it deleted; engines without the port have none. `oldest_seconds` says how old the oldest row is, where that
    is to be told as `title`: of tables that grow with each message.
    """

    name: str
    port: Port[Any]
    prune: Callable[[ServiceContext, float, int], Awaitable[int]]
    keep_seconds: Callable[[Settings], float]
    title: str = ""
    oldest_seconds: Callable[[ServiceContext], Awaitable[float]] | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What is done at its time. `seconds` says in how long the next of it is due, below 0 where it is overdue and None
    where there is none; `role` does it. It is asked where `needed` says that the service has any.
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
    make      makes one of them; what is there already stays.
    defects   what was made and is lost or changed; reads only.
    repair    makes good those defects by which nothing is lost; returns their subjects.
    """

    missing: Callable[[ServiceContext], Awaitable[Sequence[str]]]
    make: Callable[[ServiceContext, str], Awaitable[None]]
    defects: Callable[[ServiceContext], Awaitable[Sequence[Defect]]]
    repair: Callable[[ServiceContext], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """What an operator watches, read from the database where the engine has the port: a number, or several in a mapping
    or dataclass. `name` is its key in documents. `watches`: it looks for some time, and only `ps` asks for it.
    """

    name: str
    help: str
    port: Port[Any]
    read: Callable[[ServiceContext], Awaitable[Any]]
    watches: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `ps`: what it shows of the service's metrics, which are given by name; `-` where `metric` was not
    read.
    """

    title: str
    metric: str
    show: Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Notice:
    """What readiness tells and takes from nobody: `read` gives a sentence, empty for nothing. `about` names a
    dependency (`freehold.outages.BROKER`) with whose outage it is told; without, it stands by its own name.
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
    """No message goes anywhere."""
    return ()


def _describes_nothing(_: object) -> Mapping[str, Any]:
    """Nothing is shown."""
    return {}


@dataclass(frozen=True)  # no slots: `Pattern[R](...)` raises TypeError on Python 3.11 with both
class Pattern(Generic[R]):
    """A pattern, declared once.

    name          unique in a service.
    summary       one line, for people.
    declares      makes the registry of one service, in which the service's declarations are kept.
    needs         the ports without which a service that declares this does not start.
    reads         the topics that it reads of the broker, where it reads any: their lag is told.
    wire          makes what the pattern works with, offers it to others, subscribes to signals. It does no I/O, and is
                  called in the order of the patterns, when a running service is made.
    probes        what `doctor` finds in the database.
    due           what is done at its time: what is overdue is told by `doctor` and readiness.
    preparation   what it makes in the database besides, by `db upgrade`, and makes again where it is lost.
    migrations    the pattern's own tables, applied together with the service's, in the order of all names.
    metrics       what `ps` and health tell of it; `columns` are how `ps` shows it, each metric alone where it has none.
    notices       what readiness tells besides.
    traces        where `trace` finds what is asked for.
    describe      what `describe` shows of a registry as a document; an empty mapping shows nothing.
    lines         the same as text, made of that document; without, one line for each of its keys.
    flows         the messages that go between services because of a service and its registry: the data-flow map.
    commands      name of a command, and where it is: `"tally": "tests.toy:group"`. Imported when it is called.
    routes        where the function is that makes the pattern's router for FastAPI: `"tests.toy:router"`. Imported
                  when an application is made.
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
    notices: Sequence[Notice] = ()
    probes: Sequence[Callable[[ServiceContext], Awaitable[Sequence[CheckResult]]]] = ()
    traces: Sequence[Trace] = ()
    describe: Callable[[R], Mapping[str, Any]] = _describes_nothing
    lines: Callable[[Mapping[str, Any]], Sequence[str | Listing]] | None = None
    flows: Callable[[str, R], Sequence[Flow]] = _no_flows
    commands: Mapping[str, str] = field(default_factory=dict)
    routes: str = ""
    provisions: Mapping[str, Sequence[Provision[Any]]] = field(default_factory=dict)
