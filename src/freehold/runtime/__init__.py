"""The runtime: a service put together from settings and adapters, with its loops."""

from freehold.runtime.health import Health, Readiness, RunnerHealth
from freehold.runtime.letters import DeadLetterActions
from freehold.runtime.loops import ROLES
from freehold.runtime.projections import ProjectionActions
from freehold.runtime.replaying import ReplayActions
from freehold.runtime.running import RunningService
from freehold.runtime.several import Runtime, run
from freehold.runtime.standalone import Inbox, Outbox

__all__ = [
    "ROLES",
    "DeadLetterActions",
    "Health",
    "Inbox",
    "Outbox",
    "ProjectionActions",
    "Readiness",
    "ReplayActions",
    "RunnerHealth",
    "RunningService",
    "Runtime",
    "run",
]
