"""Cancels the work for a request when its client disconnects. Imports the foundation only.

Uses ASGI, so it works with Starlette, FastAPI and every other ASGI framework without importing one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

from freehold.errors import FreeholdError

__all__ = ["ClientDisconnected", "while_connected"]

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientDisconnected(FreeholdError):
    """The client closed the connection before the response; the work for it was cancelled."""

    def __init__(self) -> None:
        super().__init__("the client disconnected before the response")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Run the work while the client is connected. `receive` is that of the request, whose body is read or not needed.

    Raises `ClientDisconnected` when the client disconnects, after the work was cancelled and has ended.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        leaving.result()
        raise ClientDisconnected
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
