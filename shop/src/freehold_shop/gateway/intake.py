"""The intake of many products, customers and stock in one request, for clients that load orders from a file.

The services get their shares at the same time; each writes its share in one transaction and does not change what it
has already, so the request may be repeated. Imports FastAPI and the shop's calls.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from freehold.http import problem_responses
from freehold_shop.calls import ServiceUnavailable, call
from freehold_shop.direct import DirectRoute
from freehold_shop.gateway.proxy import passed_headers
from freehold_shop.problems import Problem

__all__ = ["INTAKE_SECONDS", "Intake", "routes"]

INTAKE_SECONDS = 30.0
_NOTHING = msgspec.Raw(b"")  # msgspec knows no optional Raw


class Intake(msgspec.Struct, forbid_unknown_fields=True):
    """The shares, passed on undecoded; the services check them."""

    products: msgspec.Raw = _NOTHING
    customers: msgspec.Raw = _NOTHING
    stock: msgspec.Raw = _NOTHING


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "products": {"type": "array", "items": {"type": "object"}},
                        "customers": {"type": "array", "items": {"type": "object"}},
                        "stock": {"type": "object"},
                    },
                }
            }
        },
    }
}


def routes() -> APIRouter:
    """The route of the intake."""
    router = APIRouter(route_class=DirectRoute)

    @router.post("/intake", responses=problem_responses(400, 404, 413, 422, 503), openapi_extra=_BODY)
    async def take_in(request: Request) -> Response:
        try:
            intake = msgspec.json.decode(await request.body(), type=Intake)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Problem(422, "not-an-intake", "an intake may have products, customers and stock only") from None
        passed = {name: text for name, text in passed_headers(request).items() if name != "idempotency-key"}
        shares = {
            "products": ("catalog", "/products/bulk", _wrapped("products", intake.products)),
            "customers": ("users", "/customers/bulk", _wrapped("customers", intake.customers)),
            "stock": ("inventory", "/stock/receipts", bytes(intake.stock) or None),
        }
        wanted = {name: share for name, share in shares.items() if share[2] is not None}
        results = await asyncio.gather(*(_pass_on(*share, passed) for share in wanted.values()))
        answers = dict(zip(wanted, results, strict=True))
        status = max((status for status, _ in answers.values()), default=200)
        content = {name: body for name, (_, body) in answers.items()}
        headers = {"retry-after": "1"} if status == 503 else {}
        return Response(msgspec.json.encode(content), status, headers, media_type="application/json")

    return router


def _wrapped(name: str, share: msgspec.Raw) -> bytes | None:
    return None if not bytes(share) else b'{"%s":%s}' % (name.encode(), bytes(share))


async def _pass_on(service: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
    """The response as (status, document); an unavailable service gives 503 like any other response."""
    try:
        answer = await call(service, "POST", path, body=body, headers=headers, timeout_seconds=INTAKE_SECONDS)
        return answer.status, msgspec.json.decode(answer.body)
    except ServiceUnavailable as error:
        return 503, {"status": 503, "code": f"{service}-unavailable", "detail": error.reason}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 502, {"status": 502, "code": f"{service}-unreadable"}
