"""Consistency tokens over HTTP: a read waits for what the caller has seen. Runtime: imports the runtime, FastAPI.

A request may have tokens in the header `Freehold-Consistency`. If it has, or if it wrote something, the response has a
token that covers these tokens and the writes. An endpoint that depends on `fresh(...)` waits before it reads, and
reports the result in `Freehold-Freshness`: `fresh`, `stale` or `stalled`, with how far it is behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import HTTPException, Request

from freehold.consistency.watcher import Fresh, Freshness, Stale, Stalled
from freehold.errors import ConfigurationError
from freehold.http.context import RequestContext

__all__ = ["fresh", "freshness_header"]


def fresh(
    *projections: Any, limit_seconds: float = 2.0, require: bool = False
) -> Callable[[Request], Awaitable[Freshness]]:
    """Make a dependency that waits for the request's token: `Annotated[Freshness, Depends(fresh(order_summary))]`.

    `projections` are those that the endpoint reads, as objects or names; without any, it waits for what handlers write.
    After `limit_seconds` the endpoint runs nevertheless, and the header says that it is behind; with `require` the
    response is 503 with Retry-After instead. A request without a token does not wait.
    """
    names = tuple(each if isinstance(each, str) else str(each.name) for each in projections)

    async def wait(request: Request) -> Freshness:
        context = request.scope.get("freehold")
        if not isinstance(context, RequestContext):
            raise ConfigurationError("no service runs in this application", hint="install(app)")
        if context.in_transaction:
            raise ConfigurationError(
                "a read waits for its token inside a transaction, which may block what it waits for",
                hint="put the dependency on fresh(...) before the transaction; it is for requests that read",
            )
        if not context.token:
            return Fresh()
        found = await context.running.freshness.wait(context.token, projections=names, limit_seconds=limit_seconds)
        header = freshness_header(found)
        context.response_headers[b"freehold-freshness"] = header.encode("latin-1", "replace")
        if require and not isinstance(found, Fresh):
            raise HTTPException(
                503,
                {"detail": "the data that this request must see has not arrived yet", "freshness": header},
                headers={"Retry-After": "1"},
            )
        return found

    return wait


def freshness_header(found: Freshness) -> str:
    """`fresh`, `stale; positions=12; seconds=0.4; of=orders/3`, or the same with `stalled`."""
    match found:
        case Fresh():
            return "fresh"
        case Stale(behind) | Stalled(behind):
            word = "stale" if isinstance(found, Stale) else "stalled"
            seconds = [each.seconds for each in behind if each.seconds is not None]
            since = f"; seconds={max(seconds):.1f}" if seconds else ""
            names = " ".join(each.name for each in behind)
            return f"{word}; positions={max(each.positions for each in behind)}{since}; of={names}"
