"""Stores that are opened with their tables made, and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold.clock import Clock
from freehold.database import DatabaseOptions
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores

__all__ = ["opened"]


@asynccontextmanager
async def opened(url: str, options: DatabaseOptions | None = None, clock: Clock | None = None) -> AsyncIterator[Stores]:
    stores = open_stores(url, options, clock=clock)
    await stores.database.open()
    await stores.database.upgrade()
    try:
        yield stores
    finally:
        await stores.database.close()
