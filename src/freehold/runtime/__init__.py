"""The runtime: a service put together from settings and adapters, with its loops."""

from freehold.runtime.health import Health, Readiness, RunnerHealth
from freehold.runtime.loops import ROLES
from freehold.runtime.running import RunningService
from freehold.runtime.several import Runtime, run

__all__ = ["ROLES", "Health", "Readiness", "RunnerHealth", "RunningService", "Runtime", "run"]
