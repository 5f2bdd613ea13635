"""MariaDB.

Nothing is imported before a database is asked for: the driver is an extra (`freehold[mariadb]`).
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

__all__ = ["MariaDbAdapter", "adapter"]


class MariaDbAdapter:
    """Makes the stores of a `mariadb://` URL."""

    engine: str = "MariaDB"
    database_schemes: Sequence[str] = ("mariadb",)

    def provisions(self) -> Sequence[Provision[Any]]:
        """The ports that the engine has; no driver is needed to know them."""
        from freehold.adapters.mariadb.ports import PORTS

        return PORTS

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make the stores without connecting. Raises `ConfigurationError`, `MissingDriver`."""
        if find_spec("asyncmy") is None:
            raise MissingDriver("asyncmy", extra="mariadb")
        from freehold.adapters.mariadb.database import MariaDbDatabase
        from freehold.adapters.mariadb.ports import PORTS
        from freehold.ports import Stores

        return Stores(self.engine, MariaDbDatabase(url, options, migrations, clock), PORTS)


adapter: Final = MariaDbAdapter()
