"""The calls whose intentions a transaction saves, and the runner that begins them after its commit. Pattern: imports
the foundation, its port and plain data.

A runner that works in this process is a `Caller`. A transaction that leads to a call takes a place from it, saves the
intention of the call, and hands the call over. The caller begins it once the transaction has committed: at once where
the transaction says so (`StagingArea.notify`), else when the caller next looks. After a rollback, also one to a
savepoint, nothing is begun. Where the caller has no place left the call is left due, for any runner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from freehold.life import Life, LifeState
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Effect, RunCall
from freehold.saga.store import SagaRecord

__all__ = ["NOBODY", "Caller", "Handover", "PendingCall"]


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call whose intention is committed. The process that committed it makes the call, once.

    record  the instance as that transaction saved it.
    """

    saga_id: UUID
    definition: SagaDefinition
    state: Any
    effect: RunCall
    record: SagaRecord


class Caller(Protocol):
    """Makes calls in this process."""

    @property
    def places(self) -> int:
        """How many more calls it can take over. 0 where it stops, or does not work."""

    def expect(self, handover: Handover) -> None:
        """Look whether the handover's transaction has ended, until it has."""

    def begin(self) -> None:
        """Begin the calls of all transactions that have committed."""


class _Nobody:
    """No runner works in this process."""

    places = 0

    def expect(self, handover: Handover) -> None:
        """Never called: nothing is handed over."""

    def begin(self) -> None:
        """Nothing to begin."""


NOBODY: Caller = _Nobody()


class Handover:
    """The calls that one transaction hands over. A savepoint's rollback takes back those handed over since."""

    left = False
    """Nothing of it is written, so that nothing can be left to write: see `freehold.life.Stake`."""

    def __init__(self, caller: Caller, life: Life) -> None:
        self.caller = caller
        self.records: dict[UUID, SagaRecord] = {}
        self._life = life
        self._taken = 0
        self._calls: list[tuple[UUID, SagaDefinition, Any, RunCall]] = []
        life.watch(self)

    @property
    def state(self) -> LifeState:
        """The state of the transaction."""
        return self._life.state

    @property
    def free(self) -> int:
        """How many more calls can be handed over."""
        return self.caller.places

    @property
    def taken(self) -> int:
        """The places that it has taken from the caller. They are free again once its transaction has ended."""
        return self._taken

    def take(self, effects: Sequence[Effect]) -> None:
        """Take the places of the calls that a transition leads to, before anything else runs."""
        number = sum(isinstance(effect, RunCall) for effect in effects)
        if number:
            self._taken += number
            self.caller.expect(self)

    def add(self, saga_id: UUID, definition: SagaDefinition, state: Any, effects: Sequence[RunCall]) -> None:
        """Hand calls over, for which places were taken."""
        self._calls += [(saga_id, definition, state, effect) for effect in effects]

    @property
    def calls(self) -> Sequence[PendingCall]:
        """The calls to begin once the transaction has committed."""
        return [
            PendingCall(saga_id, definition, state, effect, self.records[saga_id])
            for saga_id, definition, state, effect in self._calls
            if saga_id in self.records
        ]

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state."""
        calls, taken, records = tuple(self._calls), self._taken, dict(self.records)

        def restore() -> None:
            self._calls, self._taken, self.records = list(calls), taken, dict(records)

        return restore
