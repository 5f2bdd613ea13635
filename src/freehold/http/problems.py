"""Errors as `application/problem+json` (RFC 9457). Runtime: imports the foundation, FastAPI and Starlette.

No problem holds a value of the request: fields are named, their content is not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from freehold.aggregate import VersionMismatch
from freehold.errors import ConcurrencyConflict, DuplicateMessage, FreeholdError, NotFound, Unavailable
from freehold.inbox.outcome import Rejected

__all__ = ["install_problems", "problem", "problem_of"]

_log = logging.getLogger("freehold.http")
_STATUS: Mapping[type[FreeholdError], int] = {
    Rejected: 409,
    VersionMismatch: 412,
    ConcurrencyConflict: 409,
    DuplicateMessage: 409,
    NotFound: 404,
    Unavailable: 503,
}
# Texts of these come from the application's own validators and may quote the input.
_QUOTING = frozenset({"value_error", "assertion_error"})


def problem(status: int, detail: str = "", *, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """Make a problem answer; `members` are its extension members."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, **members}
    if detail:
        content["detail"] = detail
    return JSONResponse(content, status, headers=dict(headers or {}), media_type="application/problem+json")


def problem_of(error: FreeholdError) -> JSONResponse:
    """Make the answer for one of Freehold's errors; what only an operator can mend is not told to the caller."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if isinstance(error, Rejected):
        return problem(status, error.detail, code=error.code)
    if status == 500:
        _log.error("request failed", exc_info=error)
        return problem(status)
    headers = {"Retry-After": "1"} if status == 503 else None
    told = isinstance(error, (NotFound, VersionMismatch))
    return problem(status, error.message if told else "", headers=headers)


def install_problems(app: FastAPI) -> None:
    """Have every error of an application answered as a problem."""
    app.add_exception_handler(FreeholdError, _on_freehold_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)


async def _on_freehold_error(_request: Request, error: Exception) -> JSONResponse:
    return problem_of(error) if isinstance(error, FreeholdError) else problem(500)


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    errors = [
        {"at": [str(part) for part in each["loc"]], "type": each["type"]}
        | ({} if each["type"] in _QUOTING else {"message": each["msg"]})
        for each in found
    ]
    return problem(422, "the request does not fit", errors=errors)


async def _on_http_exception(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return problem(500)
    given: Any = error.detail  # FastAPI's own HTTPException takes any JSON
    if isinstance(given, dict):
        return problem(error.status_code, headers=error.headers, **given)
    detail = "" if given == HTTPStatus(error.status_code).phrase else str(given)
    return problem(error.status_code, detail, headers=error.headers)


async def _on_exception(_request: Request, _error: Exception) -> JSONResponse:
    """Starlette logs the exception and raises it on to the server; the caller learns nothing of it."""
    return problem(500)
