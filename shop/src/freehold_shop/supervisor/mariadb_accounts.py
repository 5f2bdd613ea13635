"""A user and a database of its own for each service, on one MariaDB server. Imports asyncmy.

A new user has no rights there, so nothing has to be revoked. A service migrates its own tables and makes the tables and
views of its read models, so its user has these rights too, on its own database and no other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import asyncmy
from asyncmy.connection import Connection
from asyncmy.errors import MySQLError

from freehold import Unavailable
from freehold.runtime import keep_passwords
from freehold_shop.supervisor.accounts import database_name

__all__ = ["connected", "create_accounts", "service_urls"]

_CONNECT_SECONDS: Final = 10
_RIGHTS: Final = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, CREATE VIEW, SHOW VIEW"
_COLLATION: Final = "utf8mb4_nopad_bin"


def service_urls(admin_url: str, services: Sequence[str], password_file: Path) -> dict[str, str]:
    """Each service's URL, with its user and password. Passwords are generated once and stored in a 0600 file."""
    passwords = keep_passwords(password_file, services)
    place = urlsplit(admin_url)
    return {
        service: f"mariadb://{database_name(service)}:{quote(passwords[service], safe='')}"
        f"@{place.hostname}:{place.port or 3306}/{database_name(service)}"
        for service in services
    }


async def create_accounts(admin_url: str, urls: Mapping[str, str]) -> None:
    """Create missing users and databases. Can be repeated, also after a crash at any point. Raises `Unavailable`."""
    async with connected(admin_url) as connection:
        cursor = connection.cursor()
        for service, url in urls.items():
            for statement in _statements(database_name(service), unquote(urlsplit(url).password or "")):
                await cursor.execute(statement)


@asynccontextmanager
async def connected(admin_url: str, database: str | None = None) -> AsyncIterator[Connection]:
    """A session of the superuser, in which each statement commits. Raises `Unavailable`."""
    admin = urlsplit(admin_url)
    try:
        connection = await asyncmy.connect(
            host=admin.hostname,
            port=admin.port,
            user=unquote(admin.username or ""),
            password=unquote(admin.password or ""),
            db=database,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
        )
    except (OSError, MySQLError) as error:
        raise Unavailable("MariaDB cannot be reached as superuser", hint="check that the server runs") from error
    try:
        yield connection
    finally:
        connection.close()


def _statements(name: str, password: str) -> Sequence[str]:
    """The statements for a service. Its name and its password have letters, digits, `-` and `_` only."""
    # In a GRANT `_` in the name of a database stands for any letter, so that it would cover other databases too.
    pattern = name.replace("_", r"\_")
    return (
        f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE {_COLLATION}",
        f"CREATE USER IF NOT EXISTS '{name}'@'%'",
        f"ALTER USER '{name}'@'%' IDENTIFIED BY '{password}'",
        f"GRANT {_RIGHTS} ON `{pattern}`.* TO '{name}'@'%'",
    )
