"""Errors as `application/problem+json` (RFC 9457). Runtime: imports the foundation, FastAPI and Starlette.

A problem contains no value of the request: it names fields, not their content. Its size is limited.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic_core.core_schema import ErrorType
from starlette.exceptions import HTTPException

from freehold.aggregate import VersionMismatch
from freehold.composition import CallFailed, CompositionFailed, Reason
from freehold.errors import ConcurrencyConflict, DuplicateMessage, FreeholdError, InvalidValue, NotFound, Unavailable
from freehold.failures import FailureLog, describe
from freehold.http.context import CORRELATION_HEADER, RequestContext
from freehold.inbox.reply import Rejected
from freehold.outages import DATABASE, Outages, current_outages

__all__ = ["RETRY_AFTER_SECONDS", "install_problems", "problem", "problem_of", "problem_responses", "refusal_of"]

RETRY_AFTER_SECONDS: Final = "1"
"""Seconds, as a header: an outage may end at any time."""
_log = logging.getLogger("freehold.http")
_outages: Final = Outages("requests")
_failures: Final = FailureLog()
"""Both for applications without a service."""
_STATUS: Mapping[type[FreeholdError], int] = {
    Rejected: 409,
    VersionMismatch: 412,
    ConcurrencyConflict: 409,
    DuplicateMessage: 409,
    NotFound: 404,
    InvalidValue: 422,
    Unavailable: 503,
}
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")
_MEDIA_TYPE: Final = "application/problem+json"
_ERRORS_MAX: Final = 100
_PLACE_LENGTH_MAX: Final = 100
_WITHOUT_BODY: Final = frozenset({204, 304})
# The texts of these errors quote the input, or come from the application's own code, which may quote it.
_QUOTING: Final = frozenset(
    {
        "value_error",
        "assertion_error",
        "union_tag_invalid",
        "get_attribute_error",
        "iteration_error",
        "mapping_type",
        "uuid_parsing",
        "default_factory_not_called",
    }
)
_SAFE: Final = frozenset(get_args(ErrorType)) - _QUOTING
_SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


class _Problem(JSONResponse):
    media_type = _MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Encode as ASCII with escapes: UTF-8 cannot encode half a surrogate pair, which a field's name may contain."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def problem(status: int, detail: str = "", *, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """Make a problem response; `members` are its extension members."""
    return _made(status, detail, headers, members)


def _made(status: int, detail: str, headers: Mapping[str, str] | None, members: Mapping[str, Any]) -> JSONResponse:
    content = {"type": "about:blank", "title": _phrase(status), **members, "status": status}
    if detail:
        content["detail"] = detail
    return _Problem(content, status, headers=dict(headers or {}))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These problems for an OpenAPI document: `APIRouter(responses=problem_responses(404, 409))`."""
    content = {_MEDIA_TYPE: {"schema": _SCHEMA}}
    return {status: {"description": _phrase(status), "content": content} for status in statuses}


def problem_of(error: FreeholdError, failures: FailureLog | None = None) -> JSONResponse:
    """Make the response for one of Freehold's errors. An error that only an operator can fix is logged, and its text is
    not sent to the caller.
    """
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if _is_refusal(error):
        return problem(502, "another service refused a request of this one")
    if status == 503:
        _log_outage(error)
    if isinstance(error, Rejected):
        return problem(status, error.detail, code=error.code)
    if isinstance(error, InvalidValue):
        return problem(
            status, str(error), errors=[{"at": _steps(error.field), "type": "invalid_value", "message": error.reason}]
        )
    if status == 500:
        _log.error("request failed (%s)%s", describe(error), (failures or _failures).traceback(error))
        return problem(status)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else None
    is_public = isinstance(error, (NotFound, VersionMismatch))
    return problem(status, error.message if is_public else "", headers=headers)


def _log_outage(error: FreeholdError) -> None:
    """Log the outage once for many requests, by the `Outages` of the service."""
    service = error.missing.service if isinstance(error, CompositionFailed) else getattr(error, "service", "")
    (current_outages() or _outages).unanswered(error, f"service '{service}'" if service else DATABASE)


def _place(part: object) -> str:
    """A part of a field's path, cut off: the request may contain unknown names of any length."""
    return str(part)[:_PLACE_LENGTH_MAX]


def _is_refusal(error: FreeholdError) -> bool:
    """Whether another service refused a request: it works, and the same request would be refused again."""
    match error:
        case CallFailed():
            return error.reason is Reason.REFUSED
        case CompositionFailed():
            return error.missing.reason == Reason.REFUSED.value
        case _:
            return False


def _steps(field: str) -> list[str]:
    """The path of a field as a list, as in other problems: `lines[2].sku` is `["lines", "2", "sku"]`."""
    return [name or index for name, index in _STEP.findall(field)]


def install_problems(app: FastAPI) -> None:
    """Make an application respond to every error with a problem."""
    app.add_exception_handler(FreeholdError, _on_freehold_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)


async def _on_freehold_error(request: Request, error: Exception) -> JSONResponse:
    context = request.scope.get("freehold")
    failures = context.running.context.failures if isinstance(context, RequestContext) else None
    return problem_of(error, failures) if isinstance(error, FreeholdError) else problem(500)


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    errors = [
        {"at": [_place(part) for part in each["loc"]], "type": _place(each["type"])}
        | ({"message": each["msg"]} if each["type"] in _SAFE else {})
        for each in found[:_ERRORS_MAX]
    ]
    return problem(422, "the request is not valid", errors=errors)


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    return refusal_of(error) if isinstance(error, HTTPException) else problem(500)


def refusal_of(error: HTTPException) -> Response:
    """Make the response for an exception with a status of its own; without a body if the status has none."""
    if error.status_code in _WITHOUT_BODY or error.status_code < 200:
        return Response(status_code=error.status_code, headers=error.headers)
    given: Any = error.detail  # FastAPI's own HTTPException takes any JSON
    if isinstance(given, dict):
        return _made(error.status_code, "", error.headers, {str(name): value for name, value in given.items()})
    detail = "" if given == _phrase(error.status_code) else str(given)
    return problem(error.status_code, detail, headers=error.headers)


async def _on_exception(request: Request, _error: Exception) -> JSONResponse:
    """Respond without details. Starlette logs the exception, and raises it to the server."""
    context = request.scope.get("freehold")
    if not isinstance(context, RequestContext):
        return problem(500)
    return problem(500, headers={CORRELATION_HEADER: str(context.correlation_id)})
