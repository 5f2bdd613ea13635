"""PostgreSQL.

The driver is imported only when a database is made: it is an extra (`freehold[postgres]`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from freehold.clock import Clock
from freehold.database import DatabaseOptions
from freehold.errors import MissingDriver
from freehold.migrations import Migration

if TYPE_CHECKING:
    from freehold.ports import Provision, Stores

__all__ = ["PostgresAdapter", "adapter"]


class PostgresAdapter:
    """Makes the stores of a `postgresql://` URL."""

    engine: str = "PostgreSQL"
    database_schemes: Sequence[str] = ("postgresql",)

    def provisions(self) -> Sequence[Provision[Any]]:
        """The ports that the engine has; imports no driver."""
        from freehold.adapters.postgres.ports import PORTS

        return PORTS

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make the stores without connecting. Raises `ConfigurationError`, `MissingDriver`."""
        if find_spec("asyncpg") is None:
            raise MissingDriver("asyncpg", extra="postgres")
        from freehold.adapters.postgres.database import PostgresDatabase
        from freehold.adapters.postgres.ports import PORTS
        from freehold.ports import Stores

        return Stores(self.engine, PostgresDatabase(url, options, migrations, clock), PORTS)


adapter: Final = PostgresAdapter()
