"""Work for a request that ends with it: when the client leaves, nobody needs the answer. Imports the foundation only.

Speaks ASGI, so it serves Starlette, FastAPI and every other such framework without importing one.
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
    """The client closed the connection before it had the answer; the work for it was given up."""

    def __init__(self) -> None:
        super().__init__("the client left before it was answered")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work while the client is there; `receive` is the request's, its body read already or not wanted.

    Raises `ClientDisconnected` when the client leaves, after the work was cancelled and has ended.
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
