"""Errors of the shop's APIs as problem documents (RFC 9457), with a stable `code`.

Imports FastAPI and the shop's calls.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from freehold.runtime import Outages, current_outages
from freehold_shop.calls import ServiceRefused, ServiceUnavailable

__all__ = ["Problem", "answer_problems", "not_found"]

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """The error response of a request. `code` is for programs; neither text has personal data."""

    def __init__(self, status: int, code: str, detail: str = "", *, retry_after_seconds: int | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


def not_found(what: str) -> Problem:
    """A problem for something that does not exist."""
    return Problem(404, f"unknown-{what}", f"there is no such {what}")


def answer_problems(app: FastAPI) -> None:
    """Answer problems and unavailable services with problem documents; log an outage once a minute."""
    outages = Outages(app.title)

    @app.exception_handler(Problem)
    async def answer(_request: Request, problem: Problem) -> JSONResponse:
        return _response(problem)

    @app.exception_handler(ServiceUnavailable)
    async def answer_unavailable(_request: Request, error: ServiceUnavailable) -> JSONResponse:
        (current_outages() or outages).unanswered(error, f"service '{error.service}'")
        return _response(Problem(503, f"{error.service}-unavailable", str(error), retry_after_seconds=1))

    @app.exception_handler(ServiceRefused)
    async def answer_refused(_request: Request, error: ServiceRefused) -> JSONResponse:
        return _response(Problem(502, f"{error.service}-refuses", error.reason))


def _response(problem: Problem) -> JSONResponse:
    document = {
        "type": "about:blank",
        "title": problem.code.replace("-", " "),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    headers = {} if problem.retry_after_seconds is None else {"retry-after": str(problem.retry_after_seconds)}
    return JSONResponse(document, problem.status, headers, media_type=MEDIA_TYPE)
