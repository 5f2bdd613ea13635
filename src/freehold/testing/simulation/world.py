"""One simulated run: processes of services on databases and a broker in memory, in virtual time, with faults. Testing:
imports the runtime.

A crash drops a process between two steps of its tasks: nothing of it runs any more, and its database rolls back what it
had in progress. It is started again, on the same data.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, Protocol, TypeVar, cast

from freehold.broker import Broker
from freehold.clock import Clock, SystemClock
from freehold.errors import FreeholdError, Unavailable
from freehold.lifecycle import RunnerState
from freehold.runtime import RunningService
from freehold.runtime.adapters import open_broker, open_stores
from freehold.service import Service
from freehold.settings import Settings
from freehold.testing.settlement import unsettled
from freehold.testing.simulation.faults import Fault, FaultKind
from freehold.testing.simulation.loop import PROCESS, SimulatedProcess, VirtualLoop
from freehold.testing.simulation.network import BrokerNetwork, Conditions, DatabaseNetwork
from freehold.transaction import Transaction

__all__ = ["PlannedFailure", "World"]

T = TypeVar("T")
_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_START_AGAIN_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
_LOOKS: Final = 3
_FAILING_PART: Final = 0.4
_SLOW_SECONDS: Final = (0.2, 3.0)
_TRACE_MAX: Final = 200_000
_runs: Final = count()


class PlannedFailure(Exception):
    """What a handler raises while the fault `handler-fails` is in force."""


class _Client(Protocol):
    network: Any


class _MemoryBroker(_Client, Broker, Protocol):
    def client(self, clock: Clock) -> _MemoryBroker: ...


class _MemoryDatabase(_Client, Protocol):
    def sever(self) -> None: ...


class _ProcessClock(SystemClock):
    """The time of the loop, with a wall clock that may jump. It sleeps as the system's does: loops that idle take the
    same way as outside of a simulation.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.jump_seconds = 0.0

    def now(self) -> datetime:
        return _BEGINNING + timedelta(seconds=self._loop.time() + self.jump_seconds)

    def monotonic(self) -> float:
        return self._loop.time()


@dataclass(slots=True)
class _Incarnation:
    """One process, from its start to its crash. `clients` wait for an answer of it."""

    process: SimulatedProcess
    context: Context
    running: RunningService
    clients: dict[asyncio.Future[Any], None] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.running.started and self.process.alive


@dataclass(slots=True)
class _Host:
    """Where the processes of one name run, one after the other."""

    name: str
    service: Service
    clock: _ProcessClock
    now: _Incarnation | None = None


class World:
    """What a scenario sees of its run.

    seed  the seed of the run.
    draw  for what the scenario itself draws.
    """

    def __init__(
        self,
        seed: int,
        loop: VirtualLoop,
        services: Sequence[Service],
        processes: Mapping[str, Collection[str]],
        options: Mapping[str, Any],
    ) -> None:
        self.seed = seed
        self.draw = random.Random(f"scenario of {seed}")
        self.seen: Counter[str] = Counter()
        self.trace: list[str] = []
        self.restarts = 0
        self._refused: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._loop = loop
        self._options = options
        self._run = f"simulation-{next(_runs)}"
        self._conditions = Conditions(random.Random(f"network of {seed}"), self.note)
        self._clock = _ProcessClock(loop)
        self._broker = cast("_MemoryBroker", open_broker("memory://", clock=self._clock))
        # A database in memory is there as long as somebody has it.
        self._kept = {service.name: open_stores(self._url(service.name), clock=self._clock) for service in services}
        self._hosts = {
            name: _Host(name, service, _ProcessClock(loop))
            for service in services
            for name in sorted(processes[service.name])
        }

    @property
    def digest(self) -> str:
        """A hash of everything that happened, in order: equal runs have equal ones."""
        return self._digest.hexdigest()

    def note(self, text: str) -> None:
        """Write a line into the trace of the run."""
        line = f"{self._loop.time():10.4f} {text}"
        self._digest.update(line.encode())
        if len(self.trace) < _TRACE_MAX:
            self.trace.append(line)

    def sometimes(self, name: str, condition: object = True) -> None:  # noqa: FBT002 - reads as an assertion
        """Count that a rare state was seen; the report of all seeds names those that never were."""
        self.seen[name] += bool(condition)

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    async def transact(self, service: str, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Do something in a transaction, in one of the service's processes, as a request to it would.

        Raises `Unavailable` where the process crashes meanwhile, or the database is away: the outcome is not known
        then. Other errors are those of `RunningService.transact`.
        """
        return await self.within(service, lambda running: running.transact(work))

    async def within(self, service: str, work: Callable[[RunningService], Awaitable[T]]) -> T:
        """Call something in one of the service's processes. Raises as `transact`."""
        at = await self._ready(service)
        result: asyncio.Future[T] = self._loop.create_future()
        at.clients[result] = None

        async def call(running: RunningService) -> None:
            try:
                done = await work(running)
            except BaseException as error:
                if not result.done():
                    result.set_exception(_as_known(running, error))
                if not isinstance(error, Exception):
                    raise
            else:
                if not result.done():
                    result.set_result(done)

        calling = self._loop.create_task(call(at.running), context=at.context.copy())
        try:
            return await result
        finally:
            del at.clients[result]
            if at.process.alive and not calling.done():
                calling.cancel()

    def running(self, service: str) -> RunningService:
        """The service in one of its processes; for a look at its stores, once it is quiet."""
        return next(
            host.now.running
            for host in self._hosts.values()
            if host.service.name == service and host.now is not None and host.now.ready
        )

    async def start(self) -> None:
        """Start all processes."""
        for stores in self._kept.values():
            await stores.database.open()
        for host in self._hosts.values():
            self._start(host)

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """Have the faults befall the processes at their times. Ends with the end of the last one."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._suffer(fault))

    async def quiet(self, seconds: float) -> Sequence[str]:
        """Wait until no work is in progress; returns what is in progress after these seconds of virtual time."""
        self._conditions.clear()
        for each in self._incarnations():
            each.process.crash_after = None
            self._loop.thaw(each.process)
        end, empty, found = self._loop.time() + seconds, 0, ["nothing was looked at"]
        while empty < _LOOKS:
            if self._loop.time() > end:
                return found
            await asyncio.sleep(_LOOK_SECONDS)
            if any(host.now is None or not host.now.ready for host in self._hosts.values()):
                found, empty = ["a process has not started"], 0
                continue
            found = await unsettled(*(self.running(name) for name in self._kept))
            empty = 0 if found else empty + 1
        return []

    def ended(self) -> Sequence[str]:
        """The loops that have ended for good, which none may, and refused starts that no outage explains."""
        return self._refused + [
            f"{at.process.name}: {each.name} {each.trouble}"
            for at in self._incarnations()
            for each in at.running.watched
            if each.state is RunnerState.ENDED
        ]

    def _incarnations(self) -> Sequence[_Incarnation]:
        return [host.now for host in self._hosts.values() if host.now is not None]

    def _url(self, service: str) -> str:
        return f"memory://{self._run}/{service}"

    async def _ready(self, service: str) -> _Incarnation:
        while True:
            hosts = [host for host in self._hosts.values() if host.service.name == service]
            ready = [host.now for host in hosts if host.now is not None and host.now.ready]
            if ready:
                return self.draw.choice(ready)
            await asyncio.sleep(_LOOK_SECONDS)

    def _start(self, host: _Host) -> None:
        process = SimulatedProcess(host.name, lambda _: self._crash(host))
        context = copy_context()
        context.run(PROCESS.set, process)
        name = host.service.name
        settings = Settings(service=name, database=self._url(name), broker="memory://", **self._options)
        stores = open_stores(settings.database, settings.database_options, host.service.migrations, self._clock)
        cast("_MemoryDatabase", stores.database).network = DatabaseNetwork(self._conditions, process, name)
        broker = self._broker.client(self._clock)
        broker.network = BrokerNetwork(self._conditions, process)
        running = context.run(RunningService, host.service, settings, broker=broker, stores=stores, clock=host.clock)
        host.now = at = _Incarnation(process, context, running)
        self.note(f"{host.name}: starts")
        starting = self._loop.create_task(running.start(), context=context.copy())
        starting.add_done_callback(lambda task: self._started(host, at, task), context=copy_context())

    def _started(self, host: _Host, at: _Incarnation, task: asyncio.Task[None]) -> None:
        """Start a process again whose start has failed, as a supervisor does."""
        if not at.process.alive or task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, Unavailable):
            self._refused.append(f"{host.name} does not start: {type(error).__name__}: {error}")
        self.note(f"{host.name}: its start fails")
        self._crash(host)

    def _crash(self, host: _Host) -> None:
        at, host.now = host.now, None
        if at is None:
            return
        self.note(f"{host.name}: crashes at its step {at.process.steps}")
        self.restarts += 1
        self._loop.crash(at.process)
        cast("_MemoryDatabase", at.running.stores.database).sever()
        for waiting in at.clients:
            if not waiting.done():
                waiting.set_exception(Unavailable("the process crashed (simulated)"))
        self._loop.call_later(_START_AGAIN_SECONDS, self._start, host, context=copy_context())

    async def _suffer(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.at - self._loop.time()))
        self.note(str(fault))
        host = self._hosts.get(fault.target)
        match fault.kind, host:
            case FaultKind.CRASH, _Host(now=_Incarnation() as at):
                at.process.crash_after = at.process.steps + fault.steps
            case FaultKind.FREEZE, _Host(now=_Incarnation() as at):
                self._loop.freeze(at.process)
                await asyncio.sleep(fault.seconds)
                self._loop.thaw(at.process)
            case FaultKind.CLOCK, _Host() as found:
                found.clock.jump_seconds += fault.seconds
            case _:
                self._conditions.begin(fault)
                await asyncio.sleep(fault.seconds)
                self._conditions.end(fault)

    @contextmanager
    def failing_handlers(self) -> Iterator[None]:
        """Have the handlers of all services fail, or be slow, while such a fault is in force."""
        services = {host.service.name: host.service for host in self._hosts.values()}
        before = {name: dict(service.handlers) for name, service in services.items()}
        for name, service in services.items():
            for message, handler in before[name].items():
                service.handlers[message] = replace(handler, function=self._failing(name, handler.function))
        try:
            yield
        finally:
            for name, service in services.items():
                service.handlers.update(before[name])

    def _failing(self, service: str, function: Callable[[Any, Transaction], Awaitable[Any]]) -> Any:
        conditions = self._conditions

        async def call(message: Any, tx: Transaction) -> Any:
            result = await function(message, tx)
            if conditions.holds(FaultKind.HANDLER_SLOW, service):
                await asyncio.sleep(conditions.draw.uniform(*_SLOW_SECONDS))
            if conditions.holds(FaultKind.HANDLER_FAILS, service) and conditions.draw.random() < _FAILING_PART:
                raise PlannedFailure("planned")
            return result

        return call


def _as_known(running: RunningService, error: BaseException) -> BaseException:
    known = running.stores.database.translate_error(error)
    if known is not None:
        return known
    return error if isinstance(error, Exception | FreeholdError) else Unavailable("the call was cut (simulated)")
