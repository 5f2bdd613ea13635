"""A whole replay: the shop that it uses, the rejects file, the verification and the summary.

Imports this package, the supervisor's client and the verification.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freehold import Clock, ConfigurationError, FreeholdError, SystemClock
from freehold_shop.replay.feed import OrderFeed, SharedRejects
from freehold_shop.replay.gateway import Gateway
from freehold_shop.replay.patience import Patience
from freehold_shop.replay.rate import Pace
from freehold_shop.replay.run import SENDING_MAX, Replay
from freehold_shop.replay.summary import Summary
from freehold_shop.retail import RejectsWriter, read_orders
from freehold_shop.supervisor.client import Shop, attach, running_shop
from freehold_shop.supervisor.errors import ShopNotRunning
from freehold_shop.supervisor.plan import DEFAULT_STATE, Engine
from freehold_shop.supervisor.state import read_state
from freehold_shop.verify.model import Verification

__all__ = ["Interrupted", "Outcome", "Wanted", "replay"]

_SIDE_BY_SIDE_MAX = 100


class Interrupted(FreeholdError):
    """The replay was cancelled."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to replay, and in which shop.

    state_directory  of the shop; uses the shop that runs there, or starts one. None: the default directory where a
                     shop runs there, otherwise a new one, which is removed at the end if all went well.
    profile, checkout  None: those of the running shop; for a new one, embedded and saga. A given checkout applies to
                     the orders of this replay, whatever the shop's setting is.
    rate_per_second  None: as fast as the shop accepts the orders.
    """

    files: Sequence[Path]
    state_directory: Path | None = None
    profile: str | None = None
    checkout: str | None = None
    rate_per_second: float | None = None
    rejects: Path | None = None
    instances: Mapping[str, int] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    patience_seconds: float = 300.0
    quiet_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a replay.

    `error` is what ended the run early, if anything did. `kept` is a new directory that was not removed, so that it
    can be inspected.
    """

    summary: Summary
    rejects: Path
    rows_rejected: int
    error: FreeholdError | None
    kept: Path | None = None


async def replay(
    wanted: Wanted,
    *,
    on_shop: Callable[[Shop], None] = lambda _shop: None,
    on_progress: Callable[[Replay], None] = lambda _run: None,
    on_verify: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
) -> Outcome:
    """Run a replay to its end. The callbacks report its progress.

    Raises `RetailInputError` (before anything is placed), `ConfigurationError`, `Unavailable` where there is no shop.
    """
    clock = clock or SystemClock()
    _check(wanted.files)
    directory, fresh = _state_directory(wanted)
    with _writer(wanted.rejects) if wanted.rejects else _usual_writer(directory) as writer:
        rejects = SharedRejects(writer)
        feed = OrderFeed(wanted.files, rejects)
        async with _shop(wanted, directory) as shop:
            on_shop(shop)
            run, interrupted = await _run(wanted, shop, feed, rejects, on_progress, clock)
            on_verify()
            verification, error = (
                (Verification(ok=False, checks=()), interrupted)
                if interrupted is not None
                else await _verify(shop, wanted, run)
            )
        rows_rejected = rejects.by_reason()
    summary = Summary.of(
        run.tally,
        files=len(wanted.files),
        rows_read=feed.counts.rows_read,
        rows_rejected=rows_rejected,
        duration_seconds=run.duration_seconds,
        verify=verification,
    )
    kept = _clear(directory, summary, error) if fresh else None
    return Outcome(summary, writer.path, sum(rows_rejected.values()), error, kept)


async def _run(
    wanted: Wanted,
    shop: Shop,
    feed: OrderFeed,
    rejects: SharedRejects,
    on_progress: Callable[[Replay], None],
    clock: Clock,
) -> tuple[Replay, Interrupted | None]:
    """Run it. When it is cancelled (ctrl-c), it returns `Interrupted`, so that there is a summary of what was done."""
    patience = Patience(clock, wanted.patience_seconds)
    locate = _Locate(shop)
    async with Gateway(locate, patience, connections_max=SENDING_MAX + 8) as gateway:
        run = Replay(
            gateway,
            feed,
            rejects,
            Pace(clock, wanted.rate_per_second),
            patience,
            clock,
            checkout=wanted.checkout,
        )
        run.on_progress = lambda: on_progress(run)
        try:
            await run.run()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return run, Interrupted("the replay was interrupted", hint="the shop continues the orders that were placed")
    return run, None


async def _verify(shop: Shop, wanted: Wanted, run: Replay) -> tuple[Verification, FreeholdError | None]:
    """The verification, also after a run that ended early; not ok where it cannot be made."""
    from freehold_shop.verify.run import Target, verify  # imports every service: only when it is needed

    early = run.input_error or run.out_of_patience
    try:
        target = Target(shop.databases, shop.broker_url, shop.provider_url)
        verified = await verify(target, wait_seconds=0.0 if run.out_of_patience else wanted.quiet_seconds)
    except FreeholdError as error:
        return Verification(ok=False, checks=()), early or error
    return verified.verification, early


def _check(files: Sequence[Path]) -> None:
    """Check the headers before anything is created or started. Raises `RetailInputError`."""
    read_orders(files, on_reject=lambda _rejected: None)


class _Locate:
    """The URL of the shop's gateway, which may be another one after a restart."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def __call__(self) -> str:
        with contextlib.suppress(ShopNotRunning, KeyError):
            return read_state(self._shop.state_directory).urls["gateway"]
        return self._shop.gateway_url


def _state_directory(wanted: Wanted) -> tuple[Path, bool]:
    """The directory to use, and whether it is a new one."""
    if wanted.state_directory is not None:
        return wanted.state_directory, False
    with contextlib.suppress(ShopNotRunning):
        attach(DEFAULT_STATE)
        return DEFAULT_STATE, False
    DEFAULT_STATE.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="replay-", dir=DEFAULT_STATE.parent)), True


@contextlib.asynccontextmanager
async def _shop(wanted: Wanted, directory: Path) -> AsyncIterator[Shop]:
    try:
        shop = attach(directory)
    except ShopNotRunning:
        async with running_shop(
            profile=wanted.profile or "embedded",
            checkout=wanted.checkout or "saga",
            state_directory=directory,
            instances=wanted.instances,
            engines=wanted.engines,
        ) as started:
            yield started
        return
    if wanted.profile not in {None, shop.profile}:
        raise ConfigurationError(
            f"the shop that runs on {directory} has profile '{shop.profile}'",
            hint="stop it, or name another directory with --state",
        )
    if wanted.instances:
        raise ConfigurationError(
            f"a shop runs on {directory} already, with its own number of instances",
            hint="stop it, or name another directory with --state",
        )
    for service, engine in wanted.engines.items():
        if shop.engine(service) != engine:
            raise ConfigurationError(
                f"a shop runs on {directory} already, and {service} is not on {engine} in it",
                hint="stop it, or name another directory with --state",
            )
    yield shop


def _writer(path: Path) -> RejectsWriter:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return RejectsWriter(path)
    except BlockingIOError as error:
        raise ConfigurationError(f"another replay writes {path}", hint="choose another --rejects") from error
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", hint="choose another --rejects"
        ) from error


def _usual_writer(directory: Path) -> RejectsWriter:
    """The file beside the state directory; replays at the same time get numbered files of their own."""
    path = directory.with_name(f"{directory.name}.rejects.csv")
    for number in range(2, _SIDE_BY_SIDE_MAX + 1):
        try:
            return _writer(path)
        except ConfigurationError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
        path = directory.with_name(f"{directory.name}.rejects-{number}.csv")
    return _writer(path)


def _clear(directory: Path, summary: Summary, error: FreeholdError | None) -> Path | None:
    if not summary.ok or error is not None:
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    return None
