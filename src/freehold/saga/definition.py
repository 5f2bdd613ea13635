"""The declaration of a saga: a class whose attributes are steps, checked when the class is made.

Pattern: imports the foundation and the transaction.

    class Checkout(Saga[CheckoutState], name="orders.checkout", version=1, key="order_id"):
        reserve = step(ReserveStock, compensation=ReleaseStock, timeout_seconds=5)
        hold = step(HoldPayment, compensation=VoidHold, after=reserve)
        capture = step(CapturePayment, pivot=True, after=hold)
        confirm = local(confirm_order, after=capture)
        notify = step(SendConfirmation, optional=True, after=confirm)
        on_compensated = cancel_order

An instance keeps the name and version with which it was started. To change the steps, declare a new class with the next
version, and keep the old class (`service.orchestrates(CheckoutV1)`) until its instances have ended.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin
from uuid import UUID

from freehold.errors import DeclarationError
from freehold.messages.declaration import VERSION_MAX
from freehold.policy import Retry
from freehold.saga.hooks import RETRY_HOOK
from freehold.saga.steps import LocalFunction, StepDefinition
from freehold.saga.validation import check_graph, check_state, check_steps
from freehold.transaction import Transaction

__all__ = ["Saga", "SagaDefinition", "not_orchestrated"]

S = TypeVar("S")
_NAME = re.compile(r"(?=.{1,200}\Z)[a-z][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)+")


@dataclass(frozen=True)
class SagaDefinition:
    """A checked declaration. In `steps` each step comes after its predecessors.

    key               a field of the state. Operators find the instance by it, and it is the partition key of a command
                      that has no key of its own.
    deadline_seconds  time after which the saga is compensated, unless its pivot has started. Time in which a hook fails
                      is not counted.
    hook_retry        how code of the definition that raises is retried, before the instance needs attention.
    """

    name: str
    version: int
    key: str
    state_type: type[Any]
    steps: tuple[StepDefinition, ...]
    deadline_seconds: float | None = None
    on_completed: LocalFunction | None = None
    on_compensated: LocalFunction | None = None
    hook_retry: Retry = RETRY_HOOK

    @cached_property
    def by_name(self) -> Mapping[str, StepDefinition]:
        """The steps by name."""
        return {step.name: step for step in self.steps}

    @cached_property
    def pivot(self) -> StepDefinition | None:
        """The step after which the saga can only go forward; None where there is none."""
        return next((step for step in self.steps if step.pivot), None)


def not_orchestrated(definition: SagaDefinition, service: str) -> DeclarationError:
    """The error for a saga that a service does not orchestrate."""
    return DeclarationError(
        f"'{service}' does not orchestrate saga '{definition.name}' version {definition.version}",
        hint="declare it with service.orchestrates(...), and start it in a transaction of the running service",
    )


class Saga(Generic[S]):
    """Base class of sagas. `S` is the state, a frozen dataclass. The class is the declaration; it has no instances.

    `await Checkout.start(tx, state)` starts an instance of the saga.

    `on_completed` and `on_compensated` run in the transaction in which the instance ends. If they, or other code of the
    definition, raise, they are retried by `hook_retry`; then the instance needs attention. Such an exception fails no
    step, and nothing is repeated or compensated because of it.
    """

    on_completed: ClassVar[LocalFunction | None] = None
    on_compensated: ClassVar[LocalFunction | None] = None
    _definition: ClassVar[SagaDefinition | None] = None

    def __init_subclass__(
        cls,
        *,
        name: str,
        version: int = 1,
        key: str,
        deadline_seconds: float | None = None,
        hook_retry: Retry = RETRY_HOOK,
        **kwargs: Any,
    ) -> None:
        """Read and check the declaration. Raises `DeclarationError`."""
        super().__init_subclass__(**kwargs)
        if _NAME.fullmatch(name) is None or type(version) is not int or not 1 <= version <= VERSION_MAX:
            raise DeclarationError(
                f"saga {cls.__qualname__}: name '{name}' version {version}",
                hint='write name="orders.checkout", version=1: lower case, the service first',
            )
        if deadline_seconds is not None and not 0 < deadline_seconds < math.inf:
            raise DeclarationError(f"saga '{name}' needs a deadline_seconds of more than 0")
        state_type = _state_type(cls)
        check_state(name, state_type, key)
        steps = check_graph(name, _named_steps(cls))
        check_steps(name, state_type, steps)
        cls._definition = SagaDefinition(
            name=name,
            version=version,
            key=key,
            state_type=state_type,
            steps=steps,
            deadline_seconds=deadline_seconds,
            on_completed=_hook(cls, "on_completed"),
            on_compensated=_hook(cls, "on_compensated"),
            hook_retry=hook_retry,
        )

    @classmethod
    def definition(cls) -> SagaDefinition:
        """Return the checked declaration."""
        if cls._definition is None:
            raise DeclarationError("Saga itself declares nothing", hint="derive a class from Saga[YourState]")
        return cls._definition

    @classmethod
    async def start(cls, tx: Transaction, state: S, *, saga_id: UUID | None = None) -> UUID:
        """Start an instance with the commit of `tx`; returns its id. A second start with the same `saga_id` changes
        nothing.

        Raises `DeclarationError` where the service of `tx` does not orchestrate this saga, and in a transaction that an
        `Outbox` has joined; `InvalidValue` for a state that does not fit its class, or an invalid id or key;
        `TransactionEnded`.
        """
        # Imported here: the engine imports this module.
        from freehold.saga.engine import SagaEngine

        tx.db_tx.life.check()
        engine = tx.staging.context.find(SagaEngine)
        if engine is None:
            raise not_orchestrated(cls.definition(), tx.staging.context.service)
        return await engine.start(tx, cls, state, saga_id=saga_id)


def _state_type(cls: type[Any]) -> type[Any]:
    for base in cls.__dict__.get("__orig_bases__", ()):
        if get_origin(base) is Saga and isinstance(get_args(base)[0], type):
            state_type: type[Any] = get_args(base)[0]
            return state_type
    raise DeclarationError(f"saga {cls.__qualname__} names no state", hint="class Checkout(Saga[CheckoutState], ...)")


def _named_steps(cls: type[Any]) -> list[StepDefinition]:
    """Give each step the name of its attribute, and replace references by names."""
    declared = {name: value for name, value in cls.__dict__.items() if isinstance(value, StepDefinition)}
    names: dict[int, str] = {}
    for name, value in declared.items():
        if name in vars(Saga):
            raise DeclarationError(
                f"step '{name}' of {cls.__qualname__} has the name of an attribute of Saga", hint="rename it"
            )
        if id(value) in names:
            raise DeclarationError(f"steps '{names[id(value)]}' and '{name}' of {cls.__qualname__} are one object")
        names[id(value)] = name
    return [
        dataclasses.replace(
            value,
            name=name,
            predecessors=tuple(
                entry if isinstance(entry, str) else names.get(id(entry), "a step of another saga")
                for entry in value.after
            ),
        )
        for name, value in declared.items()
    ]


def _hook(cls: type[Any], name: str) -> LocalFunction | None:
    found = cls.__dict__.get(name)
    hook: LocalFunction | None = found.__func__ if isinstance(found, staticmethod) else found
    return hook
