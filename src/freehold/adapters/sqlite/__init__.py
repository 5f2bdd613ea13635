"""SQLite: one file for each service; the default, without a server.

Drivers are imported only when a database is made: the import takes time, and other services may use other engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from freehold.clock import Clock
from freehold.database import DatabaseOptions
from freehold.migrations import Migration

if TYPE_CHECKING:
    from freehold.ports import Provision, Stores

__all__ = ["SqliteAdapter", "adapter"]


class SqliteAdapter:
    """Makes the stores of a `sqlite:///file` URL."""

    engine: str = "SQLite"
    database_schemes: Sequence[str] = ("sqlite",)

    def provisions(self) -> Sequence[Provision[Any]]:
        """The ports that the engine has; imports no driver."""
        from freehold.adapters.sqlite.ports import PORTS

        return PORTS

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make the stores without connecting. Raises `ConfigurationError`."""
        from freehold.adapters.sqlite.database import SqliteDatabase
        from freehold.adapters.sqlite.ports import PORTS
        from freehold.ports import Stores

        return Stores(self.engine, SqliteDatabase(url, options, migrations, clock), PORTS)


adapter: Final = SqliteAdapter()
