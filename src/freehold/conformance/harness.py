"""The harness of the suites of a database's stores: instances on the same data, and a manual clock.

An adapter binds a suite by a test class with a `harness` fixture that yields a `StoresHarness`:

    class TestInbox(InboxStoreConformance):
        @pytest.fixture
        async def harness(self, tmp_path: Path) -> AsyncIterator[StoresHarness]:
            async with StoresHarness.on(f"sqlite:///{tmp_path}/test.db") as harness:
                yield harness
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from freehold.clock import Clock
from freehold.database import DatabaseFeatures, DatabaseOptions
from freehold.migrations import Migration
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.testing.clock import ManualClock

__all__ = ["ManualClock", "StoresHarness", "has_to_wait"]

_BLOCKED_SECONDS: Final = 0.2
# Long enough for a slow machine: a test ends each wait itself.
_PATIENT: Final = DatabaseOptions(pool_timeout_seconds=30.0, lock_timeout_seconds=30.0, statement_timeout_seconds=60.0)


StoresFactory = Callable[[DatabaseOptions, Sequence[Migration], Clock], Stores]


class StoresHarness:
    """Instances of a service on one database. `first` is open from the beginning, and its tables exist."""

    def __init__(self, make: StoresFactory, options: DatabaseOptions, migrations: Sequence[Migration]) -> None:
        self.clock = ManualClock()
        self._make = make
        self._options = options
        self._migrations = migrations
        self._opened: list[Stores] = []

    @classmethod
    @asynccontextmanager
    async def on(
        cls,
        url: str,
        make: StoresFactory | None = None,
        *,
        options: DatabaseOptions | None = None,
        migrations: Sequence[Migration] = (),
    ) -> AsyncIterator[StoresHarness]:
        """Make a harness on an empty database; its instances are closed at the end."""
        harness = cls(
            make or (lambda options, migrations, clock: open_stores(url, options, migrations, clock)),
            options or _PATIENT,
            migrations,
        )
        try:
            await harness.instance()
            await harness.first.database.upgrade()
            yield harness
        finally:
            await harness.close()

    @property
    def first(self) -> Stores:
        """The first instance."""
        return self._opened[0]

    @property
    def features(self) -> DatabaseFeatures:
        """The features of the engine."""
        return self.first.database.features

    async def instance(self, **limits: float) -> Stores:
        """Open another instance of the service on the same data, as in another process; `limits` replace options."""
        stores = self._make(replace(self._options, **limits), self._migrations, self.clock)  # type: ignore[arg-type] # the names are those of fields
        await stores.database.open()
        self._opened.append(stores)
        return stores

    async def close(self) -> None:
        """Close every instance."""
        while self._opened:
            await self._opened.pop().database.close()


async def has_to_wait(work: asyncio.Task[Any]) -> bool:
    """Whether this task does not end within a short time: it must be waiting. The task is not cancelled."""
    done, _ = await asyncio.wait({work}, timeout=_BLOCKED_SECONDS)
    return not done
