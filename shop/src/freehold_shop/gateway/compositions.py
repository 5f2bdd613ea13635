"""What the gateway's composed routes have in common: their composer, and how a composition becomes an answer.

Imports FastAPI, Freehold's composition and consistency, and the shop's calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fastapi import APIRouter, Request, Response

from freehold import NotFound
from freehold.composition import (
    BUDGET_HEADER,
    BreakerView,
    Budget,
    ClientDisconnected,
    Composer,
    CompositionFailed,
    Reason,
    while_connected,
)
from freehold.consistency import merge_headers
from freehold_shop.calls import ServiceRefused, ServiceUnavailable, reach
from freehold_shop.direct import json_answer
from freehold_shop.gateway.proxy import passed_headers
from freehold_shop.problems import Problem, not_found

__all__ = ["BUDGET_SECONDS", "Compose", "answer", "create_composer", "routes"]

BUDGET_SECONDS = 2.0
_CLIENT_LEFT = 499  # what proxies write down for it; nobody reads it
_CORRELATION = "x-correlation-id"
_CONSISTENCY = "freehold-consistency"


class Compose(Protocol):
    """Composes one document, for one request."""

    async def __call__(self, *, headers: Mapping[str, str], budget: Budget) -> tuple[object, Mapping[str, str]]:
        """The document, and the headers of its answer. Raises `CompositionFailed`, `NotFound`."""


def create_composer() -> Composer:
    """The gateway's composer: it knows which service fails, and keeps the reference data."""
    return Composer(reach, merge_headers=_merged)


def routes(composer: Composer) -> APIRouter:
    """How the services do, as the gateway sees them."""
    router = APIRouter()

    @router.get("/breakers")
    async def show_breakers() -> dict[str, BreakerView]:
        return dict(composer.breakers())

    return router


async def answer(request: Request, what: str, compose: Compose) -> Response:
    """The composed document as an answer, with its headers. Composing ends when the client leaves.

    It has the gateway's time, or what the client says that it waits, where that is less. Raises `ServiceUnavailable`
    where a required part is missing, `ServiceRefused` where its service does not take what it is asked, `Problem` where
    there is no such thing as `what`.
    """
    headers = _passed_on(request)
    budget = Budget.from_header(request.headers.get(BUDGET_HEADER), BUDGET_SECONDS)
    try:
        document, merged = await while_connected(request.receive, compose(headers=headers, budget=budget))
    except ClientDisconnected:
        return Response(status_code=_CLIENT_LEFT)
    except CompositionFailed as error:
        if error.missing.reason == Reason.REFUSED.value:
            raise _refused(error) from error
        raise ServiceUnavailable(error.missing.service, error.missing.reason) from error
    except NotFound:
        raise not_found(what) from None
    answered = json_answer(document)
    answered.headers.update({_CORRELATION: headers[_CORRELATION], **_merged([headers, merged])})
    return answered


def _refused(error: CompositionFailed) -> Exception:
    """What the services refuse of a request whose parameters fit is the consistency token that it brought."""
    if error.status == 400:
        return Problem(400, "bad-request", "the services do not take the headers of this request")
    return ServiceRefused(error.missing.service, "it does not take what it is asked")


def _merged(replies: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    """One consistency header for all: what the client has seen, and what the services that answered have."""
    token = merge_headers(reply.get(_CONSISTENCY, "") for reply in replies)
    return {_CONSISTENCY: token} if token else {}


def _passed_on(request: Request) -> dict[str, str]:
    """What goes along with the calls of a composition; they only read, so no idempotency key does."""
    return {name: value for name, value in passed_headers(request).items() if name != "idempotency-key"}
