"""Endpoints that read the request and make the response themselves, for the few routes that carry all the load.

FastAPI's dependencies, its body model and its response model cost several times what such an endpoint does. Here the
body is decoded and checked in one pass, and OpenAPI still shows its schema. Imports FastAPI, msgspec.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

__all__ = ["DirectRoute", "described", "json_answer", "misfit", "read_body"]

T = TypeVar("T")
_JSON = "application/json"
_PLACE = re.compile(r" - at `\$([^`]*)`$")
_PARTS = re.compile(r"\.(\w+)|\[(\d+)\]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_encoder = msgspec.json.Encoder()


class DirectRoute(APIRoute):
    """A route that calls its endpoint with the request and returns its response. Nothing is injected."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


async def read_body(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The body as the decoder's type. Raises `RequestValidationError`, which names the place but not the value."""
    body = await request.body()
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise misfit("does_not_fit", *_place(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise misfit("json_invalid", *_no_value_at(body)) from None


def json_answer(document: object, status: int = 200) -> Response:
    """A response in JSON."""
    return Response(_encoder.encode(document), status, media_type=_JSON)


def described(kind: type) -> dict[str, Any]:
    """`openapi_extra` for a body of this type."""
    _, components = msgspec.json.schema_components([kind])
    schema = _inlined(components[kind.__name__], components)
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": schema}}}}


def _inlined(schema: Any, components: Mapping[str, Any]) -> Any:
    """The schema with its references resolved: the application's document does not have these names."""
    match schema:
        case {"$ref": str(reference)}:
            return _inlined(components[reference.rpartition("/")[2]], components)
        case dict():
            return {name: _inlined(part, components) for name, part in schema.items()}
        case list():
            return [_inlined(part, components) for part in schema]
        case _:
            return schema


def misfit(kind: str, *place: str | int) -> RequestValidationError:
    """The error for a body that does not fit at this place."""
    return RequestValidationError([{"loc": ("body", *place), "type": kind, "msg": "does not fit"}])


def _no_value_at(body: bytes) -> tuple[str | int, ...]:
    """Where the body has what Python reads and JSON does not allow: NaN, infinity, half a surrogate pair."""
    try:
        pending: list[tuple[tuple[str | int, ...], Any]] = [((), json.loads(body))]
    except (ValueError, RecursionError):
        return ()
    while pending:
        place, value = pending.pop()
        match value:
            case dict():
                pending.extend(((*place, name), each) for name, each in value.items())
            case list():
                pending.extend(((*place, number), each) for number, each in enumerate(value))
            case float() if not math.isfinite(value):
                return place
            case str() if not value.isascii() and _SURROGATE.search(value):
                return place
    return ()


def _place(message: str) -> list[str | int]:
    """The place in the body; the rest of msgspec's message may quote the request."""
    found = _PLACE.search(message)
    parts = _PARTS.findall(found.group(1)) if found else []
    return [name or int(number) for name, number in parts]
