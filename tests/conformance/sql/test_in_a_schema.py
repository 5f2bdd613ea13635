"""The stores in a schema of their own: the suites whose functions and locks a schema changes."""

from __future__ import annotations

from tests.conformance.engines import OnPostgresSchema

from freehold.conformance.database import DatabaseConformance
from freehold.conformance.events import EventStoreConformance
from freehold.conformance.inbox import InboxStoreConformance
from freehold.conformance.logs import BrokerLogStoreConformance
from freehold.conformance.outbox import OutboxStoreConformance
from freehold.conformance.saga import SagaStoreConformance
from freehold.conformance.schedule import ScheduleStoreConformance
from freehold.conformance.sent import SentStoreConformance


class TestDatabaseInASchema(OnPostgresSchema, DatabaseConformance):
    pass


class TestOutboxStoreInASchema(OnPostgresSchema, OutboxStoreConformance):
    pass


class TestBrokerLogStoreInASchema(OnPostgresSchema, BrokerLogStoreConformance):
    pass


class TestSentStoreInASchema(OnPostgresSchema, SentStoreConformance):
    pass


class TestInboxStoreInASchema(OnPostgresSchema, InboxStoreConformance):
    pass


class TestEventStoreInASchema(OnPostgresSchema, EventStoreConformance):
    pass


class TestSagaStoreInASchema(OnPostgresSchema, SagaStoreConformance):
    pass


class TestScheduleStoreInASchema(OnPostgresSchema, ScheduleStoreConformance):
    pass
