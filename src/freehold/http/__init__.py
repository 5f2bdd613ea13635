"""FastAPI integration: lifespan, transaction dependency, Idempotency-Key, problem+json, health.

FastAPI is an optional dependency: a name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from freehold.errors import MissingDriver

if TYPE_CHECKING:
    from freehold.http.app import Tx, create_app, install, lifespan, running_service, transaction
    from freehold.http.consistency import fresh
    from freehold.http.limit import BodyLimitMiddleware
    from freehold.http.problems import install_problems, problem, problem_responses

__all__ = [
    "BodyLimitMiddleware",
    "Tx",
    "create_app",
    "fresh",
    "install",
    "install_problems",
    "lifespan",
    "problem",
    "problem_responses",
    "running_service",
    "transaction",
]
_HOMES: Final = {
    "BodyLimitMiddleware": "freehold.http.limit",
    "fresh": "freehold.http.consistency",
    "install_problems": "freehold.http.problems",
    "problem": "freehold.http.problems",
    "problem_responses": "freehold.http.problems",
}


def __getattr__(name: str) -> Any:
    """Import a public name. Raises `MissingDriver` if FastAPI is not installed."""
    if name not in __all__:
        raise AttributeError(name)
    try:
        return getattr(importlib.import_module(_HOMES.get(name, "freehold.http.app")), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"fastapi", "starlette"}:
            raise
        raise MissingDriver("fastapi", extra="http") from error
