"""Real MariaDB on a loopback port and a socket of its own. May import the standard library and its siblings.

The server is set up for what Freehold's guarantees need: durable commits, strict types, UTC. The superuser `freehold`
has a generated password, kept beside the data in a file that only its owner can read.
"""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from freehold_shop.servers.accounts import Account, own, reachable_copy, reachable_directory, unprivileged_account
from freehold_shop.servers.process import Launch, RunningServer, ServerUnavailable, server_environment

__all__ = ["find_mariadb", "start_mariadb"]

_SUPERUSER: Final = "freehold"
_VERSION_LIMIT_SECONDS: Final = 10.0
_MAKE_LIMIT_SECONDS: Final = 120.0
_VERSION_MIN: Final = (10, 11)
_SETTINGS: Final = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "ON",
    "innodb-flush-log-at-trx-commit": "1",
    "innodb-doublewrite": "ON",
    "innodb-log-file-size": "32M",
    "innodb-buffer-pool-size": "64M",
    "max-connections": "300",
    "max-allowed-packet": "16M",
    "character-set-server": "utf8mb4",
    "default-time-zone": "+00:00",
    "performance-schema": "OFF",
}
# The scripts that `mariadb-install-db` runs to make a data directory, without help texts and the `sys` schema.
_SCRIPTS: Final = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
)


def find_mariadb() -> Path:
    """Return the `mariadbd` program, on PATH, of the system, or unpacked with its libraries beside our Python.

    Raises `ServerUnavailable` if there is none of version 10.11 or later that runs.
    """
    candidates = (shutil.which("mariadbd"), "/usr/sbin/mariadbd", Path(sys.prefix, "mariadb", "sbin", "mariadbd"))
    for candidate in candidates:
        if candidate is not None and Path(candidate).exists():
            program = Path(candidate).resolve()
            if (_version(program) or (0, 0)) >= _VERSION_MIN and (_messages(program) / _SCRIPTS[0]).exists():
                return program
    raise ServerUnavailable("no MariaDB on this machine", hint="apt-get install mariadb-server-core")


def start_mariadb(directory: Path, *, port: int | None = None) -> RunningServer:
    """Start MariaDB on the data in `directory`; a data directory is made if there is none.

    The URL of the result is that of the superuser on the database `mysql`, password included. Without a `port` a free
    one is used. If we are root and the server's account cannot enter `directory`, the data are elsewhere; the result's
    `directory` says where. Raises `ServerUnavailable` if no server can be started.
    """
    account = unprivileged_account()
    program = _reachable(find_mariadb(), account)
    place = reachable_directory(directory.absolute(), account)
    password = _data(program, place, account)
    server = RunningServer(
        Launch(
            name="MariaDB",
            directory=place,
            url=f"mariadb://{_SUPERUSER}:{password}@127.0.0.1:{{port}}/mysql",
            command=lambda port: _serving(program, place, port),
            ready=lambda pid, _port: _is_ready(place, pid),
            stop_signals=((signal.SIGTERM, 10.0),),
            # It ignores SIGINT, and a SIGTERM that comes while it starts makes it hang. Its commits are durable.
            orphan_signal=signal.SIGKILL,
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
        ),
        port=port,
    )
    server.start()
    return server


def _version(program: Path) -> tuple[int, int] | None:
    """Return the version, or None if the program does not run, for example because a library is missing."""
    try:
        answer = subprocess.run(
            [*_program(program), "--no-defaults", "--version"],
            check=False,
            capture_output=True,
            timeout=_VERSION_LIMIT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb"Ver (\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _program(program: Path) -> Sequence[str]:
    libraries = program.parents[1] / "lib"
    own_libraries = libraries.is_dir() and any(libraries.glob("lib*.so*"))
    return (*(("env", f"LD_LIBRARY_PATH={libraries}") if own_libraries else ()), str(program))


def _messages(program: Path) -> Path:
    """Return the directory of the server's messages and scripts."""
    shared = program.parents[1] / "share"
    return shared / "mariadb" if (shared / "mariadb" / _SCRIPTS[0]).exists() else shared / "mysql"


def _reachable(program: Path, account: Account) -> Path:
    """Return the program, copied with its files to where the account may run it if that is needed."""
    root = program.parents[1]
    return reachable_copy([root], account) / root.name / program.relative_to(root)


def _options(program: Path, data: Path) -> Iterator[str]:
    yield f"--basedir={program.parents[1]}"
    yield f"--lc-messages-dir={_messages(program)}"
    yield f"--datadir={data}"
    yield f"--tmpdir={data.parent}"
    for name, value in _SETTINGS.items():
        yield f"--{name}={value}"


def _serving(program: Path, place: Path, port: int) -> Sequence[str]:
    # A relative path is below the data directory. An absolute path may be longer than a socket's address may be.
    own_files = ("--socket=mariadb.sock", f"--pid-file={place / 'server.pid'}", f"--port={port}")
    return [*_program(program), "--no-defaults", *_options(program, place / "data"), *own_files]


def _data(program: Path, place: Path, account: Account) -> str:
    """Make the data directory once, and return the superuser's password."""
    password_file, data, made = place / "password", place / "data", place / "data.new"
    if data.exists() and password_file.exists():
        return password_file.read_text(encoding="ascii").strip()
    # An interrupted run left incomplete data, which were never used.
    shutil.rmtree(made, ignore_errors=True)
    password = secrets.token_urlsafe(24)
    password_file.touch(mode=0o600)
    own(password_file, account, 0o600)
    password_file.write_text(password + "\n", encoding="ascii")
    made.mkdir()
    own(made, account, 0o700)
    finished = subprocess.run(
        [*_program(program), "--no-defaults", "--bootstrap", *_options(program, made)],
        check=False,
        cwd=place,
        env=server_environment(),
        input="\n".join(_statements(_messages(program), password)).encode(),
        capture_output=True,
        timeout=_MAKE_LIMIT_SECONDS,
        user=account.uid if account.switch else None,
        group=account.gid if account.switch else None,
        extra_groups=() if account.switch else None,
    )
    if finished.returncode != 0:
        reason = finished.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ServerUnavailable(f"mariadbd --bootstrap failed: {' '.join(reason)}", hint=f"see {place}")
    made.rename(data)
    return password


def _statements(scripts: Path, password: str) -> Iterator[str]:
    """Yield the statements that make the server's own tables and its only user. The server reads one per line."""
    yield "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;"
    for name in _SCRIPTS:
        yield (scripts / name).read_text(encoding="utf-8")
    yield "DELETE FROM global_priv;\nFLUSH PRIVILEGES;"
    yield f"CREATE USER {_SUPERUSER}@'%' IDENTIFIED BY '{password}';"
    yield f"GRANT ALL ON *.* TO {_SUPERUSER}@'%' WITH GRANT OPTION;"


def _is_ready(place: Path, pid: int) -> bool:
    """Whether this server has logged that it accepts connections.

    It writes its process id and opens its port before that. The number distinguishes it from an earlier server on the
    same data, whose lines are in the same file.
    """
    try:
        log = (place / "server.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    _, started, lines = log.rpartition(f" as process {pid}\n")
    return bool(started) and "ready for connections" in lines
