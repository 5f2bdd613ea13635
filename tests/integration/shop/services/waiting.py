"""Waiting for what happens elsewhere in the shop: on a condition, with a time limit."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], Awaitable[bool]], limit_seconds: float = 120.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(limit_seconds):
        while not await holds():  # noqa: ASYNC110 - the condition is in another database, which wakes nobody
            await asyncio.sleep(0.02)
