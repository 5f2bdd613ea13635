"""What the services need, imported and made once in the supervisor, so that its forks share the memory of it.

A forked process shares a page until one of the two writes to it. What is imported before the fork is in memory once; an
import after it is in each process, and delays each start. The same holds for the applications: to make one takes eight
times the memory of a service that is made. Imports the composition root and the process of services.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping
from importlib.metadata import entry_points

from freehold import FreeholdError, Settings
from freehold.runtime import RunningService
from freehold_shop.assembly import SERVICES, create_app, run_service
from freehold_shop.supervisor.plan import SERVICE_NAMES
from freehold_shop.supervisor.service_process import Application, server_config

__all__ = ["preload"]


def preload(settings: Mapping[str, Settings]) -> Mapping[str, Application]:
    """Import what services with these settings need, make their applications, and exclude all of it from garbage
    collection, which would write to it. Returns the applications by service.

    Each service is made and dropped as well: that imports what is imported at the first use. Nothing is opened, so no
    thread and no descriptor is left that a fork would copy. What fails here fails in the process of the service as
    well, which makes what is missing, and reports the failure.
    """
    for entry in entry_points(group="freehold.adapters"):
        with contextlib.suppress(ImportError, FreeholdError):
            entry.load()
    made: dict[str, Application] = {}
    for name in SERVICE_NAMES:
        with contextlib.suppress(ImportError, FreeholdError):
            if name in SERVICES:
                run_service(name, settings[name])
            made[name] = _made(name)
    gc.collect()
    gc.freeze()
    return made


def _made(name: str) -> Application:
    """The application of a service that does not exist yet: it has identifiers of the process that it runs in, so that
    process makes it, in the place that the routes know.
    """
    running = RunningService.__new__(RunningService) if name in SERVICES else None
    config = server_config(create_app(name, running))
    config.load()
    return Application(config, running)
