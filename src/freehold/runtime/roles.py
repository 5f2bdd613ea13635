"""Starts and stops the runners of a service by role. Runtime: iterates over the declarations of patterns.

`relay` publishes the outbox, `consumer` calls handlers with messages, `deferred` retries failed messages, `schedule`
sends messages at their due time, `sagas` runs timers and calls of sagas, `projections` updates read models, `reconcile`
compares replicas on a schedule, `prune` deletes old rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from freehold.context import ServiceContext, Signal
from freehold.lifecycle import Runner, start_all
from freehold.outages import Outages, on_behalf_of
from freehold.pattern import Pattern, Role
from freehold.runtime.patterns import PATTERNS
from freehold.runtime.prune_runner import PRUNE, PruneRunner

__all__ = ["ROLES", "ServiceRunners", "roles_of"]


def roles_of(patterns: Iterable[Pattern[Any]]) -> Mapping[str, tuple[Role, ...]]:
    """The roles of patterns by name, in order; several patterns may have runners in one role. `prune` is the last."""
    found: dict[str, tuple[Role, ...]] = {}
    for pattern in patterns:
        for role in pattern.roles:
            found[role.name] = (*found.get(role.name, ()), role)
    return {**found, PRUNE: (Role(PRUNE, lambda _: []),)}


ROLES: Final = tuple(roles_of(PATTERNS))
"""The roles that every service has."""


class ServiceRunners:
    """The runners of one service in this process, by role; each role can be stopped and started again.

    outages  the outages that the runners wait for, each logged once for all of them.
    running  the runners of the roles that run, by role.
    changed  called after a role was started or stopped.
    """

    def __init__(self, context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> None:
        self.running: dict[str, list[Runner]] = {}
        self.outages = Outages(context.service, context.clock, tracebacks=context.settings.log_tracebacks)
        self.changed: Callable[[], None] = lambda: None
        self._context = context
        self._patterns = patterns
        self._roles = roles_of(patterns)
        for name, roles in self._roles.items():
            for role in roles:
                for signal, kind in role.wakes_on.items():
                    context.on(signal, partial(self._wake, name, kind))
                for signal, call in role.calls_on.items():
                    context.on(signal, partial(self._call, name, call))

    @property
    def names(self) -> Collection[str]:
        """The names of all roles that the service has."""
        return self._roles.keys()

    @property
    def signals(self) -> frozenset[Signal]:
        """The signals that wake loops of a role, whether or not the role runs here."""
        return frozenset(signal for roles in self._roles.values() for role in roles for signal in role.signals)

    @property
    def awaited(self) -> frozenset[str]:
        """The names of the signals that wake a loop which runs here now."""
        return frozenset(
            signal.name
            for name, runners in self.running.items()
            for role in self._roles[name]
            for signal in role.signals
            if any(isinstance(runner, role.wakes_on.get(signal, Runner)) for runner in runners)
        )

    @property
    def needing_broker(self) -> frozenset[str]:
        """The roles that are started once the broker is connected."""
        return frozenset(name for name, roles in self._roles.items() if any(role.needs_broker for role in roles))

    @property
    def stopping_last(self) -> frozenset[str]:
        """The roles that are stopped after the others, to publish what these stage while they stop."""
        return frozenset(name for name, roles in self._roles.items() if any(role.stops_last for role in roles))

    async def start(self, role: str) -> None:
        """Start a role. Idempotent."""
        if role in self.running:
            return
        started = self.make(role)
        self.running[role] = started
        try:
            with on_behalf_of(self.outages):
                await start_all(started)
        except BaseException:
            del self.running[role]
            raise
        self.changed()

    async def stop(self, role: str, drain_seconds: float) -> None:
        """Stop the runners of a role, in the reverse order of their start. Idempotent."""
        stopped = self.running.pop(role, [])
        self.changed()
        for runner in reversed(stopped):
            await runner.stop(drain_seconds)

    def all(self) -> Sequence[Runner]:
        """Every runner that runs here, and the runners that these have started."""
        found = [runner for runners in self.running.values() for runner in runners]
        return [*found, *(child for runner in found for child in runner.children)]

    def make(self, role: str) -> list[Runner]:
        """New runners of a role, not started."""
        if role == PRUNE:
            return [PruneRunner(self._context, [each for pattern in self._patterns for each in pattern.pruning])]
        return [runner for each in self._roles[role] for runner in each.runners(self._context)]

    def _call(self, role: str, call: Callable[[Runner], None]) -> None:
        for runner in self.running.get(role, ()):
            call(runner)

    def _wake(self, role: str, kind: type[Runner]) -> None:
        for runner in self.running.get(role, ()):
            if isinstance(runner, kind):
                runner.wake()
