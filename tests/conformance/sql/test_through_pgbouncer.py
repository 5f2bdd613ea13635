"""The stores through a real PgBouncer that pools transactions: the suites of those that cannot do without a session's
state where they are done wrong (markers, advisory locks, claims, functions with settings).
"""

from __future__ import annotations

from tests.conformance.engines import OnPgbouncer

from freehold.conformance.events import EventStoreConformance
from freehold.conformance.inbox import ReceiptsConformance
from freehold.conformance.outbox import OutboxStoreConformance
from freehold.conformance.saga import SagaStoreConformance
from freehold.conformance.sent import SentStoreConformance


class TestOutboxStoreThroughPgbouncer(OnPgbouncer, OutboxStoreConformance):
    pass


class TestSentStoreThroughPgbouncer(OnPgbouncer, SentStoreConformance):
    pass


class TestReceiptsThroughPgbouncer(OnPgbouncer, ReceiptsConformance):
    pass


class TestEventStoreThroughPgbouncer(OnPgbouncer, EventStoreConformance):
    pass


class TestSagaStoreThroughPgbouncer(OnPgbouncer, SagaStoreConformance):
    pass
