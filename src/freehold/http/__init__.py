"""FastAPI integration: lifespan, transaction dependency, Idempotency-Key, problem+json, health.

FastAPI is an extra, and the store's port in this package is needed without it: names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from freehold.errors import MissingDriver

if TYPE_CHECKING:
    from freehold.http.app import Tx, create_app, install, lifespan, running_service, transaction
    from freehold.http.consistency import fresh
    from freehold.http.problems import problem

__all__ = ["Tx", "create_app", "fresh", "install", "lifespan", "problem", "running_service", "transaction"]


def __getattr__(name: str) -> Any:
    """Load a public name. Raises `MissingDriver` where FastAPI is not installed."""
    if name not in __all__:
        raise AttributeError(name)
    module = {"problem": "freehold.http.problems", "fresh": "freehold.http.consistency"}.get(name, "freehold.http.app")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"fastapi", "starlette"}:
            raise
        raise MissingDriver("fastapi", extra="http") from error
