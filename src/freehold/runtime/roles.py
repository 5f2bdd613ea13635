"""Starts and stops the runners of a service by role. Runtime: walks over what the patterns declare.

`relay` publishes the outbox, `consumer` brings messages to handlers, `deferred` tries failed ones again, `schedule`
sends what is due, `sagas` advances what has timers and calls, `projections` keeps read models up to date, `reconcile`
compares copies on a schedule, `prune` deletes what is old.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.lifecycle import Runner, start_all
from freehold.outages import Outages, on_behalf_of
from freehold.pattern import Pattern, Role
from freehold.runtime.patterns import PATTERNS
from freehold.runtime.prune_runner import PruneRunner

__all__ = ["PRUNE", "ROLES", "ServiceRunners", "roles_of"]

PRUNE: Final = "prune"


def roles_of(patterns: Iterable[Pattern[Any]]) -> Mapping[str, tuple[Role, ...]]:
    """The roles of patterns by name, in order; several patterns may have runners in one. Pruning is every service's."""
    found: dict[str, tuple[Role, ...]] = {}
    for pattern in patterns:
        for role in pattern.roles:
            found[role.name] = (*found.get(role.name, ()), role)
    return {**found, PRUNE: (Role(PRUNE, lambda _: []),)}


ROLES: Final = tuple(roles_of(PATTERNS))
"""The roles that every service has."""


class ServiceRunners:
    """The runners of one service in this process, by role; each role can be stopped and started again.

    outages  what is told, once, of something that all of them need and that is away.
    running  the runners by role, of roles that run.
    """

    def __init__(self, context: ServiceContext, patterns: Sequence[Pattern[Any]]) -> None:
        self.running: dict[str, list[Runner]] = {}
        self.outages = Outages(context.service, context.clock, tracebacks=context.settings.log_tracebacks)
        self._context = context
        self._patterns = patterns
        self._roles = roles_of(patterns)
        for name, roles in self._roles.items():
            for role in roles:
                for signal, kind in role.wakes_on.items():
                    context.on(signal, lambda name=name, kind=kind: self._wake(name, kind))  # type: ignore[misc] # mypy infers no lambda with defaults

    @property
    def names(self) -> Collection[str]:
        """The names of all roles that the service has."""
        return self._roles.keys()

    @property
    def needing_broker(self) -> frozenset[str]:
        """The roles that have nothing to do without a broker."""
        return frozenset(name for name, roles in self._roles.items() if any(role.needs_broker for role in roles))

    @property
    def stopping_last(self) -> frozenset[str]:
        """The roles that publish what others stage while they stop."""
        return frozenset(name for name, roles in self._roles.items() if any(role.stops_last for role in roles))

    async def start(self, role: str) -> None:
        """Start a role; nothing where it runs already."""
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

    async def stop(self, role: str, drain_seconds: float) -> None:
        """Stop a role, in the reverse order of starting; nothing where it does not run."""
        for runner in reversed(self.running.pop(role, [])):
            await runner.stop(drain_seconds)

    def all(self) -> Sequence[Runner]:
        """Every runner that runs here, with those that it has started itself."""
        found = [runner for runners in self.running.values() for runner in runners]
        return [*found, *(child for runner in found for child in runner.children)]

    def make(self, role: str) -> list[Runner]:
        """New runners of a role, not started."""
        if role == PRUNE:
            return [PruneRunner(self._context, [each for pattern in self._patterns for each in pattern.pruning])]
        return [runner for each in self._roles[role] for runner in each.runners(self._context)]

    def _wake(self, role: str, kind: type[Runner]) -> None:
        for runner in self.running.get(role, ()):
            if isinstance(runner, kind):
                runner.wake()
