"""The files of a state directory: `state.json` has processes and addresses, `secrets.json` (0600) the databases' URLs.

`freehold.toml` (0600) has the URLs for the command `freehold`, `engines.json` the engine of each service. Each file is
replaced atomically, so a reader sees a whole one. Imports msgspec and the plan.
"""

from __future__ import annotations

import contextlib
import os
import secrets as randomness
import tempfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from freehold import ConfigurationError
from freehold_shop.settings import OUTBOX_SENT_RETENTION_SECONDS
from freehold_shop.supervisor.errors import ShopNotRunning
from freehold_shop.supervisor.plan import Checkout, Engine, Profile

__all__ = [
    "ProcessState",
    "RunningProcess",
    "Secrets",
    "ShopState",
    "chosen_engines",
    "keep_token_secret",
    "process_lives",
    "read_secrets",
    "read_state",
    "write_engines",
    "write_secrets",
    "write_settings",
    "write_state",
]

STATE_FILE = "state.json"
SECRETS_FILE = "secrets.json"
SETTINGS_FILE = "freehold.toml"
ENGINES_FILE = "engines.json"


class ProcessState(StrEnum):
    """The state of a service's process."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """It has ended, and is restarted after a delay."""


class RunningProcess(msgspec.Struct, frozen=True):
    """One process of a service (`all` where a single process runs them all). `pid` is 0 while it waits."""

    service: str
    instance: int
    pid: int
    state: ProcessState
    restarts: int = 0


class ShopState(msgspec.Struct, frozen=True):
    """The state of a supervisor, without secrets."""

    pid: int
    profile: Profile
    checkout: Checkout
    single_process: bool
    ready: bool
    urls: dict[str, str]
    control: str
    started_at: float
    processes: list[RunningProcess]
    provider_pid: int = 0
    servers: dict[str, int] = {}
    faults: list[str] = []

    def pids(self) -> dict[str, tuple[int, ...]]:
        """The running processes by service, in the order of their instances."""
        found: dict[str, tuple[int, ...]] = {}
        for process in self.processes:
            found[process.service] = found.get(process.service, ()) + ((process.pid,) if process.pid else ())
        return found


class Secrets(msgspec.Struct, frozen=True):
    """URLs with passwords. Never printed, never logged."""

    databases: dict[str, str]
    broker: str
    token_secret: str = ""
    peers: Mapping[str, str] = msgspec.field(default_factory=dict)
    brokers: Mapping[str, str] = msgspec.field(default_factory=dict)


def write_state(directory: Path, state: ShopState) -> None:
    """Replace `state.json`."""
    _replace(directory / STATE_FILE, msgspec.json.format(msgspec.json.encode(state), indent=1), 0o644)


def write_secrets(directory: Path, secrets: Secrets) -> None:
    """Replace `secrets.json`; only its owner can read it."""
    _replace(directory / SECRETS_FILE, msgspec.json.encode(secrets), 0o600)


def write_settings(directory: Path, secrets: Secrets) -> None:
    """Replace `freehold.toml`: with it in `FREEHOLD_SETTINGS` the commands of `freehold` work on the shop."""
    lines = [f"broker = {_quoted(secrets.broker)}", "", "[project]", 'modules = ["freehold_shop.assembly"]']
    lines += ["", "[peers]", *(f"{name} = {_quoted(url)}" for name, url in sorted(secrets.peers.items()))]
    lines += ["", "[defaults]", f"token_secret = {_quoted(secrets.token_secret)}"]
    lines += [f"outbox_sent_retention_seconds = {OUTBOX_SENT_RETENTION_SECONDS}"]
    for service, url in sorted(secrets.databases.items()):
        lines += ["", f"[services.{service}]", f"database = {_quoted(url)}"]
        if service in secrets.brokers:
            lines.append(f"broker = {_quoted(secrets.brokers[service])}")
    _replace(directory / SETTINGS_FILE, ("\n".join(lines) + "\n").encode(), 0o600)


def keep_token_secret(directory: Path) -> str:
    """The secret that signs consistency tokens: made once for a directory, so that tokens outlive a restart."""
    try:
        known = read_secrets(directory).token_secret
    except ShopNotRunning:
        known = ""
    return known or randomness.token_urlsafe(32)


def chosen_engines(directory: Path, services: Sequence[str], wanted: Mapping[str, Engine]) -> dict[str, Engine]:
    """The engine of each service: the one that its data are on, otherwise the wanted one, otherwise PostgreSQL.

    Raises `ConfigurationError` where the data are on another engine than the wanted one: they are not moved.
    """
    recorded = _recorded_engines(directory, services)
    for service, engine in wanted.items():
        found = recorded.get(service, engine)
        if found is not engine:
            raise ConfigurationError(
                f"the data of {service} in {directory} are on {found}, not on {engine}",
                hint=f"leave out --engine {service}={engine}, or choose another directory with --state",
            )
    return {service: recorded.get(service) or wanted.get(service, Engine.POSTGRESQL) for service in services}


def write_engines(directory: Path, engines: Mapping[str, Engine]) -> None:
    """Add to `engines.json`, once each of these services has its database."""
    engines = {**_recorded_engines(directory, ()), **engines}
    _replace(directory / ENGINES_FILE, msgspec.json.encode(engines), 0o644)


def _recorded_engines(directory: Path, services: Sequence[str]) -> Mapping[str, Engine]:
    """What `engines.json` says. A directory from before there was a choice has all its data on PostgreSQL."""
    file = directory / ENGINES_FILE
    if not file.exists():
        older = (directory / STATE_FILE).exists() and (directory / "postgres").exists()
        return dict.fromkeys(services, Engine.POSTGRESQL) if older else {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Engine])
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{file} cannot be read", hint="restore it, or choose another --state") from error


def read_state(directory: Path) -> ShopState:
    """The state of the last supervisor, which may have ended since. Raises `ShopNotRunning` where there is none."""
    try:
        return msgspec.json.decode((directory / STATE_FILE).read_bytes(), type=ShopState)
    except (OSError, msgspec.MsgspecError) as error:
        raise ShopNotRunning(f"no shop runs on {directory}", hint="start one with: shop run") from error


def read_secrets(directory: Path) -> Secrets:
    """The URLs of databases and broker. Raises `ShopNotRunning` where there are none."""
    try:
        return msgspec.json.decode((directory / SECRETS_FILE).read_bytes(), type=Secrets)
    except (OSError, msgspec.MsgspecError) as error:
        raise ShopNotRunning(f"no shop runs on {directory}", hint="start one with: shop run") from error


def process_lives(pid: int) -> bool:
    """Whether a process of this id exists and is no zombie; false for 0, the id of a stopped one."""
    if pid == 0:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        if Path("/proc/self").exists():
            return False
    else:
        return status.rpartition(")")[2].split()[0] not in {"Z", "X"}
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _quoted(text: str) -> str:
    """A string in TOML's form, which reads the escapes of JSON."""
    return msgspec.json.encode(text).decode()


def _replace(path: Path, content: bytes, mode: int) -> None:
    # mkstemp makes the file 0600, so that no other user can ever read a secret.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
