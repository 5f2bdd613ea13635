"""Which ports the patterns that a service uses need, and the check that its engine has them. Runtime.

Until each pattern declares its needs itself, they are listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from freehold.audit.store import AUDIT
from freehold.binding import database_engines
from freehold.consistency.store import PROGRESS
from freehold.deadletters.store import DEAD_LETTERS
from freehold.eventstore.store import EVENTS
from freehold.inbox.store import INBOX
from freehold.leases.store import LEASES
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.sent import SENT
from freehold.outbox.store import OUTBOX
from freehold.ports import MissingPort, Port, Stores
from freehold.projection.store import CHECKPOINTS
from freehold.projection.view_store import VIEWS
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.store import RECONCILIATIONS
from freehold.saga.store import SAGAS
from freehold.schedule.store import SCHEDULE
from freehold.service import Service

__all__ = ["Need", "check_ports", "needs_of"]


@dataclass(frozen=True, slots=True)
class Need:
    """The ports that a pattern needs in a service. `by` names what the service declares of the pattern; empty for what
    every service uses.
    """

    pattern: str
    ports: Sequence[Port[Any]]
    by: Sequence[str] = ()

    def missing(self, there: Collection[Port[Any]]) -> list[Port[Any]]:
        """The ports that are not among these."""
        return [port for port in self.ports if port not in there]


_PATTERNS: Final[tuple[tuple[str, Sequence[Port[Any]], Callable[[Service], Sequence[str]]], ...]] = (
    ("inbox", (INBOX, DEAD_LETTERS, PROGRESS), lambda service: sorted(service.topics)),
    ("saga", (SAGAS,), lambda service: sorted({name for name, _ in service.sagas})),
    ("projection", (EVENTS, CHECKPOINTS, LEASES, AUDIT), lambda service: sorted(service.projections)),
    ("materialized view", (VIEWS, LEASES), lambda service: sorted(service.materialized_views)),
    ("reconcile", (RECONCILIATIONS, DATASETS, LEASES), lambda service: sorted(service.copied)),
    ("offered dataset", (DATASETS,), lambda service: sorted(service.offered)),
)


def needs_of(service: Service) -> list[Need]:
    """What the patterns need that a service uses."""
    return [
        Need("outbox", (OUTBOX, SENT, BROKER_LOGS, LEASES)),
        Need("schedule", (SCHEDULE,)),
        *(Need(pattern, ports, by) for pattern, ports, find in _PATTERNS if (by := find(service))),
    ]


def check_ports(service: Service, stores: Stores) -> None:
    """Refuse a service whose engine lacks a port that it needs; all that is missing is told. Raises `MissingPort`."""
    lacking = [(need, port) for need in needs_of(service) for port in need.missing(list(stores))]
    if not lacking:
        return
    told = "; ".join(
        f"{need.pattern} needs the port '{port}' ({port.title}), which {stores.engine} does not have"
        for need, port in lacking
    )
    raise MissingPort(f"service '{service.name}': {told}", hint="; ".join(_hints(lacking)))


def _hints(lacking: Sequence[tuple[Need, Port[Any]]]) -> Iterator[str]:
    engines = database_engines()
    for port in dict.fromkeys(port for _, port in lacking):
        having = sorted(name for name, ports in engines.items() if port in ports)
        yield f"engines that have '{port}': {', '.join(having) or 'none'}"
    by = [name for need in dict.fromkeys(need.pattern for need, _ in lacking) for name in _by(lacking, need)]
    if by:
        yield f"needed by {', '.join(by)}"


def _by(lacking: Sequence[tuple[Need, Port[Any]]], pattern: str) -> Sequence[str]:
    return next(need.by for need, _ in lacking if need.pattern == pattern)
