"""The services' routes that the gateway publishes: each with its parameters, their bounds, and its service.

The path of the request to the service is built from the checked parameters, with declared query parameters only; so
no other route of a service can be reached. Imports FastAPI and the shop's problems.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from freehold.http import problem_responses
from freehold_shop import rules

__all__ = ["CONSISTENCY", "CUSTOMER_ID", "LIMIT", "ORDER_ID", "Parameter", "Published", "path_value"]

_STATUSES: Final = (400, 413, 422, 503)
_TEMPLATE_NAMES: Final = re.compile(r"\{(\w+)(?::path)?\}")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a path or a query. A path parameter must fit `pattern`; the service checks a query parameter."""

    name: str
    description: str
    pattern: str = ""
    schema: Mapping[str, Any] | None = None
    required: bool = False
    place: str = "query"

    @cached_property
    def fits(self) -> re.Pattern[str]:
        """The compiled pattern; the whole text must match."""
        return re.compile(self.pattern)

    @property
    def document(self) -> dict[str, Any]:
        """The parameter in OpenAPI's form."""
        schema = dict(self.schema or {"type": "string"})
        if self.pattern:
            schema["pattern"] = self.pattern
        return {
            "name": self.name,
            "in": self.place,
            "required": self.required or self.place == "path",
            "description": self.description,
            "schema": schema,
        }


ORDER_ID: Final = Parameter("order_id", "The order.", rules.IDENTITY, place="path")
CUSTOMER_ID: Final = Parameter("customer_id", "The customer.", rules.IDENTITY, place="path")
_RETURN_REF: Final = Parameter("return_ref", "The return.", rules.IDENTITY, place="path")
_SKU: Final = Parameter(
    "sku",
    "The product; slashes in it are not encoded.",
    r"^(?=.{1,64}$)[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+(?:/[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+)*$(?!\n)",
    place="path",
)
_IN_PATHS: Final = {each.name: each for each in (ORDER_ID, CUSTOMER_ID, _RETURN_REF, _SKU)}
LIMIT: Final = Parameter(
    "limit", "How many at most.", schema={"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}
)
CONSISTENCY: Final = Parameter("Freehold-Consistency", "The caller's consistency token.", place="header")
_KEY: Final = Parameter("Idempotency-Key", "A repeated request with the same key has no second effect.", place="header")


@dataclass(frozen=True)
class Published:
    """A route of a service that clients may use. `statuses` are error statuses beyond those that every route has."""

    method: str
    path: str
    service: str
    query: Sequence[Parameter] = ()
    statuses: Sequence[int] = ()
    success: int = 200

    @cached_property
    def in_path(self) -> tuple[Parameter, ...]:
        """The parameters of the path."""
        return tuple(_IN_PATHS[name] for name in _TEMPLATE_NAMES.findall(self.path))

    @property
    def openapi(self) -> dict[str, Any]:
        """`openapi_extra` of the route."""
        headers = (CONSISTENCY,) if self.method == "GET" else (CONSISTENCY, _KEY)
        found: dict[str, Any] = {"parameters": [each.document for each in (*self.in_path, *self.query, *headers)]}
        if self.method != "GET":
            found["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
        return found

    @property
    def responses(self) -> dict[int | str, dict[str, Any]]:
        """The error responses, for OpenAPI."""
        return problem_responses(*sorted({*_STATUSES, *self.statuses}))

    def target(self, request: Request) -> str:
        """The path at the service, with the query. Raises `RequestValidationError`, which names the parameter."""
        path = _TEMPLATE_NAMES.sub(lambda found: "{" + found.group(1) + "}", self.path)
        given = {each.name: quote(path_value(request, each), safe="/") for each in self.in_path}
        known = {each.name for each in self.query}
        query = urlencode([(name, value) for name, value in request.query_params.multi_items() if name in known])
        return path.format(**given) + (f"?{query}" if query else "")


def path_value(request: Request, parameter: Parameter) -> str:
    """The value of a path parameter. Raises `RequestValidationError` where it does not fit."""
    value = str(request.path_params[parameter.name])
    if parameter.fits.fullmatch(value) is None:
        raise RequestValidationError(
            [{"loc": ("path", parameter.name), "type": "string_pattern_mismatch", "msg": "does not fit"}]
        )
    return value
