"""The runtime: makes running services from their declarations, settings and adapters, and runs their loops."""

from freehold.database import DatabaseOptions
from freehold.deadletters.operations import DeadLetterActions
from freehold.lifecycle import Runner
from freehold.outages import Outages, current_outages
from freehold.outbox.operations import Resend
from freehold.passwords import keep_passwords
from freehold.ports import Stores
from freehold.projection.operations import ProjectionOperations
from freehold.projection.replay_operations import ReplayOperations
from freehold.runtime.adapters import broker_accounts, open_broker, open_stores
from freehold.runtime.event_loop import new_event_loop
from freehold.runtime.health import Health, Readiness, RunnerHealth
from freehold.runtime.patterns import service_context
from freehold.runtime.process import Runtime, raise_together, run
from freehold.runtime.roles import ROLES
from freehold.runtime.running_service import RunningService
from freehold.runtime.standalone import Inbox, Outbox

__all__ = [
    "ROLES",
    "DatabaseOptions",
    "DeadLetterActions",
    "Health",
    "Inbox",
    "Outages",
    "Outbox",
    "ProjectionOperations",
    "Readiness",
    "ReplayOperations",
    "Resend",
    "Runner",
    "RunnerHealth",
    "RunningService",
    "Runtime",
    "Stores",
    "broker_accounts",
    "current_outages",
    "keep_passwords",
    "new_event_loop",
    "open_broker",
    "open_stores",
    "raise_together",
    "run",
    "service_context",
]
