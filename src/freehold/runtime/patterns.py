"""The list of the built-in patterns. Runtime: imports the declaration of each pattern.

The order is that of wiring, of checks, and of roles in lists. A pattern comes after those whose objects it uses: inbox
and projections register with the gate of consistency, and replies to sagas arrive through the inbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from freehold.aggregate.pattern import PATTERN as AGGREGATE
from freehold.audit.pattern import PATTERN as AUDIT
from freehold.broker import Broker
from freehold.clock import Clock
from freehold.consistency.pattern import PATTERN as CONSISTENCY
from freehold.context import ServiceContext
from freehold.deadletters.pattern import PATTERN as DEAD_LETTERS
from freehold.errors import DeclarationError
from freehold.failures import FailureLog
from freehold.idempotency.pattern import PATTERN as IDEMPOTENCY
from freehold.inbox.pattern import PATTERN as INBOX
from freehold.outbox.pattern import PATTERN as OUTBOX
from freehold.pattern import Pattern
from freehold.ports import Stores
from freehold.projection.pattern import PROJECTION, VIEW
from freehold.reconcile.pattern import PATTERN as RECONCILE
from freehold.runtime.adapters import open_broker, open_stores
from freehold.runtime.hint_sender import HintSender
from freehold.runtime.prune_runner import PRUNE
from freehold.saga.pattern import PATTERN as SAGA
from freehold.schedule.pattern import PATTERN as SCHEDULE
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transactions

__all__ = ["PATTERNS", "patterns_of", "service_context", "stores_of", "topics_of", "wire"]

PATTERNS: Final[tuple[Pattern[Any], ...]] = (
    CONSISTENCY,
    OUTBOX,
    INBOX,
    DEAD_LETTERS,
    SCHEDULE,
    SAGA,
    PROJECTION,
    VIEW,
    RECONCILE,
    IDEMPOTENCY,
    AGGREGATE,
    AUDIT,
)


def patterns_of(service: Service) -> tuple[Pattern[Any], ...]:
    """The built-in patterns, and the service's own.

    Raises `DeclarationError` if two patterns, or the roles of two patterns, have the same name.
    """
    known = {pattern.name for pattern in PATTERNS}
    roles = {PRUNE, *(role.name for pattern in PATTERNS for role in pattern.roles)}
    for pattern in service.patterns:
        if pattern.name in known:
            raise DeclarationError(f"service '{service.name}': two patterns are called '{pattern.name}'")
        known.add(pattern.name)
        for name in {role.name for role in pattern.roles}:
            if name in roles:
                raise DeclarationError(
                    f"service '{service.name}': the role '{name}' of pattern '{pattern.name}' exists already",
                    hint="give the role another name",
                )
            roles.add(name)
    return (*PATTERNS, *service.patterns)


def stores_of(service: Service, settings: Settings, clock: Clock | None = None) -> Stores:
    """The stores of a service, not connected yet: those of its engine, and those of its own patterns for that engine.

    Raises `ConfigurationError`, `MissingDriver`, `DeclarationError` for a port that is provided twice.
    """
    migrations = [each for pattern in service.patterns for each in pattern.migrations]
    stores = open_stores(settings.database, settings.database_options, [*migrations, *service.migrations], clock)
    own = [each for pattern in service.patterns for each in pattern.provisions.get(stores.engine, ())]
    return stores.extended(own) if own else stores


def topics_of(context: ServiceContext, patterns: Iterable[Pattern[Any]]) -> frozenset[str]:
    """The topics that patterns read from the broker."""
    return frozenset(topic for each in patterns if each.reads is not None for topic in each.reads(context.of(each)))


def wire(context: ServiceContext, patterns: Iterable[Pattern[Any]]) -> Transactions:
    """Call `Pattern.wire` of all patterns; returns the object that begins transactions."""
    transactions = Transactions(context)
    context.offer(Transactions, transactions)
    for pattern in patterns:
        pattern.wire(context)
    return transactions


def service_context(
    service: Service, stores: Stores, settings: Settings, *, clock: Clock | None = None, broker: Broker | None = None
) -> ServiceContext:
    """The context for actions on a service that does not run here: its database, opened by the caller, and no loops.
    `close` it before the database: until then it may be sending hints.

    `broker` is an open one; without it the service's broker is opened for each question (`asked_broker`).
    """
    context = ServiceContext(
        service.name,
        stores,
        clock=clock,
        broker=broker,
        settings=settings,
        failures=FailureLog(tracebacks=settings.log_tracebacks),
        declared=service.of,
        make_broker=lambda: open_broker(settings.broker, settings.broker_options),
    )
    patterns = patterns_of(service)
    wire(context, patterns)
    HintSender(context, {signal for pattern in patterns for role in pattern.roles for signal in role.signals})
    return context
