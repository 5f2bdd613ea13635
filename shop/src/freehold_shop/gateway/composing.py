"""What the gateway's composed routes have in common: their composer, and how a composition becomes an answer.

Imports FastAPI, Freehold's composition and the shop's calls.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from freehold.composition import (
    BUDGET_HEADER,
    BreakerView,
    Budget,
    ClientLeft,
    Composer,
    CompositionFailed,
    while_connected,
)
from freehold.errors import NotFound
from freehold_shop.calls import ServiceUnavailable, reach
from freehold_shop.direct import json_answer
from freehold_shop.gateway.forwarding import passed_headers
from freehold_shop.problems import not_found

__all__ = ["BUDGET_SECONDS", "answer", "asked_with", "budget_of", "create_composer", "routes"]

BUDGET_SECONDS = 2.0
_CLIENT_LEFT = 499  # what proxies write down for it; nobody reads it


def create_composer() -> Composer:
    """The gateway's composer: it knows which service fails, and keeps the reference data."""
    return Composer(reach)


def routes(composer: Composer) -> APIRouter:
    """How the services do, as the gateway sees them."""
    router = APIRouter()

    @router.get("/breakers")
    async def show_breakers() -> dict[str, BreakerView]:
        return dict(composer.breakers())

    return router


def asked_with(request: Request) -> dict[str, str]:
    """The headers that go along with the calls of a composition; they only read, so no idempotency key does."""
    return {name: value for name, value in passed_headers(request).items() if name != "idempotency-key"}


def budget_of(request: Request) -> Budget:
    """The time that there is: the gateway's, or what the client says that it waits, where that is less."""
    return Budget.from_header(request.headers.get(BUDGET_HEADER), BUDGET_SECONDS)


async def answer(
    request: Request, what: str, composing: Coroutine[Any, Any, tuple[object, Mapping[str, str]]]
) -> Response:
    """The composed document as an answer, with its headers. Composing ends when the client leaves.

    Raises `ServiceUnavailable` where a required part is missing, `Problem` for `what` does not exist.
    """
    try:
        document, headers = await while_connected(request.receive, composing)
    except ClientLeft:
        return Response(status_code=_CLIENT_LEFT)
    except CompositionFailed as error:
        raise ServiceUnavailable(error.missing.service, error.missing.reason) from error
    except NotFound:
        raise not_found(what) from None
    answered = json_answer(document)
    answered.headers.update(headers)
    return answered
