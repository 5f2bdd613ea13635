"""Declaring the steps of a saga: commands with replies, plain async calls, and functions of the service's own database.

Pattern: imports the foundation and the transaction. What `step`, `call` and `local` return is given its name by the
class body it stands in; `definition.py` puts the steps together and checks them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from freehold.errors import DeclarationError
from freehold.policy import Retry
from freehold.transaction import Transaction

__all__ = [
    "RETRY_BACK",
    "RETRY_FORWARD",
    "After",
    "CallContext",
    "CallFunction",
    "LocalFunction",
    "Merge",
    "StepDefinition",
    "StepDirection",
    "StepKind",
    "call",
    "local",
    "step",
]

RETRY_FORWARD: Final = Retry(attempts=3, delay_seconds=0.5, delay_seconds_max=10.0)
"""For an action while there is a way back: give up soon, somebody waits for the answer."""
RETRY_BACK: Final = Retry(attempts=12, delay_seconds=1.0, delay_seconds_max=60.0)
"""For compensations, and for actions from the pivot on: giving up means work for an operator."""


class StepDirection(StrEnum):
    """Which half of a step: what it does, or what reverses it. The values travel in `freehold-direction`."""

    ACTION = "action"
    COMPENSATION = "compensation"


class StepKind(StrEnum):
    """How a step is carried out."""

    COMMAND = "command"
    CALL = "call"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call is told besides the state.

    idempotency_key  the same for all attempts of this half of the step; hand it to the other side.
    action_key       in a compensation: the key its action went by, so that the other side can find or cancel it.
    attempt          from 1, for logs.
    """

    saga_id: UUID
    step: str
    direction: StepDirection
    idempotency_key: str
    attempt: int
    action_key: str | None = None


CallFunction = Callable[[Any, CallContext], Awaitable[Any]]
"""`(state, context)`: returns the reply (a dataclass, a mapping or None); raises `Rejected` for a business refusal, any
other exception where it is not known whether it took effect."""
LocalFunction = Callable[[Any, Transaction], Awaitable[Any]]
"""`(state, tx)`: returns the next state, or None to leave it as it is; raises `Rejected` before it has written
anything."""
Merge = Callable[[Any, Any], Any]
"""`(state, reply)`: returns the next state."""


@dataclass(frozen=True, slots=True, eq=False)
class StepDefinition:
    """A step as declared; `name`, `before_pivot` and `descendants` are filled in by the definition it belongs to.

    before_pivot  true while a failure of it leads back: every step, where the saga has no pivot, and the pivot itself.
    descendants   names of all steps that come after it, directly or not.
    """

    kind: StepKind
    action: Any
    compensation: Any = None
    after: tuple[str | StepDefinition, ...] = ()
    timeout_seconds: float = 30.0
    retry: Retry | None = None
    compensation_retry: Retry = RETRY_BACK
    pivot: bool = False
    optional: bool = False
    no_compensation: bool = False
    make: Callable[[Any], Any] | None = None
    make_compensation: Callable[[Any], Any] | None = None
    reply: type[Any] | None = None
    merge: Merge | None = None
    name: str = ""
    before_pivot: bool = True
    predecessors: tuple[str, ...] = ()
    descendants: frozenset[str] = field(default_factory=frozenset)

    def policy(self, direction: StepDirection) -> Retry:
        """How often this half is tried."""
        if direction is StepDirection.COMPENSATION:
            return self.compensation_retry
        if self.retry is not None:
            return self.retry
        leads_back = self.optional or (self.before_pivot and not self.pivot)
        return RETRY_FORWARD if leads_back else RETRY_BACK


After = str | StepDefinition | tuple[str | StepDefinition, ...]


def step(
    command: type[Any],
    *,
    compensation: type[Any] | None = None,
    after: After = (),
    timeout_seconds: float = 30.0,
    retry: Retry | None = None,
    compensation_retry: Retry = RETRY_BACK,
    pivot: bool = False,
    optional: bool = False,
    no_compensation: bool = False,
    make: Callable[[Any], Any] | None = None,
    make_compensation: Callable[[Any], Any] | None = None,
    reply: type[Any] | None = None,
    merge: Merge | None = None,
) -> StepDefinition:
    """Declare a step that sends a command and waits for its reply.

    command, compensation  command classes; built from the state's fields of the same names, or by `make` and
                           `make_compensation`.
    after                  the step or steps that must have ended well; none: it begins with the saga. Steps whose
                           predecessors are through run in parallel.
    timeout_seconds        after which an attempt counts as failed; the next one has the same idempotency key.
    pivot                  no way back once it is done; while its outcome is not known it is repeated, never
                           compensated.
    optional               its failure does not fail the saga.
    no_compensation        says that nothing is to be reversed.
    reply, merge           fields of the reply that the state has too are put into it; or `merge(state, reply)`, `reply`
                           being read as that class (a mapping without one).
    """
    return StepDefinition(
        kind=StepKind.COMMAND,
        action=command,
        compensation=compensation,
        after=_after(after),
        timeout_seconds=_positive(timeout_seconds),
        retry=retry,
        compensation_retry=compensation_retry,
        pivot=pivot,
        optional=optional,
        no_compensation=no_compensation,
        make=make,
        make_compensation=make_compensation,
        reply=reply,
        merge=merge,
    )


def call(
    function: CallFunction,
    *,
    compensation: CallFunction | None = None,
    after: After = (),
    timeout_seconds: float = 30.0,
    retry: Retry | None = None,
    compensation_retry: Retry = RETRY_BACK,
    pivot: bool = False,
    optional: bool = False,
    no_compensation: bool = False,
    reply: type[Any] | None = None,
    merge: Merge | None = None,
) -> StepDefinition:
    """Declare a step that awaits a function (HTTP), outside of any transaction, with an idempotency key.

    It is cancelled after `timeout_seconds`. The other side must take the key seriously: a call may be repeated, and an
    compensation may come for an action of which nothing was heard (`CallContext.action_key`).
    """
    return StepDefinition(
        kind=StepKind.CALL,
        action=function,
        compensation=compensation,
        after=_after(after),
        timeout_seconds=_positive(timeout_seconds),
        retry=retry,
        compensation_retry=compensation_retry,
        pivot=pivot,
        optional=optional,
        no_compensation=no_compensation,
        reply=reply,
        merge=merge,
    )


def local(
    function: LocalFunction,
    *,
    compensation: LocalFunction | None = None,
    after: After = (),
    pivot: bool = False,
    optional: bool = False,
    no_compensation: bool = False,
) -> StepDefinition:
    """Declare a step on the service's own database, in the transaction that saves the instance: it happens with it.

    An exception other than `Rejected` is a bug and no refusal: it rolls the transaction back, which is tried again by
    the saga's `hook_retry`, and then waits for an operator.
    """
    return StepDefinition(
        kind=StepKind.LOCAL,
        action=function,
        compensation=compensation,
        after=_after(after),
        pivot=pivot,
        optional=optional,
        no_compensation=no_compensation,
    )


def _after(after: After) -> tuple[str | StepDefinition, ...]:
    return after if isinstance(after, tuple) else (after,)


def _positive(timeout_seconds: float) -> float:
    if not 0 < timeout_seconds < math.inf:
        raise DeclarationError(f"timeout_seconds must be more than 0, and is {timeout_seconds}")
    return timeout_seconds
