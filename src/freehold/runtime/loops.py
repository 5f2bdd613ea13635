"""Makes the loops of a service by role. Runtime: the composition root of the patterns.

`relay` publishes the outbox, `consumer` brings messages to handlers, `deferred` tries failed ones again, `schedule`
sends what is due, `sagas` advances what has timers and calls, `projections` keeps read models up to date, `reconcile`
compares copies on a schedule, `prune` deletes what is old.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from freehold.broker import Broker
from freehold.consistency.store import PROGRESS
from freehold.context import ServiceContext
from freehold.deadletters.store import DEAD_LETTERS
from freehold.ids import new_id
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.deferred_runner import DeferredRunner
from freehold.inbox.dispatcher import Dispatcher
from freehold.inbox.store import INBOX
from freehold.inbox.work import MessageRouter
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import LEASES
from freehold.lifecycle import Runner, start_all
from freehold.outages import Outages, on_behalf_of
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.store import OUTBOX
from freehold.outbox.watermark import Lanes
from freehold.ports import Stores
from freehold.projection.service_runner import ProjectionCoordinator
from freehold.runtime.checks import lanes_in_order
from freehold.runtime.log_watch import LogWatch
from freehold.runtime.projecting import projection_loops
from freehold.runtime.prune_runner import PruneRunner
from freehold.runtime.reconciling import reconcile_loops
from freehold.runtime.sagas import SagaWiring
from freehold.schedule.schedule_runner import ScheduleRunner
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transactions

__all__ = ["BROKER_ROLES", "ROLES", "ServiceRunners", "relay_loops"]

ROLES: Final = ("relay", "consumer", "deferred", "schedule", "sagas", "projections", "reconcile", "prune")
BROKER_ROLES: Final = frozenset({"relay", "consumer"})
"""What has nothing to do without a broker."""
_PREFIX = "outbox/"
_VISIBILITY_MARGIN_SECONDS = 30.0


def member_name() -> str:
    """A name for a holder of leases: where it runs, for people, and a number, to be unique."""
    return f"{socket.gethostname()}-{os.getpid()}-{new_id().hex[-8:]}"


def relay_loops(
    context: ServiceContext, stores: Stores, broker: Broker, settings: Settings, watch: LogWatch | None = None
) -> list[Runner]:
    """The relay with the keeper of its leases; needs an open database."""
    names = {f"{_PREFIX}{partition}": partition for partition in range(stores[OUTBOX].partitions)}
    relay = RelayRunner(
        context.service,
        stores,
        broker,
        lambda: {names[name]: token for name, token in keeper.tokens.items()},
        clock=context.clock,
        poll_seconds=settings.poll_seconds,
        lanes=_lanes(context, stores, broker),
        keeps_sent=settings.outbox_sent_retention_seconds > 0,
        known_log=watch,
        recall_seconds=settings.dedup_window_seconds,
    )
    keeper = LeaseManager(
        stores[LEASES],
        _PREFIX,
        tuple(names),
        member_name(),
        settings.lease_seconds,
        context.clock,
        on_change=relay.wake,
        before_give_back=relay.finish_round,
    )
    return [keeper, relay]


def _lanes(context: ServiceContext, stores: Stores, broker: Broker) -> Lanes | None:
    """What the relay says of lanes; nothing where a lane's messages do not come in order."""
    if not lanes_in_order(stores[OUTBOX].partitions, broker.partitions) or not Lanes.can_name(context.service):
        return None
    return Lanes(context.service, stores[OUTBOX].partitions, context.clock)


@dataclass(slots=True)
class ServiceRunners:
    """The loops of one service that run in this process, by role; each role can be stopped and started again."""

    service: Service
    settings: Settings
    stores: Stores
    broker: Broker
    transactions: Transactions
    sagas: SagaWiring
    running: dict[str, list[Runner]] = field(default_factory=dict)
    on_progress: Callable[[], None] = field(default=lambda: None)
    watch: LogWatch | None = None
    outages: Outages = field(init=False)

    def __post_init__(self) -> None:
        """Make what all of them share."""
        self.outages = Outages(
            self.service.name, self.transactions.context.clock, tracebacks=self.settings.log_tracebacks
        )

    def wake(self, role: str) -> None:
        """End the idle wait of a role's loops; nothing where it does not run here."""
        for runner in self.running.get(role, ()):
            runner.wake()

    def appended(self) -> None:
        """Tell who follows the events of this service that there are new ones."""
        for runner in self.running.get("projections", ()):
            if isinstance(runner, ProjectionCoordinator):
                runner.wake()

    async def start(self, role: str) -> None:
        """Start a role; nothing where it runs already."""
        if role in self.running:
            return
        started = self._make(role)
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
        """Every loop that runs here."""
        found = [runner for runners in self.running.values() for runner in runners]
        followers = [runner for runner in found if isinstance(runner, ProjectionCoordinator)]
        return [*found, *(runner for follower in followers for runner in follower.runners)]

    def _make(self, role: str) -> list[Runner]:
        makers: dict[str, Callable[[], list[Runner]]] = {
            "relay": lambda: relay_loops(
                self.transactions.context, self.stores, self.broker, self.settings, self.watch
            ),
            "consumer": self._consumer,
            "deferred": self._deferred,
            "schedule": self._schedule,
            "sagas": self.sagas.loops,
            "projections": lambda: projection_loops(
                self.service, self.settings, self.stores, self.transactions, member_name(), self.on_progress
            ),
            "reconcile": lambda: reconcile_loops(
                self.service, self.settings, self.stores, self.transactions.context.clock, member_name()
            ),
            "prune": lambda: [PruneRunner(self.stores, self.settings, clock=self.transactions.context.clock)],
        }
        return makers[role]()

    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self.transactions,
            self.stores[INBOX],
            self.stores[DEAD_LETTERS],
            consumer=self.service.name,
            progress=self.stores[PROGRESS],
            on_progress=self.on_progress,
            handler_timeout_seconds=self.settings.handler_timeout_seconds,
            on_deferred=lambda: self.wake("deferred"),
            replies=self.sagas.engine,
        )

    def _reader(self) -> MessageRouter:
        return MessageRouter(self.service.handlers.values(), self.sagas.engine)

    def _consumer(self) -> list[Runner]:
        if not self.service.topics:
            return []
        return [
            ConsumerRunner(
                self._dispatcher(),
                self._reader(),
                self.broker,
                self.service.topics,
                workers=self.settings.workers,
                batch_limit=self.settings.batch_limit,
                killed_attempts_max=self.settings.killed_attempts_max,
                linger_seconds=self.service.linger_seconds,
            )
        ]

    def _deferred(self) -> list[Runner]:
        if not self.service.topics:
            return []
        limits = [each.timeout_seconds or 0.0 for each in self.service.handlers.values()]
        longest_seconds = max([self.settings.handler_timeout_seconds, *limits])
        return [
            DeferredRunner(
                self._dispatcher(),
                self._reader(),
                visibility_seconds=longest_seconds + _VISIBILITY_MARGIN_SECONDS,
                poll_seconds=2 * self.settings.poll_seconds,
                killed_attempts_max=self.settings.killed_attempts_max,
            )
        ]

    def _schedule(self) -> list[Runner]:
        return [
            ScheduleRunner(
                self.transactions.context.service,
                self.stores,
                on_moved=lambda: self.wake("relay"),
                clock=self.transactions.context.clock,
            )
        ]
