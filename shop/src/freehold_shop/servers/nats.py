"""Real NATS with JetStream on a loopback port. May import the standard library and its siblings."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from freehold_shop.servers.process import Launch, RunningServer, ServerUnavailable

__all__ = ["empty_store", "find_nats_server", "start_nats"]

_CONNECT_LIMIT_SECONDS = 1.0
_INFO_BYTES_MAX = 65536
# Before this version the server has no option to flush each write: a loss of power may lose two minutes.
_SYNC_ALWAYS_SINCE = (2, 10)
_STORE = "jetstream"
# Where JetStream keeps the streams of a server without accounts.
_GLOBAL_ACCOUNT = "$G"


def find_nats_server() -> Path:
    """Return the `nats-server` program, on PATH or beside our Python; raises `ServerUnavailable` without one."""
    for candidate in (shutil.which("nats-server"), Path(sys.prefix, "bin", "nats-server"), "/usr/sbin/nats-server"):
        if candidate is not None and Path(candidate).exists():
            return Path(candidate)
    raise ServerUnavailable("no nats-server on this machine", hint="apt-get install nats-server")


def start_nats(
    directory: Path, *, port: int | None = None, accounts: str = "", owner: str = "", credentials: str = ""
) -> RunningServer:
    """Start NATS with JetStream's data in `directory`, on a free port where none is given.

    `accounts` is that part of the configuration, and `owner` the account in it that owns the streams; it also gets the
    streams that a server without accounts has left in the directory. The URL of the result has the `credentials`
    (`user:password`). Raises `ServerUnavailable` where no server is available.
    """
    program = find_nats_server()
    place = directory.absolute()
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)
    if owner:
        _move_streams(place, owner)
    configuration = place / "nats.conf"
    configuration.touch(mode=0o600)
    configuration.chmod(0o600)
    configuration.write_text(_configuration(place, _version(program)) + accounts, encoding="utf-8")
    server = RunningServer(
        Launch(
            name="NATS",
            directory=place,
            url=f"nats://{credentials}@127.0.0.1:{{port}}" if credentials else "nats://127.0.0.1:{port}",
            command=lambda port: [str(program), "-c", str(configuration), "-a", "127.0.0.1", "-p", str(port)],
            ready=lambda _pid, port: _is_ready(port),
            # Not SIGTERM: on it the server exits with status 1 in versions before 2.11, as if it had failed.
            stop_signals=((signal.SIGINT, 10.0),),
        ),
        port=port,
    )
    server.start()
    return server


def _move_streams(place: Path, owner: str) -> None:
    """Move the streams of a server without accounts to an account that has none yet."""
    kept, wanted = (place / _STORE / "jetstream" / name for name in (_GLOBAL_ACCOUNT, owner))
    if kept.exists() and not wanted.exists():
        kept.rename(wanted)


def empty_store(directory: Path) -> None:
    """Remove JetStream's data of the server of this directory, which must not run."""
    shutil.rmtree(directory / _STORE, ignore_errors=True)


def _version(program: Path) -> tuple[int, int]:
    answer = subprocess.run([str(program), "--version"], check=False, capture_output=True, timeout=10)
    found = re.search(rb"(\d+)\.(\d+)", answer.stdout + answer.stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _configuration(place: Path, version: tuple[int, int]) -> str:
    sync = "  sync_interval: always\n" if version >= _SYNC_ALWAYS_SINCE else ""
    store = json.dumps(str(place / _STORE))
    return f"jetstream {{\n  store_dir: {store}\n  max_memory_store: 64MB\n  max_file_store: 8GB\n{sync}}}\n"


def _is_ready(port: int) -> bool:
    """Read the server's INFO as a client does; it has `jetstream` once JetStream is up."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_LIMIT_SECONDS) as connection:
            info = connection.recv(_INFO_BYTES_MAX)
    except OSError:
        return False
    if not info.startswith(b"INFO "):
        return False
    try:
        features = json.loads(info[5:].split(b"\r\n", 1)[0])
    except ValueError:
        return False
    return features.get("jetstream") is True
