"""A role and a database of its own for each service, on one PostgreSQL cluster. Imports psycopg.

By default PUBLIC, and so a new role, may connect to every database of the cluster: `provision` revokes that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from freehold import Unavailable
from freehold.runtime import keep_passwords

__all__ = ["connect", "database_name", "provision"]

_CONNECT_SECONDS = 10
_NAME_PREFIX = "shop_"


def database_name(service: str) -> str:
    """The name of a service's database, and of its role."""
    return _NAME_PREFIX + service.replace("-", "_")


def provision(admin_url: str, services: Sequence[str], password_file: Path) -> dict[str, str]:
    """Create missing roles and databases, and return each service's URL.

    Passwords are generated once and stored in a 0600 file. Can be repeated, also after a crash at any point. Raises
    `Unavailable`.
    """
    passwords = keep_passwords(password_file, services)
    with connect(admin_url) as admin:
        for service in services:
            _make_role(admin, database_name(service), passwords[service])
            _make_database(admin, database_name(service))
        _revoke_from_public(admin)
    place = urlsplit(admin_url)
    return {
        service: f"postgresql://{database_name(service)}:{quote(passwords[service], safe='')}"
        f"@{place.hostname}:{place.port or 5432}/{database_name(service)}"
        for service in services
    }


def connect(url: str, application_name: str = "shop") -> psycopg.Connection[tuple[object, ...]]:
    """A session in autocommit mode. Raises `Unavailable`."""
    try:
        return psycopg.connect(
            url, autocommit=True, connect_timeout=_CONNECT_SECONDS, application_name=application_name
        )
    except psycopg.OperationalError as error:
        raise Unavailable("PostgreSQL cannot be reached as superuser", hint="check that the server runs") from error


def _make_role(admin: psycopg.Connection[tuple[object, ...]], name: str, password: str) -> None:
    exists = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    verb = sql.SQL("ALTER ROLE" if exists else "CREATE ROLE")
    admin.execute(
        sql.SQL("{} {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}").format(
            verb, sql.Identifier(name), sql.Literal(password)
        )
    )


def _make_database(admin: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    identifier = sql.Identifier(name)
    if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))
    # The statements are short and have one good plan each: planning them again costs more than running them.
    admin.execute(sql.SQL("ALTER DATABASE {} SET plan_cache_mode = force_generic_plan").format(identifier))
    admin.execute(sql.SQL("ALTER DATABASE {} SET jit = off").format(identifier))


def _revoke_from_public(admin: psycopg.Connection[tuple[object, ...]]) -> None:
    """Revoke CONNECT and TEMP on every database from PUBLIC; owners and the superuser keep them."""
    for (name,) in admin.execute("SELECT datname FROM pg_database").fetchall():
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(str(name))))
