"""The code of a saga's definition in a simulated run: planned bugs, and the real code where it can be called. Testing:
imports the saga pattern and the runtime.

Commands are always made, and replies merged. Local functions and the last hooks need a transaction: they are called
where a service is given, on a database in memory. Whatever real code raises, except `Rejected`, breaks a rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import count
from typing import Any, Final, TypeVar

from freehold.errors import CodecError
from freehold.inbox.reply import Rejected
from freehold.messages import encode_body
from freehold.runtime import RunningService
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import RunHook, RunLocal, SendCommand
from freehold.saga.hooks import Hook, calling, described, hook_at
from freehold.saga.message_mapper import make_command
from freehold.saga.steps import StepDirection, StepKind
from freehold.saga.store import SagaStatus
from freehold.service import Service
from freehold.settings import Settings
from freehold.testing.participants import SagaViolation
from freehold.testing.saga_faults import HOOK_FAULTS, LOCAL_FAULTS, Fault, Rule
from freehold.transaction import Transaction

__all__ = ["Choose", "HookBench", "PlannedBug", "PlannedCrash", "SagaCode", "not_called"]

T = TypeVar("T")
Choose = Callable[[str, Sequence[str]], str]
"""`(about, options)` returns one of the options; the first one means that nothing fails."""
_benches: Final = count()


class PlannedBug(Exception):
    """The error that code of the definition raises in a simulated run."""


class PlannedCrash(Exception):
    """The process ends in the middle of a transaction."""


class HookBench:
    """Transactions of one service, on a database in memory, for code that is not in an event loop."""

    def __init__(self, service: Service) -> None:
        self._loop = asyncio.new_event_loop()
        url = f"memory://exploration-{next(_benches)}/{service.name}"
        settings = Settings(service=service.name, database=url, broker="memory://exploration")
        self._running = RunningService(service, settings, roles=(), connects=False)
        self._scope: AbstractAsyncContextManager[Transaction] | None = None
        self._tx: Transaction | None = None
        self._run(self._running.start())

    def call(self, function: Any, state: Any) -> Any:
        """Call a local function or hook, in the transaction in progress."""
        if self._tx is None:
            self._scope = self._running.transaction()
            self._tx = self._run(self._scope.__aenter__())
        return self._run(function(state, self._tx))

    def end(self, error: BaseException | None = None) -> None:
        """Commit the transaction in progress, or with `error` roll it back."""
        scope, self._scope, self._tx = self._scope, None, None
        if scope is not None:
            self._run(scope.__aexit__(type(error) if error else None, error, None))

    def tables(self) -> Mapping[str, Any]:
        """What the service wrote into `tx.connection`."""

        async def read() -> Mapping[str, Any]:
            async with self._running.transaction() as tx:
                return dict(tx.connection)

        return self._run(read())

    def close(self) -> None:
        """Close the service and the event loop."""
        self.end(PlannedCrash())
        self._run(self._running.stop())
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


class SagaCode:
    """Calls the code of a definition, or lets it fail as `choose` says.

    broken  the places that raise until they are fixed.
    """

    def __init__(self, definition: SagaDefinition, choose: Choose, bench: HookBench | None = None) -> None:
        self._definition = definition
        self._choose = choose
        self._bench = bench
        self.broken: set[str] = set()

    def merge(self, step: str) -> None:
        """Before a reply is merged. Raises `PlannedBug`."""
        if self._definition.by_name[step].merge is not None:
            self._meet(f"{step} merge", HOOK_FAULTS)

    def make(self, effect: SendCommand, state: Any) -> None:
        """Make a command, as before it is sent. Raises `PlannedBug`, `SagaViolation`."""
        step = self._definition.by_name[effect.step]
        action = effect.direction is StepDirection.ACTION
        hook, make = (Hook.MAKE, step.make) if action else (Hook.MAKE_COMPENSATION, step.make_compensation)
        if make is not None:
            self._meet(f"{step.name} {hook.value}", HOOK_FAULTS)
        with real_code(), calling(step.name, hook, make or (step.action if action else step.compensation)):
            encode_body(make_command(step, effect.direction, state))

    def local(self, effect: RunLocal, state: Any, act: Callable[[], None]) -> tuple[Any, str | None]:
        """Run a local function; `act` counts its effect. Returns the next state, or with a code that it is rejected.
        Raises `PlannedBug`, `PlannedCrash`, `SagaViolation`.
        """
        step = self._definition.by_name[effect.step]
        action = effect.direction is StepDirection.ACTION
        about = step.name if action else f"{step.name} compensation"
        fault = self._meet(about, LOCAL_FAULTS)
        if fault is Fault.REJECTED:
            return state, "rejected"
        if fault is Fault.CRASH_BEFORE:
            raise PlannedCrash
        try:
            state = self._call(step.name, Hook.ACTION if action else Hook.COMPENSATION, _function(step, effect), state)
        except Rejected as refusal:
            return state, refusal.code
        act()
        if fault is Fault.CRASH_AFTER:
            raise PlannedCrash
        return state, None

    def last_hook(self, effect: RunHook, state: Any) -> Any:
        """Run `on_completed` or `on_compensated`, and return the next state. Raises `PlannedBug`, `PlannedCrash`,
        `SagaViolation`.
        """
        completed = effect.status is SagaStatus.COMPLETED
        hook, function = (
            (Hook.ON_COMPLETED, self._definition.on_completed)
            if completed
            else (Hook.ON_COMPENSATED, self._definition.on_compensated)
        )
        if function is None:
            return state
        fault = self._meet(hook.value, (*HOOK_FAULTS, Fault.CRASH_BEFORE, Fault.CRASH_AFTER))
        if fault is Fault.CRASH_BEFORE:
            raise PlannedCrash
        with real_code():
            state = self._call("", hook, function, state)
        if fault is Fault.CRASH_AFTER:
            raise PlannedCrash
        return state

    def end(self, error: BaseException | None = None) -> None:
        """Commit or roll back what local functions and hooks wrote."""
        if self._bench is not None:
            with real_code():
                self._bench.end(error)

    def _call(self, step: str, hook: Hook, function: Any, state: Any) -> Any:
        if self._bench is None:
            return state
        with real_code(Rejected), calling(step, hook, function):
            found = self._bench.call(function, state)
        return state if found is None else found

    def _meet(self, about: str, options: Sequence[Fault]) -> Fault:
        """Have the code at this place fail as chosen."""
        if about in self.broken:
            raise PlannedBug(about)
        fault = Fault(self._choose(about, [each.value for each in options]))
        if fault is Fault.BUG_UNTIL_FIXED:
            self.broken.add(about)
        if fault in {Fault.BUG, Fault.BUG_UNTIL_FIXED}:
            raise PlannedBug(about)
        return fault


@contextmanager
def real_code(*expected: type[Exception]) -> Iterator[None]:
    """Code of the definition that is really called: what it raises is a violation. Lets `expected` errors through."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (PlannedBug, PlannedCrash, SagaViolation, *expected)):
            raise
        at, (name, place) = hook_at(error), described(error)
        where = f"{at.hook.value} of '{at.step}'" if at.step else at.hook.value
        hint = "; see `replies=`" if isinstance(error, CodecError) and at.hook is Hook.MERGE else ""
        what = f"{where} raises {name}: {error}" + (f", at {place}" if place else "") + hint
        raise SagaViolation(what, Rule.CODE) from error


def not_called(definition: SagaDefinition) -> Sequence[str]:
    """The functions that are only simulated where no service is given."""
    found = [step.name for step in definition.steps if step.kind is StepKind.LOCAL]
    found += [
        f"{step.name} compensation"
        for step in definition.steps
        if step.kind is StepKind.LOCAL and step.compensation is not None
    ]
    last = (("on_completed", definition.on_completed), ("on_compensated", definition.on_compensated))
    return found + [name for name, hook in last if hook is not None]


def _function(step: Any, effect: RunLocal) -> Any:
    return step.action if effect.direction is StepDirection.ACTION else step.compensation
