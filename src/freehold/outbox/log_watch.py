"""Notices that the broker's log is another one, or an older copy, so that what it had confirmed is gone. Runtime.

It is written down in the service's database, told once in the log, and shown by readiness and `doctor` until what is
kept was sent again. What was lost cannot be told: the broker that knew who had read what is the one that has lost it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from freehold.broker import Broker
from freehold.database import CheckResult
from freehold.outbox.log import BROKER_LOGS, BrokerLog, BrokerLogStore
from freehold.outbox.sent import SENT, Kept
from freehold.ports import Stores
from freehold.settings import Settings

__all__ = ["LogWatch", "examine_how_far", "examine_logs", "note_how_far", "place_of"]

_log = logging.getLogger("freehold.runtime")
_PLACE_CHARACTERS: Final = 16
_COMMAND: Final = 'freehold outbox resend --reason "…"'


def place_of(settings: Settings) -> str:
    """What names the broker of a service in its database: the same whoever logs in, and nothing to read."""
    parts = urlsplit(settings.broker)
    host = parts.netloc.rpartition("@")[2]
    text = f"{parts.scheme}://{host}{parts.path}#{settings.broker_options.prefix}"
    return hashlib.sha256(text.encode()).hexdigest()[:_PLACE_CHARACTERS]


async def note_how_far(broker: Broker, store: BrokerLogStore, place: str, identity: str) -> BrokerLog | None:
    """See that a log has come as far as was kept of it, and keep how far it is now. Returns the loss where it has not:
    the log is an older copy of itself. Raises `Unavailable`.
    """
    # Read before the broker is asked: what others keep meanwhile is later than its answer may be.
    known = await store.mark(place)
    older = bool(known) and not await broker.log_holds(known)
    noted = await store.note(place, identity, lacks=known) if older else None
    mark = await broker.log_mark()
    if mark != known:
        await store.keep_mark(place, identity, mark)
    return noted


class LogWatch:
    """Compares the broker's log with the one that the service has worked with, whenever it is asked to look."""

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
        """Whether there is anything to watch: a broker that is not durable loses its messages with its process."""
        return self._broker.features.durable

    @property
    def identity(self) -> str:
        """The log that is known, of which the database knows as well; empty before the first look."""
        return self._identity

    async def look(self, *, went_back: bool = False) -> None:
        """Two questions to the broker and one to the database; more where there is something new, or a loss is open.
        `went_back` says that a publisher has met a log that lacks what it had confirmed: another one, or an older copy.

        Raises `Unavailable`.
        """
        if not self.durable:
            return
        # One after the other: who asked before a loss would write the former log down after it.
        async with self._looking:
            await self._look(went_back=went_back)

    async def _look(self, *, went_back: bool) -> None:
        identity = await self._broker.log_identity()
        noted = None if identity == self._identity and not self._lost else await self._store.note(self._place, identity)
        if went_back and identity == self._identity:
            lacks = await self._store.mark(self._place)
            older: BrokerLog | None = await self._store.note(self._place, identity, lacks=lacks)
        else:
            older = await note_how_far(self._broker, self._store, self._place, identity)
        noted = older or noted
        if noted is None:
            return
        self._lost = await self._store.lost()
        self._identity = identity
        if noted.is_news:
            _log.error(
                "%s: the broker has lost its messages and %s; what it had confirmed and nobody had handled is gone;"
                " send again what is kept, in all services: %s",
                self._service,
                "goes on in an older copy of its log" if older else "has begun another log",
                _COMMAND,
            )

    @property
    def notice(self) -> str:
        """What people should know of it; empty for nothing."""
        return _told(self._lost)


async def examine_logs(stores: Stores, settings: Settings) -> CheckResult:
    """For `doctor`: whether a broker has lost what this service published, and nobody has dealt with it yet."""
    lost = await stores[BROKER_LOGS].lost()
    if not lost:
        return CheckResult("broker's log", ok=True, detail="no loss of confirmed messages is open")
    kept = await stores[SENT].kept()
    return CheckResult(
        "broker's log",
        ok=False,
        detail=f"{_told(lost)}; {_not_kept(kept, settings.outbox_sent_retention_seconds)}",
        fix=_COMMAND,
    )


async def examine_how_far(broker: Broker, stores: Stores, settings: Settings) -> CheckResult:
    """For `doctor`: whether the broker's log has come as far as this service has seen it, also where no process of the
    service has looked yet. Writes nothing. Raises `Unavailable`.
    """
    subject = f"log of {settings.service}"
    mark = await stores[BROKER_LOGS].mark(place_of(settings))
    if not mark or await broker.log_holds(mark):
        return CheckResult(subject, ok=True, detail="has come as far as the service has seen it")
    return CheckResult(
        subject,
        ok=False,
        detail="the broker's log was further: it is an older copy, or another one; what it confirmed since is gone",
        fix=_COMMAND,
    )


def _told(lost: Sequence[BrokerLog]) -> str:
    times = [log.lost_at for log in lost if log.lost_at is not None]
    if not times:
        return ""
    return f"the broker has lost what it had confirmed; noticed at {min(times):%Y-%m-%d %H:%M:%SZ}"


def _not_kept(kept: Kept, retention_seconds: float) -> str:
    """What cannot be restored, by time: nobody knows how much of it had not been handled."""
    if kept.oldest_at is None:
        why = "nothing was confirmed lately" if retention_seconds else "outbox_sent_retention_seconds is 0"
        return f"no confirmed message is kept ({why})"
    return f"messages confirmed before {kept.oldest_at:%Y-%m-%d %H:%M:%SZ} are not kept and cannot be restored"
