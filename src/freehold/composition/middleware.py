"""The server's side of a time budget: middleware that stops a request which nobody waits for any more.

ASGI, for any framework: `app.add_middleware(BudgetMiddleware)`. Imports the foundation and `budget`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final

from freehold.clock import Clock, SystemClock
from freehold.composition.budget import BUDGET_HEADER, Budget

__all__ = ["BudgetMiddleware"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

_HEADER: Final = BUDGET_HEADER.encode()
_SECONDS_MAX: Final = 3600.0
_BODY: Final = b'{"type":"about:blank","title":"out of time","status":504,"code":"out-of-time"}'
_HEADERS: Final = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(_BODY)).encode())]


class BudgetMiddleware:
    """Cancels a request with a budget (`freehold-budget-ms`) when that is used up, and responds 504.

    A response that has begun is completed. A request without a valid budget has no limit.
    """

    def __init__(self, app: App, *, clock: Clock | None = None) -> None:
        self._app = app
        self._clock: Clock = clock or SystemClock()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request."""
        value = _header(scope)
        if value is None:
            await self._app(scope, receive, send)
            return
        begun = asyncio.Event()

        async def sending(message: Message) -> None:
            begun.set()
            await send(message)

        seconds = Budget.from_header(value, _SECONDS_MAX, self._clock).left_seconds()
        await self._in_time(seconds, self._answering(scope, receive, sending), begun)
        if not begun.is_set():
            await send({"type": "http.response.start", "status": 504, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _BODY})

    async def _answering(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _in_time(self, seconds: float, work: Coroutine[Any, Any, None], begun: asyncio.Event) -> None:
        """Run the work to its end, or cancel it if the time is over before `begun` is set."""
        working = asyncio.ensure_future(work)
        beginning = asyncio.ensure_future(begun.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({working, beginning, timer}, return_when=asyncio.FIRST_COMPLETED)
            if working.done() or begun.is_set():
                await working
        finally:
            for task in (working, beginning, timer):
                task.cancel()
            await asyncio.gather(working, beginning, timer, return_exceptions=True)


def _header(scope: MutableMapping[str, Any]) -> str | None:
    if scope["type"] != "http":
        return None
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), None)
