"""What the gateway's composed routes share: their composer, and the response made from a composition.

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
_CLIENT_LEFT = 499  # the status that proxies log for a client that disconnected; no client reads it
_CORRELATION = "x-correlation-id"
_CONSISTENCY = "freehold-consistency"


class Compose(Protocol):
    """A function that composes one document for one request."""

    async def __call__(self, *, headers: Mapping[str, str], budget: Budget) -> tuple[object, Mapping[str, str]]:
        """Return the document and the headers of the response. Raises `CompositionFailed`, `NotFound`."""


def create_composer() -> Composer:
    """Make the gateway's composer, which has the circuit breakers and caches the reference data."""
    return Composer(reach, merge_headers=_merged)


def routes(composer: Composer) -> APIRouter:
    """The route that shows the gateway's circuit breakers."""
    router = APIRouter()

    @router.get("/breakers")
    async def show_breakers() -> dict[str, BreakerView]:
        return dict(composer.breakers())

    return router


async def answer(request: Request, what: str, compose: Compose) -> Response:
    """The composed document as a response, with its headers. Composing ends when the client disconnects.

    The time budget is the gateway's, or the client's where that is less. Raises `ServiceUnavailable` where a required
    part is missing, `ServiceRefused` where its service rejects the request, `Problem` where `what` does not exist.
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
    """The error for a part that its service rejected: since the parameters fit, a 400 means the consistency token."""
    if error.status == 400:
        return Problem(400, "bad-request", "the services reject the headers of this request")
    return ServiceRefused(error.missing.service, "the request is not valid")


def _merged(replies: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    """One consistency header for all: merged from the client's and from those of the services that answered."""
    token = merge_headers(reply.get(_CONSISTENCY, "") for reply in replies)
    return {_CONSISTENCY: token} if token else {}


def _passed_on(request: Request) -> dict[str, str]:
    """The headers that are passed on to the services; no idempotency key, since a composition only reads."""
    return {name: value for name, value in passed_headers(request).items() if name != "idempotency-key"}
