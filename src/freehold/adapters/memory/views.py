"""Materialised views in memory: there are none, for there is no SQL. Adapter: imports the view port."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.errors import ConfigurationError
from freehold.projection.views import MaterializedView, ViewState, ViewStore

__all__ = ["MemoryViewStore"]


class MemoryViewStore(ViewStore):
    """Refuses to make what could not be read."""

    async def refresh(self, view: MaterializedView) -> ViewState:
        """Raises `ConfigurationError`."""
        raise ConfigurationError(
            f"materialised view '{view.name}' is a query, and the database in memory knows no SQL",
            hint="use PostgreSQL, or SQLite for its emulation",
        )

    async def states(self) -> Sequence[ViewState]:
        """None."""
        return []

    async def drop(self, name: str) -> bool:
        """There is none."""
        return False
