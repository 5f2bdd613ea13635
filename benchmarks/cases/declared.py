"""The services of the cases, their messages and sagas. Imports Freehold's public names, which are the same on the
commit that is compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.cases.conditions import Conditions

from freehold import CallContext, Migration, Saga, Service, Settings, Transaction, call, command, event, step

__all__ = [
    "INSERT",
    "TEXT",
    "Calls",
    "Commands",
    "Placed",
    "PlainCalls",
    "State",
    "publisher",
    "reader",
    "settings",
    "worker",
]

TEXT: Final = "x" * 200
"""What a message carries besides its key."""
INSERT: Final = "INSERT INTO placed (id, body) VALUES ($1, $2)"
_TABLE: Final = "CREATE TABLE {} (id VARCHAR(64) PRIMARY KEY, body VARCHAR(300) NOT NULL)"


@event("bench.placed", key="key")
class Placed:
    """An event of the service `bench`."""

    key: str
    number: int
    text: str


@command("worker.work", key="name")
class Work:
    """A command of the sagas; its answer has nothing in it."""

    name: str


@dataclass(frozen=True, slots=True)
class State:
    """The state of the sagas."""

    name: str


async def _effect(_state: State, _context: CallContext) -> None:
    """Stands for a request to a service outside, which takes no time."""


ended: Callable[[str], None] = lambda _name: None  # noqa: E731 - a hook that a case replaces
"""Called when a saga ends."""


async def _ended(state: State, _tx: Transaction) -> None:
    ended(state.name)


class Commands(Saga[State], name="bench.commands", key="name"):
    """Four commands, one after the other."""

    first = step(Work, no_compensation=True)
    second = step(Work, no_compensation=True, after=first)
    third = step(Work, no_compensation=True, after=second)
    fourth = step(Work, no_compensation=True, after=third)
    on_completed = _ended


class Calls(Saga[State], name="bench.calls", key="name"):
    """Four calls, one after the other."""

    first = call(_effect, no_compensation=True)
    second = call(_effect, no_compensation=True, after=first)
    third = call(_effect, no_compensation=True, after=second)
    fourth = call(_effect, no_compensation=True, after=third)
    on_completed = _ended


class PlainCalls(Saga[State], name="bench.plain-calls", key="name"):
    """The same without a hook at its end."""

    first = call(_effect, no_compensation=True)
    second = call(_effect, no_compensation=True, after=first)
    third = call(_effect, no_compensation=True, after=second)
    fourth = call(_effect, no_compensation=True, after=third)


def publisher(*sagas: type[Saga[Any]]) -> Service:
    """The service that publishes, and orchestrates the sagas."""
    service = Service("bench", migrations=[Migration("001", {"": [_TABLE.format("placed")]})])
    for saga in sagas:
        service.orchestrates(saga)
    return service


def reader(handle: Callable[[Placed, Transaction], Awaitable[None]]) -> Service:
    """The service that handles what is published."""
    service = Service("reader", migrations=[Migration("001", {"": [_TABLE.format("placed")]})])
    service.handles(Placed)(handle)
    return service


def worker() -> Service:
    """The service that carries out the commands."""
    service = Service("worker")

    @service.handles(Work)
    async def work(_command: Work, _tx: Transaction) -> None:
        """Answered with nothing."""

    return service


def settings(name: str, database: str, conditions: Conditions) -> Settings:
    """The defaults, on this database and the broker of the conditions."""
    return Settings.load(
        name,
        environ={},
        database=database,
        broker=conditions.broker,
        broker_options={"prefix": conditions.prefix},
        log_tracebacks=False,
    )
