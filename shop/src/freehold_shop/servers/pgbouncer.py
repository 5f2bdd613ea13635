"""Real PgBouncer on a loopback port, in front of a PostgreSQL. May import the standard library and its siblings.

It pools transactions and supports no prepared statements, as versions before 1.21. Every role of the PostgreSQL may log
in through it with its own password. It refuses to run as root, so it runs as PostgreSQL does.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from freehold_shop.servers.accounts import Account, own, reachable_copy, reachable_directory, unprivileged_account
from freehold_shop.servers.process import Launch, RunningServer, ServerUnavailable

__all__ = ["find_pgbouncer", "start_pgbouncer"]

_CONNECT_LIMIT_SECONDS = 1.0
_VERSION_LIMIT_SECONDS = 10.0
_PREPARED_STATEMENTS_SINCE = (1, 21)


def find_pgbouncer() -> Path:
    """Return the `pgbouncer` program, on PATH, of the system, or unpacked with its libraries beside our Python.

    Raises `ServerUnavailable` where there is none that runs.
    """
    candidates = (shutil.which("pgbouncer"), "/usr/sbin/pgbouncer", Path(sys.prefix, "pgbouncer", "pgbouncer"))
    for candidate in candidates:
        if candidate is not None and Path(candidate).exists() and _version(Path(candidate)) is not None:
            return Path(candidate)
    raise ServerUnavailable("no pgbouncer on this machine", hint="apt-get install pgbouncer")


def start_pgbouncer(
    directory: Path, postgres_url: str, *, pool_size: int = 4, settings: Mapping[str, str] | None = None
) -> RunningServer:
    """Start PgBouncer in front of the server of `postgres_url`, which is that of a superuser with its password.

    Each database has `pool_size` connections for each role. `settings` replace those of its configuration. The URL of
    the result is `postgres_url` through PgBouncer. Raises `ServerUnavailable` where no server is available.
    """
    program = find_pgbouncer()
    account = unprivileged_account()
    place = reachable_directory(directory.absolute(), account)
    reachable = _reachable(program, account)
    chosen = {"default_pool_size": str(pool_size), **(settings or {})}
    if (_version(program) or (0, 0)) >= _PREPARED_STATEMENTS_SINCE:
        chosen.setdefault("max_prepared_statements", "0")
    parts = urlsplit(postgres_url)
    server = RunningServer(
        Launch(
            name="PgBouncer",
            directory=place,
            url=parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{{port}}").geturl(),
            command=lambda port: _command(reachable, _configured(place, postgres_url, port, chosen, account)),
            ready=lambda _pid, port: _is_ready(port),
            # From version 1.23 on the server waits for clients at SIGTERM, and exits at once at SIGQUIT.
            stop_signals=((signal.SIGTERM, 2.0), (signal.SIGQUIT, 5.0)),
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
        )
    )
    server.start()
    return server


def _version(program: Path) -> tuple[int, int] | None:
    """The version; None where the program does not run, for example because a library is missing."""
    try:
        answer = subprocess.run(
            _command(program),
            check=False,
            capture_output=True,
            timeout=_VERSION_LIMIT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb"PgBouncer (\d+)\.(\d+)", answer.stdout + answer.stderr, re.IGNORECASE)
    return (int(found[1]), int(found[2])) if found else None


def _reachable(program: Path, account: Account) -> Path:
    """The program at a path where the account may run it, with the libraries beside it."""
    return reachable_copy([program.parent], account) / program.parent.name / program.name


def _command(program: Path, configuration: Path | None = None) -> Sequence[str]:
    libraries = any(program.parent.glob("lib*.so*"))
    prefix = ("env", f"LD_LIBRARY_PATH={program.parent}") if libraries else ()
    return (*prefix, str(program), "--version" if configuration is None else str(configuration))


def _configured(place: Path, postgres_url: str, port: int, settings: Mapping[str, str], account: Account) -> Path:
    """Write the configuration for a port. PgBouncer looks up the roles' passwords as the superuser."""
    target = urlsplit(postgres_url)
    user, password = unquote(target.username or ""), unquote(target.password or "")
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(place / "users.txt"),
        "auth_user": user,
        "pool_mode": "transaction",
        "max_client_conn": "500",
        "server_reset_query": "",
        **settings,
    }
    _write(place / "users.txt", f'"{_doubled(user)}" "{_doubled(password)}"\n', account)
    databases = f"[databases]\n* = host={target.hostname} port={target.port or 5432}\n\n[pgbouncer]\n"
    text = databases + "".join(f"{name} = {value}\n" for name, value in lines.items())
    return _write(place / "pgbouncer.ini", text, account)


def _write(path: Path, text: str, account: Account) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    own(path, account, 0o600)
    return path


def _doubled(text: str) -> str:
    return text.replace('"', '""')


def _is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_LIMIT_SECONDS):
            return True
    except OSError:
        return False
