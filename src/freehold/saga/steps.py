"""The declarations of a saga's steps: commands with replies, async calls, and functions on the service's own database.

Pattern: imports the foundation and the transaction. A step gets the name of the class attribute to which it is
assigned; `definition.py` collects the steps and checks them.
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
"""For actions that can be compensated: give up soon, since a caller waits for the result."""
RETRY_BACK: Final = Retry(attempts=12, delay_seconds=1.0, delay_seconds_max=60.0)
"""For compensations, and for actions from the pivot on: when they are given up, an operator has to decide."""


class StepDirection(StrEnum):
    """The action of a step or its compensation. The values travel in the header `freehold-direction`."""

    ACTION = "action"
    COMPENSATION = "compensation"


class StepKind(StrEnum):
    """The kind of a step: a command to a service, a call outside of transactions, or a local function."""

    COMMAND = "command"
    CALL = "call"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class CallContext:
    """The second argument of a call, beside the state.

    idempotency_key  the same for all attempts of this action or compensation; pass it to the other side.
    action_key       in a compensation: the idempotency key of its action, so that the other side can find or cancel it.
    attempt          from 1, for logs.
    """

    saga_id: UUID
    step: str
    direction: StepDirection
    idempotency_key: str
    attempt: int
    action_key: str | None = None


CallFunction = Callable[[Any, CallContext], Awaitable[Any]]
"""`(state, context)`: returns the reply (a dataclass, a mapping or None). Raises `Rejected` for a business refusal, and
any other exception where it is not known whether it took effect."""
LocalFunction = Callable[[Any, Transaction], Awaitable[Any]]
"""`(state, tx)`: returns the next state, or None to keep the present one. Raises `Rejected` only before it has written
anything."""
Merge = Callable[[Any, Any], Any]
"""`(state, reply)`: returns the next state."""


@dataclass(frozen=True, slots=True, eq=False)
class StepDefinition:
    """A declared step. The definition sets `name`, `predecessors`, `before_pivot` and `descendants`.

    before_pivot  whether the saga compensates when the step fails: true for every step of a saga without a pivot, for
                  each step before the pivot, and for the pivot itself.
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
        """The retry policy of the action or the compensation."""
        if direction is StepDirection.COMPENSATION:
            return self.compensation_retry
        if self.retry is not None:
            return self.retry
        may_fail = self.optional or (self.before_pivot and not self.pivot)
        return RETRY_FORWARD if may_fail else RETRY_BACK


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

    command, compensation  command classes; made from the state's fields of the same names, or by `make` and
                           `make_compensation`.
    after                  the step or steps that must have succeeded before; none: the step starts with the saga. Steps
                           whose predecessors have succeeded run in parallel.
    timeout_seconds        an attempt without a reply counts as failed after this time; the next attempt has the same
                           idempotency key.
    pivot                  once it is done, nothing is compensated any more. While its outcome is unknown it is
                           repeated, never compensated.
    optional               its failure does not fail the saga.
    no_compensation        says that the step needs no compensation.
    reply, merge           by default the fields of the reply are merged into the state's fields of the same names. With
                           `merge`, `merge(state, reply)` returns the next state; the reply is decoded as the class
                           `reply`, or as a mapping without one.
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
    """Declare a step that awaits a function (an HTTP call), outside of any transaction, with an idempotency key.

    It is cancelled after `timeout_seconds`. The other side must honour the key: a call may be repeated, and a
    compensation may come for an action that never arrived there (`CallContext.action_key`).
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
    """Declare a step on the service's own database. The function runs in the transaction that saves the instance.

    An exception other than `Rejected` is a bug: the transaction is rolled back and retried by the saga's `hook_retry`,
    and then the instance needs attention.
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
