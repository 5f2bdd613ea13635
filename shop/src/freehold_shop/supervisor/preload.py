"""What the services need, imported and made once in the supervisor, so that its forks share the memory of it.

A forked process shares a page until one of the two writes to it. What is imported before the fork is in memory once; an
import after it is in each process, and delays each start. Imports the composition root and the process of services.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping
from importlib.metadata import entry_points

from freehold import FreeholdError, Settings
from freehold_shop.assembly import SERVICES, create_app, run_service
from freehold_shop.supervisor.plan import SERVICE_NAMES
from freehold_shop.supervisor.service_process import server_config

__all__ = ["preload"]


def preload(settings: Mapping[str, Settings]) -> None:
    """Import what services with these settings need, and exclude it from garbage collection, which would write to it.

    Each service and its application are made and dropped: that imports what is imported at the first use. Nothing is
    opened, so no thread and no descriptor is left that a fork would copy. What fails here fails in the process of the
    service as well, which reports it.
    """
    for entry in entry_points(group="freehold.adapters"):
        with contextlib.suppress(ImportError, FreeholdError):
            entry.load()
    for name in SERVICE_NAMES:
        with contextlib.suppress(ImportError, FreeholdError):
            running = run_service(name, settings[name]) if name in SERVICES else None
            server_config(create_app(name, running)).load()
    gc.collect()
    gc.freeze()
