"""The watch over the broker's log, which notices another log, or an older copy: confirmed messages are lost. Runtime.

A loss is recorded in the service's database and logged once. Readiness and `doctor` show it until the kept messages
were sent again. Which messages consumers had not read is unknown, because the broker has lost the positions as well.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from freehold.broker import Broker
from freehold.crash_points import crash_point
from freehold.database import CheckResult
from freehold.outbox.log import BROKER_LOGS, BrokerLog, BrokerLogStore
from freehold.outbox.sent import SENT, Kept
from freehold.ports import Stores
from freehold.settings import Settings

__all__ = ["LogWatch", "check_log_mark", "check_logs", "compare_log_mark", "place_of"]

_log = logging.getLogger("freehold.runtime")
_PLACE_CHARACTERS: Final = 16
_COMMAND: Final = 'freehold outbox resend --reason "…"'


def place_of(settings: Settings) -> str:
    """The key of a service's broker in its database: a digest of the URL, without user and password."""
    parts = urlsplit(settings.broker)
    host = parts.netloc.rpartition("@")[2]
    text = f"{parts.scheme}://{host}{parts.path}#{settings.broker_options.prefix}"
    return hashlib.sha256(text.encode()).hexdigest()[:_PLACE_CHARACTERS]


async def compare_log_mark(broker: Broker, store: BrokerLogStore, place: str, identity: str) -> BrokerLog | None:
    """Check that a log contains its stored mark, and store the present mark. Returns the loss if the log does not: then
    it is an older copy. Raises `Unavailable`.
    """
    # Read before the broker is asked: a mark that others store meanwhile may be later than the broker's answer.
    known = await store.mark(place)
    older = bool(known) and not await broker.log_holds(known)
    crash_point("outbox.before-log-mark")
    noted = await store.note(place, identity, lacks=known) if older else None
    mark = await broker.log_mark()
    if mark != known:
        await store.keep_mark(place, identity, mark)
        crash_point("outbox.log-marked")
    return noted


class LogWatch:
    """Compares the broker's log with the one that the service has worked with, at each call of `look`."""

    def __init__(self, settings: Settings, broker: Broker, store: BrokerLogStore) -> None:
        self._service = settings.service
        self._place = place_of(settings)
        self._broker = broker
        self._store = store
        self._identity = ""
        self._lost: Sequence[BrokerLog] = ()
        self._looking = asyncio.Lock()

    @property
    def durable(self) -> bool:
        """Whether the log outlives the broker's process; otherwise nothing is watched."""
        return self._broker.features.durable

    @property
    def identity(self) -> str:
        """The recorded log; empty before the first `look`."""
        return self._identity

    async def look(self, *, went_back: bool = False) -> None:
        """Compare the logs, and record and log a loss. `went_back` says that a publisher found a log without messages
        that it had confirmed: another log, or an older copy. Two requests to the broker and one to the database; more
        after a change, or while a loss is open. Raises `Unavailable`.
        """
        if not self.durable:
            return
        # One at a time: a caller that asked the broker before a loss would otherwise record the former log after it.
        async with self._looking:
            await self._look(went_back=went_back)

    async def _look(self, *, went_back: bool) -> None:
        identity = await self._broker.log_identity()
        noted = None if identity == self._identity and not self._lost else await self._store.note(self._place, identity)
        if went_back and identity == self._identity:
            lacks = await self._store.mark(self._place)
            older: BrokerLog | None = await self._store.note(self._place, identity, lacks=lacks)
        else:
            older = await compare_log_mark(self._broker, self._store, self._place, identity)
        noted = older or noted
        if noted is None:
            return
        self._lost = await self._store.lost()
        self._identity = identity
        if noted.is_news:
            _log.error(
                "%s: the broker has lost its messages and %s; confirmed messages that were not handled are lost; send"
                " again what is kept, in all services: %s",
                self._service,
                "continues with an older copy of its log" if older else "has started another log",
                _COMMAND,
            )

    @property
    def notice(self) -> str:
        """The open loss, for readiness; empty where there is none."""
        return _describe(self._lost)


async def check_logs(stores: Stores, settings: Settings) -> CheckResult:
    """Check for `doctor` that no loss of what this service published is open."""
    lost = await stores[BROKER_LOGS].lost()
    if not lost:
        return CheckResult("broker's log", ok=True, detail="no loss of confirmed messages is open")
    kept = await stores[SENT].kept()
    return CheckResult(
        "broker's log",
        ok=False,
        detail=f"{_describe(lost)}; {_not_kept(kept, settings.outbox_sent_retention_seconds)}",
        fix=_COMMAND,
    )


async def check_log_mark(broker: Broker, stores: Stores, settings: Settings) -> CheckResult:
    """Check for `doctor` that the broker's log contains the mark that this service stored, also where no process of the
    service has looked yet. Writes nothing. Raises `Unavailable`.
    """
    subject = f"log of {settings.service}"
    mark = await stores[BROKER_LOGS].mark(place_of(settings))
    if not mark or await broker.log_holds(mark):
        return CheckResult(subject, ok=True, detail="contains everything that the service has seen in it")
    return CheckResult(
        subject,
        ok=False,
        detail="the broker's log is an older copy, or another one; what the broker confirmed since is lost",
        fix=_COMMAND,
    )


def _describe(lost: Sequence[BrokerLog]) -> str:
    times = [log.lost_at for log in lost if log.lost_at is not None]
    if not times:
        return ""
    return f"the broker has lost what it had confirmed; noticed at {min(times):%Y-%m-%d %H:%M:%SZ}"


def _not_kept(kept: Kept, retention_seconds: float) -> str:
    """The time before which messages cannot be restored. How many of them were not handled is unknown."""
    if kept.oldest_at is None:
        cause = "none was confirmed lately" if retention_seconds else "outbox_sent_retention_seconds is 0"
        return f"no confirmed message is kept ({cause})"
    return f"messages confirmed before {kept.oldest_at:%Y-%m-%d %H:%M:%SZ} are not kept and cannot be restored"
