"""A running service: its open database and broker, its loops, and transactions for the application. Runtime.

Make and enter it in the process and event loop that runs it: after a fork, never before.
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
from freehold.broker import Broker
from freehold.clock import Clock, SystemClock
from freehold.consistency.gate import FreshnessGate
from freehold.consistency.signer import TokenSigner
from freehold.context import ServiceContext
from freehold.database import check_owner
from freehold.errors import ConcurrencyConflict, ConfigurationError, DeclarationError, FreeholdError, Unavailable
from freehold.failures import FailureLog
from freehold.inbox.former_database import is_new, warn_of_former_database
from freehold.lifecycle import Runner
from freehold.messages import Envelope, check_upcasters
from freehold.metrics import Metrics
from freehold.outages import on_behalf_of
from freehold.outbox.log_watch import LogWatch
from freehold.pattern import Phase
from freehold.policy import Retry, RetryAfter
from freehold.ports import Stores
from freehold.reconcile.dataset import Dataset
from freehold.reconcile.operations import LocalSource, make_reconciler, peer_source
from freehold.reconcile.reconcile_runner import record_of
from freehold.reconcile.reconciler import Reconciliation
from freehold.reconcile.side import DatasetSource
from freehold.reconcile.store import RECONCILIATIONS
from freehold.runtime.adapters import open_broker
from freehold.runtime.broker_link import BrokerLink
from freehold.runtime.database_metrics import measure_database
from freehold.runtime.database_schema import check_schema
from freehold.runtime.health import Health, Probes, Readiness, read_health, read_readiness
from freehold.runtime.hint_runner import HintRunner, hint_channel
from freehold.runtime.needs import check_ports
from freehold.runtime.patterns import patterns_of, stores_of, topics_of, wire
from freehold.runtime.roles import ServiceRunners, roles_of
from freehold.runtime.startup_log import log_settings
from freehold.saga import SagaEngine
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction

__all__ = ["RunningService"]

T = TypeVar("T")
_HINTS_DRAIN_SECONDS = 1.0
_CONFLICTS = Retry(attempts=5, delay_seconds=0.01, delay_seconds_max=0.5)


class RunningService:
    """`async with RunningService(service) as running:` opens everything, starts the loops, and drains at the end.

    `settings` are loaded by the service's name by default. A given `broker` is opened but not closed: services of one
    process share one. Given `stores`, not open yet, replace those that the settings name, for example to wrap one.
    `roles` names the loops that run here; by default all, and with an empty collection there are transactions only.
    `clock` replaces the system's and the database's time in tests.

    A service starts without a reachable broker: the outbox keeps what is published, and the loops that need the broker
    start when it is connected. With `connects=False` the broker is never opened.
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
        known = roles_of(patterns_of(service))
        self.roles = _checked(known if roles is None else roles, known)
        self.draining = False
        self.started = False
        self.settings_logged = False
        self.signer = TokenSigner.of(self.settings.token_secret)
        self._owns_broker = broker is None
        self.broker = broker or open_broker(self.settings.broker, self.settings.broker_options, clock)
        self.stores: Stores = stores or stores_of(service, self.settings, clock)
        check_ports(service, self.stores)
        wall = clock or SystemClock()
        self.context = ServiceContext(
            service.name,
            self.stores,
            clock=wall,
            broker=self.broker,
            settings=self.settings,
            failures=FailureLog(tracebacks=self.settings.log_tracebacks, monotonic=wall.monotonic),
            declared=service.of,
            at_work=self._at_work,
            metrics=Metrics(enabled=self.settings.metrics),
        )
        self.patterns = patterns_of(service)
        measure_database(self.context)
        self.transactions = wire(self.context, self.patterns)
        self.freshness = self.context.resource(FreshnessGate)
        self.loops = ServiceRunners(self.context, self.patterns)
        self.outages = self.loops.outages
        channel = hint_channel(self.context, connects=connects)
        self.hints = HintRunner(self.context, channel, self.loops.signals, lambda: self.loops.awaited)
        self.loops.changed = self.hints.roles_changed
        self.connects = connects
        self.link = BrokerLink(
            service.name,
            self.broker,
            check=self._check_broker,
            connected=self._start_waiting,
            clock=wall,
            watch=self.context.resource(LogWatch),
        )
        self.probes = Probes(service.name, self.stores.database, self.broker, wall)
        self._waiting: list[str] = []
        self._is_new = False

    async def start(self) -> None:
        """Open, check, and start the loops.

        Raises `Unavailable` for the database, `ConfigurationError`, `DeclarationError` (for an upcaster without a
        target, and for a version of an event that a projection would skip), `BrokerError` for a broker that refuses.
        Each error names the service, and everything is closed then.
        """
        if not self.settings_logged:
            log_settings([self.settings])
        try:
            check_upcasters()
            await self._check(Phase.DECLARED)
            await self.stores.database.open()
            await self._prepare_schema()
            await self._check(Phase.OPENED)
            with on_behalf_of(self.outages):
                await self.hints.start()
            self._waiting = [role for role in self.roles if role in self.loops.needing_broker]
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
        """Finish work in progress, publish what it staged, and close. Idempotent.

        Each loop has `drain_seconds` (by default the setting), then it is cancelled.
        """
        self.draining = True
        drain_seconds = self.settings.drain_seconds if drain_seconds is None else drain_seconds
        await self.link.stop(0.0)
        last = [role for role in self.loops.running if role in self.loops.stopping_last]
        others = [role for role in self.loops.running if role not in last]
        await asyncio.gather(*(self.loops.stop(role, drain_seconds) for role in others))
        await asyncio.gather(*(self.loops.stop(role, drain_seconds) for role in last))
        await self.hints.stop(_HINTS_DRAIN_SECONDS)
        await self.context.close()
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
        """Stop and drain."""
        await self.stop()

    @property
    def sagas(self) -> SagaEngine:
        """The engine of this service's sagas, for decisions of operators. Raises `DeclarationError` if it has none."""
        engine = self.context.find(SagaEngine)
        if engine is None:
            raise DeclarationError(
                f"'{self.service.name}' orchestrates no saga", hint="declare it with service.orchestrates"
            )
        return engine

    def transaction(
        self, *, cause: Envelope | None = None, correlation_id: UUID | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """A transaction on the service's database. What is published in it commits or rolls back with it.

        Raises as `Database.begin` does, also `ConcurrencyConflict`: `transact` repeats the work then.
        """
        return self.transactions.begin(cause, correlation_id=correlation_id)

    async def transact(
        self, work: Callable[[Transaction], Awaitable[T]], *, retry: Retry = _CONFLICTS, cause: Envelope | None = None
    ) -> T:
        """Run `work` in a transaction, and again in a new one after a `ConcurrencyConflict`, as `retry` says.

        `VersionMismatch` is raised at once: another attempt would not find the version that the client has seen.
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

    def source(self, dataset: Dataset) -> DatasetSource:
        """A dataset that this service publishes, as the source for a replica in the same process.

        Raises `DeclarationError` if it publishes no such dataset.
        """
        table = self.service.published_datasets.get(dataset.name)
        if table is None:
            raise DeclarationError(
                f"'{self.service.name}' does not publish '{dataset.name}'", hint="service.publishes_dataset(…)"
            )
        return LocalSource(self.transactions, table)

    async def reconcile(
        self, dataset: Dataset, *, source: DatasetSource | None = None, repair: str | None = None
    ) -> Reconciliation:
        """Compare this service's replica of a dataset with its source, and store the result. With `repair`, the reason
        for it, drift is repaired and the reason is recorded.

        `source` is by default the API of the service that owns the dataset. Raises `DeclarationError`,
        `ConfigurationError`, `Unavailable`.
        """
        replica = self.service.replicas.get(dataset.name)
        if replica is None:
            raise DeclarationError(
                f"'{self.service.name}' has no replica of '{dataset.name}'", hint="service.replicates(…)"
            )
        reconciler = make_reconciler(
            self.service.name,
            self.stores,
            replica,
            source or peer_source(replica, self.settings),
            self.context.clock,
            repair_for=None if repair is None else (self.service.name, repair),
        )
        result = await reconciler.run()
        await self.stores[RECONCILIATIONS].add(record_of(result, self.context.clock))
        return result

    async def pause(self, role: str) -> None:
        """Stop the loops of a role in this process; other processes take their work over. Idempotent."""
        _checked([role], self.loops.names)
        self._waiting = [each for each in self._waiting if each != role]
        await self.loops.stop(role, self.settings.drain_seconds)

    async def resume(self, role: str) -> None:
        """Start the loops of a paused role again, at once or when the broker they need is connected. Idempotent."""
        _checked([role], self.loops.names)
        if role in self.loops.needing_broker and not self.link.up:
            self._waiting = [*(each for each in self._waiting if each != role), role]
            return
        await self.loops.start(role)

    async def readiness(self, timeout_seconds: float = 2.0) -> Readiness:
        """Whether the service can take requests: the database accepts a write within the time limit, and so does the
        broker (unless `ready_without_broker`), no loop keeps failing, and no stop is in progress. For five seconds
        after a successful write the database and the broker are only pinged.
        """
        return await read_readiness(self, timeout_seconds)

    async def health(self) -> Health:
        """The state of the loops, metrics and lag. Raises `Unavailable` if the database does not answer."""
        return await read_health(self)

    def _at_work(self, role: str) -> bool | None:
        """Whether a role runs here; None if it is left to other processes."""
        return None if role not in self.roles else role in self.loops.running

    @property
    def watched(self) -> Sequence[Runner]:
        """The loops whose end or trouble makes this service unready."""
        return [*self.loops.all(), self.hints, *([self.link] if self.connects else [])]

    async def _check(self, phase: Phase) -> None:
        for pattern in self.patterns:
            for check in pattern.checks:
                if check.phase is phase:
                    await check.run(self.context)

    async def _check_broker(self) -> None:
        await self._check(Phase.CONNECTED)

    async def _start_waiting(self) -> None:
        """Start the roles that waited for the broker."""
        if self._is_new and topics_of(self.context, self.patterns):
            with contextlib.suppress(Unavailable):
                await warn_of_former_database(self.settings, self.stores, self.broker, self.context.clock)
        self._is_new = False
        while self._waiting and not self.draining:
            role = self._waiting[0]
            await self.loops.start(role)
            if role not in self._waiting:  # it was paused during its start
                await self.loops.stop(role, self.settings.drain_seconds)
            self._waiting = [each for each in self._waiting if each != role]

    async def _prepare_schema(self) -> None:
        database = self.stores.database
        if self.settings.migrate_on_start:
            self._is_new = is_new(await database.upgrade(self.service.name))
            await check_schema(self.service.name, database, repairs=True)
            return
        check_owner(database.features, await database.owner(), self.service.name)
        pending = await database.pending()
        if pending:
            raise ConfigurationError(
                f"service '{self.service.name}': {len(pending)} migrations are missing, the first is '{pending[0]}'",
                hint="freehold db upgrade, or migrate_on_start = true",
            )
        await check_schema(self.service.name, database, repairs=False)


def _checked(roles: Collection[str], known: Collection[str]) -> tuple[str, ...]:
    unknown = sorted(set(roles) - set(known))
    if unknown:
        raise ConfigurationError(f"no role is called '{unknown[0]}'", hint=f"roles: {', '.join(known)}")
    return tuple(role for role in known if role in roles)
