"""A role and a database of its own for each service, on one PostgreSQL cluster. Imports psycopg.

A new role may connect to every database of its cluster, because PUBLIC may: that is taken away from every database.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from freehold.errors import Unavailable

__all__ = ["allow_connections", "database_name", "forbid_connections", "provision"]

_CONNECT_SECONDS = 10
_NAME_PREFIX = "shop_"


def database_name(service: str) -> str:
    """The name of a service's database, and of its role."""
    return _NAME_PREFIX + service.replace("-", "_")


def provision(admin_url: str, services: Sequence[str], password_file: Path) -> dict[str, str]:
    """Make what is missing, and return each service's URL. Passwords are generated once and kept in a 0600 file.

    Can be repeated, also after it was cut off anywhere. Raises `Unavailable`.
    """
    passwords = _passwords(password_file, services)
    with _connect(admin_url) as admin:
        for service in services:
            _make_role(admin, database_name(service), passwords[service])
            _make_database(admin, database_name(service))
        _take_from_public(admin)
    place = urlsplit(admin_url)
    return {
        service: f"postgresql://{database_name(service)}:{quote(passwords[service], safe='')}"
        f"@{place.hostname}:{place.port or 5432}/{database_name(service)}"
        for service in services
    }


def forbid_connections(admin_url: str, service: str) -> None:
    """Let nobody connect to the service's database, and end the sessions it has. Raises `Unavailable`."""
    name = database_name(service)
    with _connect(admin_url) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def allow_connections(admin_url: str, service: str) -> None:
    """Let the service connect to its database again. Raises `Unavailable`."""
    name = sql.Identifier(database_name(service))
    with _connect(admin_url) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def _connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS)
    except psycopg.OperationalError as error:
        raise Unavailable("PostgreSQL cannot be reached as its administrator", hint="is the server running?") from error


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
    # An outage that a killed supervisor left behind ends here.
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(identifier))
    # Short statements, each of one right plan: planning them anew costs more than running them.
    admin.execute(sql.SQL("ALTER DATABASE {} SET plan_cache_mode = force_generic_plan").format(identifier))
    admin.execute(sql.SQL("ALTER DATABASE {} SET jit = off").format(identifier))


def _take_from_public(admin: psycopg.Connection[tuple[object, ...]]) -> None:
    """Take CONNECT and TEMP from everybody on every database; owners and the superuser keep theirs."""
    for (name,) in admin.execute("SELECT datname FROM pg_database").fetchall():
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(str(name))))


def _passwords(path: Path, services: Sequence[str]) -> Mapping[str, str]:
    known: dict[str, str] = json.loads(path.read_text(encoding="ascii")) if path.exists() else {}
    missing = [service for service in services if service not in known]
    if missing:
        known |= {service: secrets.token_urlsafe(24) for service in missing}
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(known), encoding="ascii")
        fresh.replace(path)
    return known
