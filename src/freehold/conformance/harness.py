"""What the suites of a database's stores need from an adapter: instances on the same data, and a clock that obeys.

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
# Whoever is made to wait waits until it is let go on, however slow the machine is.
_PATIENT: Final = DatabaseOptions(pool_timeout_seconds=30.0, lock_timeout_seconds=30.0, statement_timeout_seconds=60.0)


StoresFactory = Callable[[DatabaseOptions, Sequence[Migration], Clock], Stores]


class StoresHarness:
    """Instances of a service on one database. `first` is there from the beginning, with all tables made."""

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
        """A harness on an empty database; its instances are closed at the end."""
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
        """The instance that was there from the beginning."""
        return self._opened[0]

    @property
    def features(self) -> DatabaseFeatures:
        """What the engine guarantees."""
        return self.first.database.features

    async def instance(self, **limits: float) -> Stores:
        """Another instance of the service on the same data, as another process would open it; `limits` replace those
        of the options.
        """
        stores = self._make(replace(self._options, **limits), self._migrations, self.clock)  # type: ignore[arg-type] # fields
        await stores.database.open()
        self._opened.append(stores)
        return stores

    async def close(self) -> None:
        """Close every instance."""
        while self._opened:
            await self._opened.pop().database.close()


async def has_to_wait(work: asyncio.Task[Any]) -> bool:
    """Whether this is not done within a short time: a wait that must not end yet. The work goes on."""
    done, _ = await asyncio.wait({work}, timeout=_BLOCKED_SECONDS)
    return not done
