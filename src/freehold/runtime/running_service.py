"""A service at work: its database and broker opened, its loops running, transactions for whoever calls. Runtime.

To be made and entered in the process and event loop that runs it: after a fork, never before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from freehold.aggregate import VersionMismatch
from freehold.binding import open_broker, open_stores
from freehold.broker import Broker
from freehold.clock import Clock, SystemClock
from freehold.consistency.signer import TokenSigner
from freehold.consistency.store import PROGRESS
from freehold.context import ServiceContext
from freehold.database import check_owner
from freehold.errors import ConcurrencyConflict, ConfigurationError, DeclarationError, FreeholdError, Unavailable
from freehold.eventstore.store import APPENDED, EVENTS
from freehold.failures import FailureLog
from freehold.lifecycle import Runner
from freehold.messages import Envelope, check_upcasters
from freehold.outages import on_behalf_of
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.store import OUTBOX, STAGED
from freehold.policy import Retry, RetryAfter
from freehold.ports import Stores
from freehold.projection.apply_modes import InlineProjections
from freehold.projection.store import CHECKPOINTS
from freehold.reconcile.dataset import Dataset
from freehold.reconcile.reconcile_runner import record_of
from freehold.reconcile.reconciler import Reconciliation
from freehold.reconcile.side import Source
from freehold.reconcile.store import RECONCILIATIONS
from freehold.runtime.broker_link import BrokerLink
from freehold.runtime.checks import check_lanes, check_versions, check_windows
from freehold.runtime.former_database import is_new, look_for_former
from freehold.runtime.freshness import FreshnessGate
from freehold.runtime.health import Health, Readiness
from freehold.runtime.health_checks import look_at_health, look_at_readiness
from freehold.runtime.integrity import check_whole
from freehold.runtime.log_watch import LogWatch
from freehold.runtime.loops import BROKER_ROLES, ROLES, ServiceRunners
from freehold.runtime.needs import check_ports
from freehold.runtime.probes import Probes
from freehold.runtime.reconciling import LocalSource, make_reconciler, peer_source
from freehold.runtime.sagas import wire_sagas
from freehold.runtime.startup_log import tell_settings
from freehold.saga import SagaEngine
from freehold.schedule.store import SCHEDULED
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction, Transactions

__all__ = ["RunningService"]

T = TypeVar("T")
_CONFLICTS = Retry(attempts=5, delay_seconds=0.01, delay_seconds_max=0.5)


class RunningService:
    """`async with RunningService(service) as running:` opens everything, starts the loops, and drains at the end.

    `settings` are loaded by the service's name where none are given. A `broker` that is given is opened but not closed:
    services of one process share one. `stores` that are given, not open yet, take the place of those that the settings
    name: for whoever puts something between. `roles` names the loops that run here (all of `ROLES` without it; none:
    only transactions). `clock` replaces the system's, and the database's, in tests.

    A broker that cannot be reached keeps nobody from starting: what is published is kept in the outbox, and the loops
    that need the broker start when it is there. `connects=False` leaves it alone for good.
    """

    def __init__(
        self,
        service: Service,
        settings: Settings | None = None,
        *,
        broker: Broker | None = None,
        stores: Stores | None = None,
        roles: Collection[str] | None = None,
        clock: Clock | None = None,
        connects: bool = True,
    ) -> None:
        self.service = service
        self.settings = settings or Settings.load(service.name)
        self.roles = _checked(ROLES if roles is None else roles)
        self.draining = False
        self.started = False
        self.is_told = False
        self.signer = TokenSigner.of(self.settings.token_secret)
        self._owns_broker = broker is None
        self.broker = broker or open_broker(self.settings.broker, self.settings.broker_options, clock)
        self.stores: Stores = stores or open_stores(
            self.settings.database, self.settings.database_options, service.migrations, clock
        )
        check_ports(service, self.stores)
        wall = clock or SystemClock()
        self._inline = InlineProjections(service.projections.values(), service.name)
        self.context = ServiceContext(
            service.name,
            self.stores,
            clock=wall,
            broker=self.broker,
            settings=self.settings,
            failures=FailureLog(tracebacks=self.settings.log_tracebacks, monotonic=wall.monotonic),
        )
        self.transactions = Transactions(self.context, after_append=self._inline or None)
        self._sagas = wire_sagas(service, self.transactions, self.stores, self.settings.handler_timeout_seconds)
        self.freshness = FreshnessGate(
            service, self.stores.get(PROGRESS), self.stores.get(CHECKPOINTS), wall, at_work=self._at_work
        )
        watch = LogWatch(self.settings, self.broker, self.stores[BROKER_LOGS])
        self.loops = ServiceRunners(
            service,
            self.settings,
            self.stores,
            self.broker,
            self.transactions,
            self._sagas,
            on_progress=self.freshness.wake,
            watch=watch,
        )
        self.context.on(STAGED, lambda: self.loops.wake("relay"))
        self.context.on(SCHEDULED, lambda: self.loops.wake("schedule"))
        self.context.on(APPENDED, self.loops.appended)
        self.outages = self.loops.outages
        self.connects = connects
        self.link = BrokerLink(
            service.name,
            self.broker,
            check=self._check_broker,
            connected=self._start_waiting,
            clock=wall,
            watch=watch,
        )
        self.probes = Probes(service.name, self.stores.database, self.broker, wall)
        self._waiting: list[str] = []
        self._is_new = False

    async def start(self) -> None:
        """Open, check, and start the loops. Raises `Unavailable` for the database, `ConfigurationError`,
        `DeclarationError` for an upcaster that leads nowhere and for a version of an event that a projection would pass
        over, `BrokerError` for a broker that will not mend; each names the service, and nothing is left open then.
        """
        if not self.is_told:
            tell_settings([self.settings])
        try:
            check_upcasters()
            check_versions(self.service.projections.values())
            await self.stores.database.open()
            await self._prepare_schema()
            check_windows(self.settings, self.broker.features)
            if self._inline:
                await self._inline.begin(self.stores.database, self.stores[EVENTS], self.stores[CHECKPOINTS])
            self._waiting = [role for role in self.roles if role in BROKER_ROLES]
            for role in self.roles:
                if role not in self._waiting:
                    await self.loops.start(role)
            if self.connects:
                await self._connect()
        except BaseException as error:
            await self.stop(0.0)
            if isinstance(error, FreeholdError):
                error.of_service(self.service.name)
            raise
        self.started = True

    async def _connect(self) -> None:
        with on_behalf_of(self.outages):
            with contextlib.suppress(Unavailable):
                await self.link.connect()
            await self.link.start()

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Finish what is held, publish what that staged, close. Idempotent."""
        self.draining = True
        drain_seconds = self.settings.drain_seconds if drain_seconds is None else drain_seconds
        await self.link.stop(0.0)
        others = [role for role in self.loops.running if role != "relay"]
        await asyncio.gather(*(self.loops.stop(role, drain_seconds) for role in others))
        await self.loops.stop("relay", drain_seconds)
        await self.freshness.close()
        if self._owns_broker:
            await self.broker.close()
        await self.stores.database.close()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, draining."""
        await self.stop()

    @property
    def sagas(self) -> SagaEngine:
        """The engine of the sagas that this service directs: people's decisions. Raises `DeclarationError` for none."""
        if self._sagas.engine is None:
            raise DeclarationError(f"'{self.service.name}' directs no saga", hint="declare it with service.directs")
        return self._sagas.engine

    def transaction(
        self, *, cause: Envelope | None = None, correlation_id: UUID | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """A transaction on the service's database: commits with what was published in it, or takes all of it back.

        Raises what `Database.begin` does, `ConcurrencyConflict` among it: `transact` repeats the work then.
        """
        return self.transactions.begin(cause, correlation_id=correlation_id)

    async def transact(
        self, work: Callable[[Transaction], Awaitable[T]], *, retry: Retry = _CONFLICTS, cause: Envelope | None = None
    ) -> T:
        """Do `work` in a transaction, and again from the start where somebody else changed the same thing first.

        `VersionMismatch` is raised at once: another try would not find the version that a client has seen.
        """
        attempt = 1
        while True:
            try:
                async with self.transaction(cause=cause) as tx:
                    return await work(tx)
            except VersionMismatch:
                raise
            except ConcurrencyConflict as error:
                decision = retry.decide(attempt, error)
                if not isinstance(decision, RetryAfter):
                    raise
                attempt += 1
                await self.context.clock.sleep(decision.delay_seconds)

    def source(self, dataset: Dataset) -> Source:
        """A dataset that this service offers, to compare a copy with that lives in the same process.

        Raises `DeclarationError` where it offers no such dataset.
        """
        offer = self.service.offered.get(dataset.name)
        if offer is None:
            raise DeclarationError(f"'{self.service.name}' does not offer '{dataset.name}'", hint="service.offers(…)")
        return LocalSource(self.transactions, offer)

    async def reconcile(
        self, dataset: Dataset, *, source: Source | None = None, repair: str | None = None
    ) -> Reconciliation:
        """Compare this service's copy of a dataset with its source, and keep the result; a reason given for `repair`
        has what drifted repaired, and is recorded.

        The source is asked behind its service's API where none is given. Raises `DeclarationError`,
        `ConfigurationError`, `Unavailable`.
        """
        copy = self.service.copied.get(dataset.name)
        if copy is None:
            raise DeclarationError(f"'{self.service.name}' has no copy of '{dataset.name}'", hint="service.copies(…)")
        reconciler = make_reconciler(
            self.service.name,
            self.stores,
            copy,
            source or peer_source(copy, self.settings),
            self.context.clock,
            repair_for=None if repair is None else (self.service.name, repair),
        )
        result = await reconciler.run()
        await self.stores[RECONCILIATIONS].add(record_of(result, self.context.clock))
        return result

    async def pause(self, role: str) -> None:
        """Stop the loops of a role, here only; other processes take the work over. Idempotent."""
        _checked([role])
        self._waiting = [each for each in self._waiting if each != role]
        await self.loops.stop(role, self.settings.drain_seconds)

    async def resume(self, role: str) -> None:
        """Start the loops of a paused role again; where they need the broker, once it is there. Idempotent."""
        _checked([role])
        if role in BROKER_ROLES and not self.link.up:
            self._waiting = [*(each for each in self._waiting if each != role), role]
            return
        await self.loops.start(role)

    async def readiness(self, timeout_seconds: float = 2.0) -> Readiness:
        """Say whether requests may come: the database takes a write within the time limit, the broker does (or
        `ready_without_broker` says that what is published may wait), every loop gets on, and no stop is under way. A
        write that went well is trusted for five seconds; in between, database and broker are asked to answer.
        """
        return await look_at_readiness(self, timeout_seconds)

    async def health(self) -> Health:
        """Say how the loops are and what waits. Raises `Unavailable` where the database does not say."""
        return await look_at_health(self)

    def _at_work(self, role: str) -> bool | None:
        """Whether a role runs here; None where it is another process's."""
        return None if role not in self.roles else role in self.loops.running

    @property
    def watched(self) -> Sequence[Runner]:
        """Every loop whose end or trouble is this service's."""
        return [*self.loops.all(), *([self.link] if self.connects else [])]

    def _check_broker(self) -> None:
        check_windows(self.settings, self.broker.features)
        check_lanes(self.settings, self.stores[OUTBOX].partitions, self.broker.partitions)

    async def _start_waiting(self) -> None:
        """Start what has waited for the broker."""
        if self._is_new and self.service.topics:
            with contextlib.suppress(Unavailable):
                await look_for_former(self.settings, self.stores, self.broker, self.context.clock)
        self._is_new = False
        while self._waiting and not self.draining:
            role = self._waiting[0]
            await self.loops.start(role)
            if role not in self._waiting:  # paused meanwhile
                await self.loops.stop(role, self.settings.drain_seconds)
            self._waiting = [each for each in self._waiting if each != role]

    async def _prepare_schema(self) -> None:
        database = self.stores.database
        if self.settings.upgrade:
            self._is_new = is_new(await database.upgrade(self.service.name))
            await check_whole(self.service.name, database, mend=True)
            return
        check_owner(database.features, await database.owner(), self.service.name)
        pending = await database.pending()
        if pending:
            raise ConfigurationError(
                f"service '{self.service.name}': {len(pending)} migrations are missing, the first is '{pending[0]}'",
                hint="freehold db upgrade, or upgrade = true",
            )
        await check_whole(self.service.name, database, mend=False)


def _checked(roles: Collection[str]) -> tuple[str, ...]:
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise ConfigurationError(f"no role is called '{unknown[0]}'", hint=f"roles: {', '.join(ROLES)}")
    return tuple(role for role in ROLES if role in roles)
