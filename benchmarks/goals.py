"""What `make bench` shows: the rows of the table, what is measured for each, and what should be reached. Data only.

A row has runs of one case by several sides, which alternate. A goal compares the medians over the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.cases.conditions import Conditions

__all__ = ["BEFORE", "NOW", "ROWS", "Goal", "Row", "Run"]

NOW: Final = "now"
BEFORE: Final = "before"
TXOUTBOX: Final = "txoutbox"
DBOS: Final = "DBOS"
BY_HAND: Final = "by hand"


@dataclass(frozen=True, slots=True)
class Run:
    """A case, its conditions, and the servers that it needs. A `peer` runs in the peers' environment."""

    module: str
    conditions: Conditions
    engine: str = "postgresql"
    broker: str = "memory"
    peer: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of `now`, divided by `other` (by default the same figure) of the side `beside`, within a bound.

    Without `beside` the figure itself is within the bound.
    """

    figure: str
    beside: str = ""
    at_most: float | None = None
    at_least: float | None = None
    other: str = ""

    def __str__(self) -> str:
        sign, bound = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        what = NAMES[self.figure][0]
        if not self.beside:
            return f"{what} {sign} {bound:g} {NAMES[self.figure][1]}".rstrip()
        whose = f"of {self.beside}" if not self.other else f"{NAMES[self.other][0]} of {self.beside}"
        return f"{what} {sign} {bound:g} × {whose}"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: `runs` by side, the figures shown, the goals, and how often it is repeated at most."""

    key: str
    what: str
    runs: Mapping[str, Run]
    shown: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    rounds_max: int = 9
    limit_seconds: float = field(default=300.0)


NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "p50_ms": ("p50", "ms"),
    "p99_ms": ("p99", "ms"),
    "cpu_ms": ("processor", "ms"),
    "cpu_us": ("processor", "µs"),
    "per_second": ("rate", "/s"),
    "commits": ("commits", ""),
    "trips": ("trips", ""),
    "ratio": ("with ÷ without", ""),
    "with": ("with a message", "/s"),
    "without": ("without", "/s"),
    "core_percent": ("processor", "% of a core"),
    "pss_mib": ("memory", "MiB"),
    "ready_s": ("ready again", "s"),
    "p50_s": ("p50 of an order", "s"),
}
"""What a figure is called, and its unit."""

_CASES: Final = "benchmarks.cases."
_PEERS: Final = "benchmarks.peers."


def _both(module: str, conditions: Conditions, *, engine: str = "postgresql", broker: str = "memory") -> dict[str, Run]:
    run = Run(_CASES + module, conditions, engine, broker)
    return {BEFORE: run, NOW: run}


def _peer(module: str, conditions: Conditions) -> Run:
    return Run(_PEERS + module, conditions, peer=True)


def _floor(conditions: Conditions, *, broker: str = "memory") -> Run:
    return Run(_CASES + "floors", conditions, broker=broker)


def _engines(module: str, conditions: Conditions) -> dict[str, Run]:
    return {
        NOW: Run(_CASES + module, conditions),
        "MariaDB": Run(_CASES + module, conditions, engine="mariadb"),
    }


def _hop(variant: str, rate_per_second: float, seconds: float, instances: int = 1) -> Conditions:
    return Conditions(variant=variant, rate_per_second=rate_per_second, seconds=seconds, instances=instances)


def _commits(at_once: int, at_most: float) -> Row:
    return Row(
        f"calls-{at_once}-commits",
        f"the same, {at_once} at once, without a hook at the end",
        _both("sagas", Conditions(variant="plain-calls", concurrency=at_once, seconds=1.2)),
        ("commits",),
        (Goal("commits", at_most=at_most),),
        rounds_max=1,
    )


def _calls(at_once: int, times_before: float) -> Row:
    wanted = Conditions(variant="calls", concurrency=at_once, seconds=1.2)
    runs = {
        **_both("sagas", wanted),
        DBOS: _peer("dbos", wanted),
        BY_HAND: _floor(Conditions(variant="saga", concurrency=at_once, seconds=1)),
    }
    return Row(
        f"calls-{at_once}",
        f"sagas of four calls, {at_once} at once",
        runs,
        ("per_second", "p50_ms", "commits", "cpu_ms"),
        (Goal("per_second", BEFORE, at_least=times_before),),
    )


def _transaction(at_once: int) -> tuple[Row, Row]:
    def given(variant: str) -> Conditions:
        return Conditions(variant=variant, concurrency=at_once, seconds=1.05)

    beside = {TXOUTBOX: _peer("txoutbox", given("transaction")), BY_HAND: Run(_CASES + "outbox", given("byhand"))}
    shown = ("ratio", "with", "without")
    how = f"{at_once} at once"
    return (
        Row(
            f"transaction-{at_once}",
            f"transaction with a message ÷ without, {how}",
            {**_both("outbox", given("ours")), **beside},
            shown,
            (Goal("ratio", at_least=0.8),),
        ),
        Row(
            f"enlisted-{at_once}",
            f"the same in a session of the user's, {how}",
            _both("outbox", given("enlisted")),
            shown,
            (Goal("ratio", at_least=0.7),),
        ),
    )


def _shop(profile: str, checkout: str, times_before: float) -> Row:
    conditions = Conditions(variant=f"replay {profile} {checkout}", messages=200)
    return Row(
        f"shop-{profile}-{checkout}",
        f"shop, {profile}, {'orchestrated' if checkout == 'saga' else checkout}",
        _both("shop", conditions, engine="", broker=""),
        ("per_second", "p50_s"),
        (Goal("per_second", BEFORE, at_least=times_before),),
        rounds_max=2,
    )


_BACKLOG: Final = Conditions(variant="relay", messages=100_000)
_INBOX: Final = Conditions(variant="inbox-row", messages=10_000)
_LATENCY: Final = ("p50_ms", "p99_ms", "cpu_ms")

ROWS: Final[tuple[Row, ...]] = (
    Row(
        "hop-memory",
        "commit → handler, 100/s, memory",
        {**_both("hop", _hop("together", 100, 3)), TXOUTBOX: _peer("txoutbox", _hop("hop", 100, 3))},
        _LATENCY,
        (Goal("p50_ms", TXOUTBOX, at_most=1.7), Goal("p99_ms", TXOUTBOX, at_most=3)),
    ),
    Row(
        "hop-embedded",
        "commit → handler, 100/s, embedded, another process",
        _both("hop", _hop("apart", 100, 2.5), broker="embedded"),
        _LATENCY,
        (Goal("p50_ms", BEFORE, at_most=0.2),),
    ),
    Row(
        "hop-nats",
        "commit → handler, 100/s, NATS, another process",
        _both("hop", _hop("apart", 100, 2.5), broker="nats"),
        _LATENCY,
        (Goal("p50_ms", BEFORE, at_most=0.2),),
    ),
    Row(
        "hop-instances",
        "two instances of each service, 20/s, NATS",
        _both("hop", _hop("apart", 20, 10, 2), broker="nats"),
        _LATENCY,
        (Goal("p99_ms", NOW, at_most=10, other="p50_ms"),),
    ),
    Row(
        "hop-1000",
        "commit → handler, 1,000/s asked for, memory",
        {**_both("hop", _hop("together", 1000, 2)), TXOUTBOX: _peer("txoutbox", _hop("hop", 1000, 2))},
        ("p50_ms", "p99_ms", "cpu_ms", "per_second"),
        (Goal("cpu_ms", BEFORE, at_most=0.7), Goal("p50_ms", BEFORE, at_most=0.5)),
    ),
    Row(
        "commands",
        "saga of four commands, alone",
        _both("sagas", Conditions(variant="commands", seconds=2)),
        ("p50_ms", "commits", "cpu_ms"),
        (Goal("p50_ms", BEFORE, at_most=0.4),),
    ),
    Row(
        "commands-trips",
        "the same, round trips to the databases",
        _both("sagas", Conditions(variant="commands-trips", seconds=2)),
        ("trips",),
        (Goal("trips", at_most=55),),
        rounds_max=1,
    ),
    _calls(1, 2.5),
    _calls(10, 2),
    _calls(50, 2),
    _commits(1, 5.2),
    _commits(50, 1.5),
    *_transaction(1),
    *_transaction(10),
    Row(
        "relay-memory",
        "relay in order, backlog of 100,000, memory",
        {
            **_both("backlog", _BACKLOG),
            TXOUTBOX: _peer("txoutbox", _BACKLOG),
            BY_HAND: _floor(_BACKLOG),
        },
        ("per_second", "cpu_us"),
        (Goal("per_second", BEFORE, at_least=2),),
        rounds_max=3,
    ),
    Row(
        "relay-nats",
        "relay in order, backlog of 100,000, NATS",
        {
            **_both("backlog", _BACKLOG, broker="nats"),
            BY_HAND: _floor(Conditions(variant="nats", messages=100_000), broker="nats"),
        },
        ("per_second", "cpu_us"),
        (Goal("per_second", BY_HAND, at_least=0.8),),
        rounds_max=3,
    ),
    Row(
        "inbox",
        "inbox, a row written for each message",
        {**_both("backlog", _INBOX), BY_HAND: _floor(Conditions(variant="inbox", messages=10_000))},
        ("per_second", "cpu_us"),
        (Goal("per_second", BEFORE, at_least=2),),
        rounds_max=3,
    ),
    _shop("servers", "saga", 2),
    _shop("servers", "choreographed", 2),
    _shop("embedded", "saga", 1.5),
    _shop("embedded", "choreographed", 1.5),
    Row(
        "idle",
        "a service of the idle shop, servers",
        _both("shop", Conditions(variant="idle servers", seconds=60), engine="", broker=""),
        ("core_percent", "pss_mib", "ready_s"),
        (Goal("core_percent", at_most=0.2), Goal("pss_mib", at_most=30), Goal("ready_s", at_most=0.4)),
        rounds_max=1,
    ),
    Row(
        "mariadb-transaction",
        "transactions with a message, 10 at once",
        _engines("outbox", Conditions(variant="ours", concurrency=10, seconds=1.05)),
        ("with", "ratio"),
    ),
    Row(
        "mariadb-relay",
        "relay in order, memory",
        _engines("backlog", Conditions(variant="relay", messages=10_000)),
        ("per_second",),
        rounds_max=3,
    ),
    Row(
        "mariadb-inbox",
        "inbox, a row written for each message",
        _engines("backlog", Conditions(variant="inbox-row", messages=4_000)),
        ("per_second",),
        rounds_max=3,
    ),
    Row(
        "mariadb-events",
        "events appended, one in a transaction, 10 at once",
        _engines("events", Conditions(concurrency=10, seconds=1)),
        ("per_second",),
    ),
    Row(
        "mariadb-calls",
        "sagas of four calls, 10 at once",
        _engines("sagas", Conditions(variant="calls", concurrency=10, seconds=1.2)),
        ("per_second", "p50_ms"),
    ),
)
