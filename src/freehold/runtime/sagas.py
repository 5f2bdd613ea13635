"""Puts the saga engine beside a service that directs sagas. Runtime: imports the patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freehold.lifecycle import Runner
from freehold.ports import Stores
from freehold.saga import SagaEngine, SagaRunner
from freehold.saga.store import SAGAS
from freehold.service import Service
from freehold.transaction import Transactions

__all__ = ["NO_SAGAS", "SagaWiring", "wire_sagas"]


@dataclass(frozen=True, slots=True)
class SagaWiring:
    """What the other loops need of the saga engine; all of it is missing in a service that directs no saga."""

    engine: SagaEngine | None
    loops: Callable[[], list[Runner]]


NO_SAGAS = SagaWiring(engine=None, loops=list)


def wire_sagas(
    service: Service, transactions: Transactions, stores: Stores, hook_timeout_seconds: float = 30.0
) -> SagaWiring:
    """Make the engine for the sagas that a service directs, and offer it in the context; hooks have as long as
    handlers.
    """
    if not service.sagas:
        return NO_SAGAS
    engine = SagaEngine(service.sagas, stores[SAGAS], transactions.context)
    transactions.context.offer(SagaEngine, engine)
    return SagaWiring(
        engine=engine, loops=lambda: [SagaRunner(engine, transactions, hook_timeout_seconds=hook_timeout_seconds)]
    )
