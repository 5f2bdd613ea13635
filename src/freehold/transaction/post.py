"""What a service writes its events and sends its messages with. Imports the foundation, the ports, and the stores of
outbox, schedule and events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from freehold.clock import Clock, HybridLogicalClock
from freehold.database import Database
from freehold.eventstore.store import EventStore
from freehold.failures import FailureLog
from freehold.outbox.store import OutboxStore
from freehold.schedule.store import ScheduleStore
from freehold.transaction.envelopes import EnvelopeFactory

__all__ = ["Post"]


@dataclass(frozen=True, slots=True)
class Post:
    """What a service writes and sends its messages with: names, clocks, stores. One for each running service."""

    service: str
    database: Database
    outbox: OutboxStore
    schedule: ScheduleStore
    clock: Clock
    hlc: HybridLogicalClock
    events: EventStore | None = None
    snapshots: object | None = None
    on_staged: Callable[[], None] = field(default=lambda: None)
    on_scheduled: Callable[[], None] = field(default=lambda: None)
    on_appended: Callable[[], None] = field(default=lambda: None)
    failures: FailureLog = field(default_factory=FailureLog)
    envelopes: EnvelopeFactory = field(init=False)

    def __post_init__(self) -> None:
        """Make the factory once: an envelope is made for each message."""
        object.__setattr__(self, "envelopes", EnvelopeFactory(self.service, self.clock, self.hlc))
