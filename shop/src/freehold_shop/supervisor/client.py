"""A running shop for programs: start one, or attach to one that runs.

    async with running_shop(profile="servers", checkout="choreographed") as shop:
        ...  shop.gateway_url, shop.databases["orders"], shop.broker_url, shop.provider_url

The shop always runs in processes of its own; nothing is forked from the caller. Imports the state and the control wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from freehold import ConfigurationError
from freehold_shop.servers.process import end_process
from freehold_shop.supervisor import control
from freehold_shop.supervisor.errors import ControlRefused, ShopAlreadyRuns, ShopDidNotStart, ShopNotRunning
from freehold_shop.supervisor.kernel import is_locked, send_signal
from freehold_shop.supervisor.plan import DEFAULT_STATE, WRONG_USAGE, Checkout, Engine, Plan, Profile
from freehold_shop.supervisor.state import Secrets, ShopState, process_lives, read_secrets, read_state

__all__ = ["FaultState", "Shop", "attach", "running_shop", "start_shop"]

READY_SECONDS = 120.0
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05

FaultState = control.FaultState


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop that runs. `state` and `pids` are read again at each call; the fields are as at the shop's start.

    `databases` are URLs by service, each with the service's own credentials, which give access to that database and no
    other. They and `broker_url` have passwords.
    """

    state_directory: Path
    profile: Profile
    checkout: Checkout
    supervisor_pid: int
    urls: Mapping[str, str]
    databases: Mapping[str, str]
    broker_url: str

    @property
    def gateway_url(self) -> str:
        """The gateway, the entry for customers."""
        return self.urls["gateway"]

    @property
    def provider_url(self) -> str:
        """The payment and e-mail providers' double."""
        return self.urls["providers"]

    def engine(self, service: str) -> str:
        """The engine of a service's database, by the scheme of its URL; empty for a service without a database."""
        return urlsplit(self.databases.get(service, "")).scheme.partition("+")[0]

    def state(self) -> ShopState:
        """The state that the supervisor wrote last."""
        return read_state(self.state_directory)

    def pids(self) -> Mapping[str, tuple[int, ...]]:
        """The running processes by service, in the order of instances. For a single process the only name is `all`.

        Without the provider and the supervisor: see `state().provider_pid` and `supervisor_pid`.
        """
        return self.state().pids()

    def is_alive(self) -> bool:
        """Whether the supervisor runs."""
        return process_lives(self.supervisor_pid)

    def kill(self, service: str, instance: int | None = None) -> tuple[int, ...]:
        """SIGKILL a service's processes (or one of them) and return their ids; the supervisor restarts them."""
        pids = self.pids().get(service, ())
        chosen = pids if instance is None else pids[instance : instance + 1]
        return tuple(pid for pid in chosen if send_signal(pid, signal.SIGKILL))

    def kill_all(self) -> tuple[int, ...]:
        """SIGKILL every process of every service at once; the supervisor restarts them."""
        return tuple(pid for pids in self.pids().values() for pid in pids if send_signal(pid, signal.SIGKILL))

    async def ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Return when every process of every service is ready. Raises `ShopDidNotStart`, `ShopNotRunning`."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while not self.state().ready:
            if not self.is_alive():
                raise ShopNotRunning(f"the shop on {self.state_directory} has ended", hint=_logs(self.state_directory))
            if asyncio.get_running_loop().time() > deadline:
                logs = _logs(self.state_directory)
                raise ShopDidNotStart(f"the shop is not ready after {timeout_seconds:g} s", hint=logs)
            await asyncio.sleep(_POLL_SECONDS)

    async def faults(self) -> list[FaultState]:
        """The state of every fault."""
        return (await control.ask(self.state(), control.Request("faults"))).faults

    async def break_(self, fault: str, *, seconds: float | None = None) -> list[FaultState]:
        """Begin a fault; it ends with `heal`, or by itself after `seconds`. Raises `ControlRefused`."""
        return (await control.ask(self.state(), control.Request("break", fault=fault, seconds=seconds))).faults

    async def heal(self, fault: str | None = None) -> list[FaultState]:
        """End a fault, or all; return those that were on, once they are over.

        Raises `ControlRefused` with the reason where one of them stays on.
        """
        healed = (await control.ask(self.state(), control.Request("heal", fault=fault))).faults
        while any(each.ending for each in healed):
            await asyncio.sleep(_POLL_SECONDS)  # the control socket only answers, it sends no signal
            known = {each.name: each for each in await self.faults()}
            healed = [known[each.name] for each in healed]
        for each in healed:
            if each.on:
                raise ControlRefused(f"{each.name} stays on: {each.reason}", hint="heal it again later")
        return healed

    async def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """Stop everything by SIGTERM to the supervisor, and wait for its end; SIGKILL at the time limit. Idempotent."""
        if not self.is_alive():
            return
        os.kill(self.supervisor_pid, signal.SIGTERM)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self.is_alive():
            if asyncio.get_running_loop().time() > deadline:
                send_signal(self.supervisor_pid, signal.SIGKILL)
            await asyncio.sleep(_POLL_SECONDS)
        process = _started.pop(self.supervisor_pid, None)
        if process is not None:
            process.wait(STOP_SECONDS)


def attach(state_directory: Path = DEFAULT_STATE) -> Shop:
    """The shop that runs on this state directory. Raises `ShopNotRunning`."""
    state = read_state(state_directory)
    if not _runs(state_directory, state.pid):
        raise ShopNotRunning(f"no shop runs on {state_directory} any more", hint="start one with: shop run")
    return _shop(state_directory, state, read_secrets(state_directory))


async def start_shop(plan: Plan, *, ready_seconds: float = READY_SECONDS) -> Shop:
    """Start a shop and return when it is ready; it ends with this process, or with `stop`.

    Raises `ShopAlreadyRuns`, `ShopDidNotStart`, `ConfigurationError`, and then leaves no process.
    """
    directory = plan.state_directory.absolute()
    _refuse_second(directory)
    directory.mkdir(parents=True, exist_ok=True)
    process = _spawn(plan, directory)
    deadline = asyncio.get_running_loop().time() + ready_seconds
    try:
        while not _is_ready(directory, process.pid):
            if process.poll() == WRONG_USAGE:
                raise ConfigurationError(_last_words(directory))
            if process.returncode is not None:
                raise ShopDidNotStart(_last_words(directory), hint=_logs(directory))
            if asyncio.get_running_loop().time() > deadline:
                raise ShopDidNotStart(f"the shop was not ready in {ready_seconds:g} s", hint=_logs(directory))
            await asyncio.sleep(_POLL_SECONDS)
    except BaseException:
        end_process(process, ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)))
        raise
    _started[process.pid] = process
    return attach(directory)


@contextlib.asynccontextmanager
async def running_shop(
    *,
    profile: Profile | str = Profile.EMBEDDED,
    checkout: Checkout | str = Checkout.SAGA,
    state_directory: Path | None = None,
    instances: Mapping[str, int] | None = None,
    engines: Mapping[str, Engine] | None = None,
    single_process: bool = False,
    usual_ports: bool = False,
    ready_seconds: float = READY_SECONDS,
) -> AsyncIterator[Shop]:
    """Start a shop that is ready on entry and stopped on exit, also on cancellation.

    Without a directory its data are removed at the end. Raises what `start_shop` raises.
    """
    directory = state_directory or Path(tempfile.mkdtemp(prefix="freehold-shop-"))
    plan = Plan(
        directory,
        profile=Profile(profile),
        checkout=Checkout(checkout),
        single_process=single_process,
        usual_ports=usual_ports,
        instances=dict(instances or {}),
        engines=dict(engines or {}),
    )
    try:
        shop = await start_shop(plan, ready_seconds=ready_seconds)
        try:
            yield shop
        finally:
            await asyncio.shield(shop.stop())
    finally:
        if state_directory is None:
            shutil.rmtree(directory, ignore_errors=True)


_started: dict[int, subprocess.Popen[bytes]] = {}
"""The supervisors that this process has started and must reap; `stop` removes them."""


def _spawn(plan: Plan, directory: Path) -> subprocess.Popen[bytes]:
    (directory / "logs").mkdir(exist_ok=True)
    arguments = ["--state", str(directory), "--profile", plan.profile, "--checkout", plan.checkout]
    arguments += ["--parent", str(os.getpid())]
    arguments += ["--single-process"] if plan.single_process else []
    arguments += ["--usual-ports"] if plan.usual_ports else []
    for service, count in plan.instances.items():
        arguments += ["--instances", f"{service}={count}"]
    for service, engine in plan.engines.items():
        arguments += ["--engine", f"{service}={engine}"]
    with _log_file(directory).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "freehold_shop.supervisor", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A terminal's ctrl-c goes to this process only, which then stops the shop.
            start_new_session=True,
        )


def _refuse_second(directory: Path) -> None:
    with contextlib.suppress(ShopNotRunning):
        state = read_state(directory)
        if _runs(directory, state.pid):
            raise ShopAlreadyRuns(str(directory), state.pid)


def _runs(directory: Path, pid: int) -> bool:
    """Whether the process runs and the directory is locked: the id alone may belong to another process by now."""
    return process_lives(pid) and is_locked(directory)


def _is_ready(directory: Path, pid: int) -> bool:
    with contextlib.suppress(ShopNotRunning):
        state = read_state(directory)
        return state.pid == pid and state.ready
    return False


def _log_file(directory: Path) -> Path:
    return directory / "logs" / "supervisor.log"


def _logs(directory: Path) -> str:
    return f"see {directory / 'logs'}"


def _last_words(directory: Path) -> str:
    try:
        lines = _log_file(directory).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "the supervisor ended and logged nothing"


def _shop(directory: Path, state: ShopState, secrets: Secrets) -> Shop:
    return Shop(
        state_directory=directory,
        profile=state.profile,
        checkout=state.checkout,
        supervisor_pid=state.pid,
        urls=state.urls,
        databases=secrets.databases,
        broker_url=secrets.broker,
    )
